//! Keys by pattern, and removal of entries by it: every master is walked with SCAN, never KEYS.

use mediamesh_near::Pattern;
use mediamesh_proto::TenantId;
use redis::{FromRedisValue as _, RedisResult, Value};

use super::{
    batch::Step,
    connection::{Connection, Master},
    fault::Fault,
    store::Redis,
};

/// Keys a step looks at; Redis serves others between two.
const STEP: usize = 1000;
/// What a step counts for when its deadline is set: it is short work, but for a whole core of Redis.
const SCAN_KEYS: usize = 64;
/// Walks before a cluster that never stays as it is counts as broken.
const WALKS: usize = 5;

/// Where a walk over the names of all masters is.
pub(super) struct Walk {
    pattern: String,
    masters: Vec<Master>,
    /// The master that is walked.
    at: usize,
    cursor: u64,
    walks: usize,
}

impl Redis {
    /// Removes a tenant's entries whose name matches, and the leases on such names; answers how
    /// many entries.
    pub(crate) async fn remove_matching(
        &self,
        tenant: TenantId,
        pattern: &Pattern,
    ) -> Result<u64, Fault> {
        self.sweep(&self.keys.matching(tenant, pattern)).await
    }

    /// Removes all entries and leases of all tenants.
    pub(crate) async fn remove_everything(&self) -> Result<u64, Fault> {
        self.sweep(&self.keys.matching_everything()).await
    }

    async fn sweep(&self, pattern: &str) -> Result<u64, Fault> {
        let mut removed = 0;
        let mut walk = self.walk(pattern).await?;
        while let Some(names) = self.next(&mut walk).await? {
            let (entries, leases): (Vec<String>, Vec<String>) =
                names.into_iter().partition(|name| self.keys.is_entry(name));
            removed += self.unlink(entries).await?;
            self.unlink(leases).await?;
        }
        Ok(removed)
    }

    /// Begins a walk over the names that match.
    pub(super) async fn walk(&self, pattern: &str) -> Result<Walk, Fault> {
        Ok(Walk {
            pattern: pattern.to_owned(),
            masters: self.masters().await?,
            at: 0,
            cursor: 0,
            walks: 1,
        })
    }

    /// The next names of a walk, possibly none; `None` at its end. A name may come more than once.
    pub(super) async fn next(&self, walk: &mut Walk) -> Result<Option<Vec<String>>, Fault> {
        let Some(master) = walk.masters.get(walk.at) else {
            let masters = self.masters().await?;
            // a cursor means nothing to the node that took over, and slots may have moved behind us
            if masters == walk.masters {
                return Ok(None);
            }
            if walk.walks >= WALKS {
                return Err(Fault::Broken(
                    "the cluster does not stay as it is".to_owned(),
                ));
            }
            (walk.masters, walk.at, walk.walks) = (masters, 0, walk.walks + 1);
            return Ok(Some(Vec::new()));
        };
        let (cursor, pattern) = (walk.cursor, &walk.pattern);
        let (next, names): (u64, Vec<String>) = self
            .call("remove", SCAN_KEYS, async |mut connection: Connection| {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(pattern);
                scan.arg("COUNT").arg(STEP);
                let answer = connection.ask(master, scan).await?;
                read(answer)
            })
            .await?;
        walk.cursor = next;
        if next == 0 {
            walk.at += 1;
        }
        Ok(Some(names))
    }

    async fn masters(&self) -> Result<Vec<Master>, Fault> {
        self.call("remove", 1, async |mut connection: Connection| {
            connection.masters().await
        })
        .await
    }

    pub(super) async fn unlink(&self, names: Vec<String>) -> Result<u64, Fault> {
        if names.is_empty() {
            return Ok(0);
        }
        self.call("remove", names.len(), async |mut connection: Connection| {
            if let Connection::Single(connection) = &mut connection {
                let mut unlink = redis::cmd("UNLINK");
                return unlink.arg(names).query_async(connection).await;
            }
            let removals: Vec<Step> = (names.iter())
                .map(|name| Step::new(name, vec![redis::cmd("UNLINK").arg(name).take()]))
                .collect();
            let answers = connection.batch(&removals, None).await?.into_iter();
            let counts = answers
                .flatten()
                .map(|count| Ok(u64::from_redis_value(count)?));
            counts.sum()
        })
        .await
    }
}

fn read(answer: Value) -> RedisResult<(u64, Vec<String>)> {
    Ok(<(u64, Vec<String>)>::from_redis_value(answer)?)
}
