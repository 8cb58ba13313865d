//! What is told of the Redis behind.

use std::time::Duration;

use mediamesh_proto::cache::v1::{
    GetCacheStatsRequest, GetCacheStatsResponse, RedisStats, cache_service_server::CacheService,
};
use mediamesh_testkit::{Redis, RedisCluster, redis::programs};
use tokio::time::Instant;

use crate::{
    many::{get_many, set_many},
    subject::{Subject, by, redis, tenant},
    suite::{entry, set, value},
};

async fn stats(cache: &impl CacheService) -> GetCacheStatsResponse {
    let request = by(tenant(1), GetCacheStatsRequest {});
    cache.get_cache_stats(request).await.unwrap().into_inner()
}

async fn of_redis(cache: &impl CacheService) -> RedisStats {
    stats(cache).await.redis.unwrap()
}

/// The value of a metric of this name, 0 if it is not there.
fn metric(subject: &Subject, name: &str) -> i64 {
    let text = subject.metrics.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn without_a_redis_nothing_is_told_of_one() {
    assert_eq!(stats(&Subject::memory().direct()).await.redis, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn look_ups_memory_and_clients_of_a_redis_are_told_and_that_it_is_gone() {
    let Some(programs) = programs() else { return };
    let mut server = Redis::start(&programs).await.unwrap();
    let options = redis(vec![server.url()], false);
    let writer = Subject::connected(options.clone()).await;
    let reader = Subject::connected(options).await;
    let cache = reader.through_the_mesh();
    let before = of_redis(&cache).await;
    assert!(before.connected && before.breaker == "closed", "{before:?}");
    assert!(before.memory_used_bytes > 100_000, "{before:?}");
    // two services with two connections each at least
    assert!(before.clients >= 4, "{before:?}");
    set(&writer.direct(), tenant(1), entry("k", "v", &[])).await;
    let asked = async |key: &str| value(&cache, tenant(1), key).await.is_some();
    // the second time it is in memory, unless the feed only now tells that it was written
    assert!(asked("k").await && asked("k").await);
    assert!(!asked("missing").await && !asked("missing").await);
    let after = of_redis(&cache).await;
    // others ask too: for the feed
    assert!(after.hits > before.hits, "{before:?} {after:?}");
    assert!(after.misses - before.misses >= 2, "{before:?} {after:?}");
    let hits = metric(&reader, "mediamesh_cache_redis_hits_total ");
    assert!((1..=2).contains(&hits), "{hits}");
    assert_eq!(metric(&reader, "mediamesh_cache_redis_misses_total "), 2);
    let all = stats(&cache).await;
    assert_eq!((all.hits, all.misses), (2, 2));
    assert!((all.hit_rate - 0.5).abs() < 1e-9);

    // it makes room by dropping what it holds
    server
        .command(&["config", "set", "maxmemory-policy", "allkeys-lru"])
        .unwrap();
    server
        .command(&["config", "set", "maxmemory", "1"])
        .unwrap();
    set(&writer.direct(), tenant(1), entry("more", "v", &[])).await;
    assert!(of_redis(&cache).await.evictions > 0);

    server.kill().unwrap();
    reader.is_connected(false).await;
    set(&cache, tenant(1), entry("k", "w", &[])).await;
    let began = Instant::now();
    let gone = of_redis(&cache).await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(!gone.connected && gone.pending_removals > 0, "{gone:?}");
    assert_ne!(gone.breaker, "closed");
    let figures = [gone.memory_used_bytes, gone.clients, gone.hits, gone.misses];
    assert_eq!((figures, gone.evictions), ([0; 4], 0));
    server.restart().await.unwrap();
    reader.is_connected(true).await;
    let back = of_redis(&cache).await;
    assert!(back.connected && back.pending_removals == 0, "{back:?}");
    assert!(back.memory_used_bytes > 0, "{back:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_a_cluster_are_those_of_all_its_masters() {
    let Some(programs) = programs() else { return };
    let cluster = RedisCluster::start(&programs).await.unwrap();
    let options = redis(cluster.urls(), true);
    let writer = Subject::connected(options.clone()).await;
    let reader = Subject::connected(options).await;
    let cache = reader.direct();
    let before = of_redis(&cache).await;
    set_many(&writer.direct(), tenant(1), ("k", 100), &[]).await;
    assert_eq!(get_many(&cache, tenant(1), ("k", 100)).await, [true; 100]);
    assert_eq!(get_many(&cache, tenant(1), ("m", 100)).await, [false; 100]);
    let after = of_redis(&cache).await;
    assert!(after.connected);
    assert!(after.hits - before.hits >= 100, "{before:?} {after:?}");
    assert!(after.misses - before.misses >= 100, "{before:?} {after:?}");
    assert!(after.clients >= 6, "{after:?}");
}
