//! What is searched for, counted in Redis: see `popular`.

use std::time::Duration;

use mediamesh_proto::{TenantId, time::now_micros};

use super::{connection::Connection, fault::Fault, scripts, store::Redis};
use crate::popular::{Counted, HALF_LIFE, HELD, LIFE, MOST_ANSWERED, MOST_SEARCHERS, Ranked};

/// Searches counted by one run of the script: Redis serves others between two.
const AT_ONCE: usize = 100;
/// Keys that reading counts for when its deadline is set: it is one run of a script, but a long one.
const READ_KEYS: usize = 64;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Redis {
    /// Counts searches of a tenant.
    pub(crate) async fn count_searches(
        &self,
        tenant: TenantId,
        searches: &[Counted],
    ) -> Result<(), Fault> {
        let [counts, notes] = self.keys.searches(tenant);
        let now_secs = now_micros() / 1_000_000;
        for chunk in searches.chunks(AT_ONCE) {
            self.call(
                "searches",
                chunk.len(),
                async |mut connection: Connection| {
                    let mut count = scripts::COUNT_SEARCHES.prepare_invoke();
                    count.key(&counts).key(&notes);
                    count.arg(HELD).arg(MOST_SEARCHERS).arg(now_secs);
                    count.arg(HALF_LIFE.as_secs()).arg(millis(LIFE));
                    for search in chunk {
                        count.arg(&search.wording);
                        count.arg(format!("{:016x}", search.searcher));
                        count.arg(search.times);
                    }
                    count.invoke_async::<()>(&mut connection).await
                },
            )
            .await?;
        }
        Ok(())
    }

    /// Wordings of a tenant that at least `min_searchers` searched for, counted most first.
    pub(crate) async fn popular_searches(
        &self,
        tenant: TenantId,
        min_searchers: usize,
    ) -> Result<Vec<Ranked>, Fault> {
        let [counts, notes] = self.keys.searches(tenant);
        let found: Vec<(String, u64)> = self
            .call("searches", READ_KEYS, async |mut connection: Connection| {
                scripts::POPULAR_SEARCHES
                    .key(counts)
                    .key(notes)
                    .arg(MOST_ANSWERED)
                    .arg(min_searchers)
                    .invoke_async(&mut connection)
                    .await
            })
            .await?;
        let ranked = found
            .into_iter()
            .map(|(wording, searches)| Ranked { wording, searches });
        Ok(ranked.collect())
    }
}
