//! What Redis says of itself.

use mediamesh_proto::cache::v1::RedisStats;
use redis::{FromRedisValue as _, InfoDict};

use super::store::Redis;

impl Redis {
    /// Describes Redis: sums over its masters.
    pub(crate) async fn stats(&self) -> RedisStats {
        let mut stats = RedisStats {
            connected: self.is_usable(),
            breaker: self.circuit.state().to_owned(),
            pending_removals: i64::try_from(self.journal.len()).unwrap_or(i64::MAX),
            ..RedisStats::default()
        };
        let info = redis::cmd("INFO").take();
        for answer in self.on_masters(&info).await.unwrap_or_default() {
            let Ok(info) = InfoDict::from_redis_value(answer) else {
                continue;
            };
            let number = |name: &str| info.get::<i64>(name).unwrap_or_default();
            stats.memory_used_bytes += number("used_memory");
            stats.clients += number("connected_clients");
            stats.evictions += number("evicted_keys");
            stats.hits += number("keyspace_hits");
            stats.misses += number("keyspace_misses");
        }
        stats
    }
}
