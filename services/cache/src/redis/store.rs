//! Entries in Redis.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use mediamesh_mesh::{client::circuit::Circuit, policy::defaults};
use mediamesh_near::{Key, Stored};
use mediamesh_proto::{TenantId, time::now_micros};
use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue as _, RedisResult, Value};
use tokio::time::{Instant, timeout};

use super::{
    batch::Step,
    codec,
    connection::Connection,
    fault::Fault,
    journal::{Journal, Removal},
    keys::Keys,
    metrics::{ErrorLabels, OperationLabels, RedisMetrics},
    options::RedisOptions,
    scripts,
};

/// Keys of a step that one deadline is for; steps with more get more time.
const STEP_KEYS: u32 = 32;
/// Names of a tag that are read at once.
const TAG_CHUNK: usize = 1000;

/// Outcome of asking for a lease.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// The caller has it.
    Granted(i64),
    /// Somebody else has it for so much longer.
    Held(Duration),
    /// Another entry than the caller has seen is there.
    Entry(Stored),
}

/// What a Redis is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Entries, and sessions unless they have their own.
    Cache,
    /// Sessions and nothing else.
    Sessions,
}

/// A Redis that all processes share.
pub(crate) struct Redis {
    pub(crate) role: Role,
    pub(crate) options: RedisOptions,
    pub(crate) keys: Keys,
    pub(crate) circuit: Circuit,
    pub(crate) journal: Journal,
    pub(crate) metrics: RedisMetrics,
    pub(super) connection: ArcSwapOption<Connection>,
    /// Why Redis last refused something, and when.
    pub(super) refused: Mutex<Option<(Instant, String)>>,
    /// Why the last call failed.
    pub(super) failed: Mutex<Option<String>>,
}

impl Redis {
    pub(crate) fn new(role: Role, options: RedisOptions, metrics: RedisMetrics) -> Arc<Self> {
        Arc::new(Self {
            role,
            keys: Keys::new(&options.prefix),
            options,
            circuit: Circuit::new(defaults::CLIENT.breaker),
            journal: Journal::new(metrics.pending_removals.clone()),
            metrics,
            connection: ArcSwapOption::empty(),
            refused: Mutex::new(None),
            failed: Mutex::new(None),
        })
    }

    /// Whether what is there may be answered.
    pub(crate) fn is_usable(&self) -> bool {
        self.circuit.is_closed() && self.journal.is_empty() && self.connection.load().is_some()
    }

    /// Makes a call of an ordinary operation: within its deadline, and if the breaker lets it.
    pub(super) async fn call<T, F>(
        &self,
        operation: &'static str,
        keys: usize,
        work: impl FnOnce(Connection) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let connection = self.connection.load_full().ok_or(Fault::NotAsked)?;
        let permit = self.circuit.try_call().ok_or(Fault::NotAsked)?;
        let outcome = self
            .timed(operation, keys, work(Connection::clone(&connection)))
            .await;
        match &outcome {
            Err(fault) if fault.is_failure() => permit.failed(),
            _ => permit.succeeded(),
        }
        outcome
    }

    /// Waits for an answer within its deadline and notes how it went.
    pub(super) async fn timed<T>(
        &self,
        operation: &'static str,
        keys: usize,
        work: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Fault> {
        let steps = 1 + u32::try_from(keys).unwrap_or(u32::MAX) / STEP_KEYS;
        let began = Instant::now();
        let outcome = match timeout(self.options.timeout() * steps, work).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Fault::from(error)),
            Err(_) => Err(Fault::Timeout),
        };
        let labels = OperationLabels { operation };
        self.metrics
            .seconds
            .get_or_create(&labels)
            .observe(began.elapsed().as_secs_f64());
        if let Err(fault) = &outcome {
            self.note(operation, fault);
        }
        outcome
    }

    fn note(&self, operation: &'static str, fault: &Fault) {
        let Some(kind) = fault.kind() else { return };
        let labels = ErrorLabels { operation, kind };
        self.metrics.errors.get_or_create(&labels).inc();
        match fault {
            Fault::Refused(why) => *self.refused.lock() = Some((Instant::now(), why.clone())),
            Fault::Broken(why) => *self.failed.lock() = Some(why.clone()),
            Fault::Timeout => {
                *self.failed.lock() = Some(format!(
                    "no answer within {} ms",
                    self.options.timeout_millis
                ));
            }
            Fault::NotAsked => {}
        }
    }

    /// Looks an entry up; any fault is a miss.
    pub(crate) async fn get(&self, key: &Key) -> Option<Stored> {
        if !self.is_usable() {
            return None;
        }
        let name = self.keys.entry(key);
        let found: Option<Vec<u8>> = self
            .call("get", 1, async |mut connection: Connection| {
                redis::cmd("GET")
                    .arg(name)
                    .query_async(&mut connection)
                    .await
            })
            .await
            .ok()?;
        // a removal may have failed while this was under way
        self.counted(found).filter(|_| self.journal.is_empty())
    }

    fn counted(&self, found: Option<Vec<u8>>) -> Option<Stored> {
        let entry = found.and_then(codec::decode);
        match &entry {
            Some(_) => self.metrics.hits.inc(),
            None => self.metrics.misses.inc(),
        };
        entry
    }

    /// Looks entries up, in order; a cluster's nodes are asked at the same time.
    pub(crate) async fn get_batch(&self, keys: &[Key]) -> Vec<Option<Stored>> {
        let names: Vec<String> = keys.iter().map(|key| self.keys.entry(key)).collect();
        let found: Option<Vec<Option<Vec<u8>>>> = match self.is_usable() && !keys.is_empty() {
            true => self
                .call("get", keys.len(), async |connection: Connection| {
                    read_all(connection, &names).await
                })
                .await
                .ok(),
            false => None,
        };
        match found {
            Some(found) if self.journal.is_empty() => {
                found.into_iter().map(|one| self.counted(one)).collect()
            }
            _ => vec![None; keys.len()],
        }
    }

    /// Stores entries in place of any other, and ends the leases on them.
    ///
    /// Errors: what is there under these keys is not known.
    pub(crate) async fn set(&self, entries: &[(Key, Stored)]) -> Result<(), Fault> {
        self.tag(entries).await?;
        let writes: Vec<Step> = (entries.iter())
            .filter_map(|(key, entry)| {
                let (name, millis) = (self.keys.entry(key), millis(entry)?);
                let mut set = redis::cmd("SET");
                set.arg(&name).arg(codec::encode(entry));
                set.arg("PX").arg(millis);
                let release = redis::cmd("DEL").arg(self.keys.lease(key)).take();
                Some(Step::new(&name, vec![set, release]))
            })
            .collect();
        self.call("set", writes.len(), async |mut connection: Connection| {
            connection.batch(&writes, None).await.map(drop)
        })
        .await
    }

    /// Notes the names of entries under their tags, before the entries can be seen.
    async fn tag(&self, entries: &[(Key, Stored)]) -> Result<(), Fault> {
        let mut tags: BTreeMap<(TenantId, &str), Vec<(&Key, i64)>> = BTreeMap::new();
        let now = now_micros();
        let mut longest = 1;
        for (key, entry) in entries {
            let Some(millis) = millis(entry) else {
                continue;
            };
            longest = longest.max(millis);
            for tag in entry.tags.iter() {
                let expires = now.saturating_add(millis.saturating_mul(1000));
                tags.entry((key.tenant, tag))
                    .or_default()
                    .push((key, expires));
            }
        }
        if tags.is_empty() {
            return Ok(());
        }
        let notes: Vec<Step> = (tags.iter())
            .map(|((tenant, tag), names)| {
                let index = self.keys.tag(*tenant, tag);
                let mut note = scripts::NOTE_TAG.prepare_invoke();
                note.key(&index).arg(now).arg(longest);
                for (key, expires) in names {
                    note.arg(*expires).arg(&*key.name);
                }
                Step::new(&index, vec![Cmd::invoke_script(&note)])
            })
            .collect();
        self.call("set", entries.len(), async |mut connection: Connection| {
            let script = Some(&*scripts::NOTE_TAG);
            connection.batch(&notes, script).await.map(drop)
        })
        .await
    }

    /// Takes the lease on `key` for `ttl`, or tells why not; `seen` is the stamp of the entry that
    /// it is to replace, `claim` a name that no other has.
    pub(crate) async fn claim(
        &self,
        key: &Key,
        ttl: Duration,
        seen: Option<i64>,
        claim: u64,
    ) -> Result<Claimed, Fault> {
        if !self.is_usable() {
            return Err(Fault::NotAsked);
        }
        let seen = seen.map(codec::stamp);
        let answer: (i64, Vec<u8>) = self
            .call("lease", 1, async |mut connection: Connection| {
                scripts::ACQUIRE_LEASE
                    .key(self.keys.entry(key))
                    .key(self.keys.lease(key))
                    .arg(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1))
                    .arg(seen.as_ref().map_or(&[][..], |seen| &seen[..]))
                    .arg(claim)
                    .invoke_async(&mut connection)
                    .await
            })
            .await?;
        let number = || std::str::from_utf8(&answer.1).ok()?.parse::<i64>().ok();
        match answer.0 {
            0 => number().map(Claimed::Granted),
            2 => number()
                .map(|left| Claimed::Held(Duration::from_millis(u64::try_from(left).unwrap_or(0)))),
            _ => codec::decode(answer.1).map(Claimed::Entry),
        }
        .ok_or_else(|| Fault::Refused("what is stored is of another layout".to_owned()))
    }

    /// Stores an entry under a lease; answers whether the lease was still held.
    pub(crate) async fn fill(&self, key: &Key, entry: &Stored, token: i64) -> Result<bool, Fault> {
        let Some(millis) = millis(entry) else {
            return Ok(true);
        };
        let one = [(key.clone(), entry.clone())];
        self.tag(&one).await?;
        self.call("set", 1, async |mut connection: Connection| {
            scripts::FILL_UNDER_LEASE
                .key(self.keys.entry(key))
                .key(self.keys.lease(key))
                .arg(token)
                .arg(codec::encode(entry))
                .arg(millis)
                .invoke_async(&mut connection)
                .await
        })
        .await
    }

    /// Gives a lease back; answers whether it was still held.
    pub(crate) async fn release(&self, key: &Key, token: i64) -> Result<bool, Fault> {
        self.call("lease", 1, async |mut connection: Connection| {
            scripts::RELEASE_LEASE
                .key(self.keys.lease(key))
                .arg(token)
                .invoke_async(&mut connection)
                .await
        })
        .await
    }

    /// Ends a lease that may have been granted to the claim of this name.
    async fn abandon(&self, key: &Key, claim: u64) -> Result<(), Fault> {
        self.call("lease", 1, async |mut connection: Connection| {
            scripts::ABANDON_LEASE
                .key(self.keys.lease(key))
                .arg(claim)
                .invoke_async(&mut connection)
                .await
        })
        .await
    }

    /// Removes entries and ends the leases on them; answers for each whether there was one.
    pub(crate) async fn remove(&self, keys: &[Key]) -> Result<Vec<bool>, Fault> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let removals: Vec<Step> = (keys.iter())
            .map(|key| {
                let (entry, lease) = (self.keys.entry(key), self.keys.lease(key));
                let unlink = |name: &str| redis::cmd("UNLINK").arg(name).take();
                Step::new(&entry, vec![unlink(&entry), unlink(&lease)])
            })
            .collect();
        self.call("remove", keys.len(), async |mut connection: Connection| {
            let answers = connection.batch(&removals, None).await?;
            answers.into_iter().map(is_one).collect()
        })
        .await
    }

    /// Removes a tenant's entries that carry `tag`; answers their keys.
    pub(crate) async fn remove_tagged(
        &self,
        tenant: TenantId,
        tag: &str,
    ) -> Result<Vec<Key>, Fault> {
        let index = self.keys.tag(tenant, tag);
        let mut removed = Vec::new();
        let mut start = 0;
        loop {
            let names: Vec<(String, String)> = self
                .call("remove", 1, async |mut connection: Connection| {
                    redis::cmd("ZRANGE")
                        .arg(&index)
                        .arg(start)
                        .arg(start + TAG_CHUNK - 1)
                        .arg("WITHSCORES")
                        .query_async(&mut connection)
                        .await
                })
                .await?;
            if names.is_empty() {
                return Ok(removed);
            }
            let keys: Vec<Key> = (names.iter())
                .map(|(name, _)| Key {
                    tenant,
                    name: name.as_str().into(),
                })
                .collect();
            let carried = self.remove_if_tagged(&keys, tag).await?;
            let gone = std::iter::zip(keys, carried).filter(|(_, carried)| *carried);
            removed.extend(gone.map(|(key, _)| key));
            let forgotten: i64 = self
                .call("remove", names.len(), async |mut connection: Connection| {
                    let mut forget = scripts::FORGET_TAG.prepare_invoke();
                    forget.key(&index);
                    for (name, score) in &names {
                        forget.arg(score).arg(name);
                    }
                    forget.invoke_async(&mut connection).await
                })
                .await?;
            // there were no more, and what was noted since is from after this removal began
            if names.len() < TAG_CHUNK {
                return Ok(removed);
            }
            // those noted anew since stay, and are passed over
            start += names.len() - usize::try_from(forgotten).unwrap_or(0).min(names.len());
        }
    }

    async fn remove_if_tagged(&self, keys: &[Key], tag: &str) -> Result<Vec<bool>, Fault> {
        let removals: Vec<Step> = (keys.iter())
            .map(|key| {
                let entry = self.keys.entry(key);
                let mut remove = scripts::REMOVE_IF_TAGGED.prepare_invoke();
                remove.key(&entry).key(self.keys.lease(key)).arg(tag);
                Step::new(&entry, vec![Cmd::invoke_script(&remove)])
            })
            .collect();
        self.call("remove", keys.len(), async |mut connection: Connection| {
            let script = Some(&*scripts::REMOVE_IF_TAGGED);
            let answers = connection.batch(&removals, script).await?;
            answers.into_iter().map(is_one).collect()
        })
        .await
    }

    /// Does removals that could not be done when they were asked for: all of entries in one round trip,
    /// since there may be thousands after an outage.
    pub(super) async fn replay(&self, removals: &[Removal]) -> Result<(), Fault> {
        let mut entries = Vec::new();
        for removal in removals {
            match removal {
                Removal::Entry(key) => entries.push(key.clone()),
                Removal::Claimed(key, claim) => self.abandon(key, *claim).await?,
                Removal::Released(key, token) => drop(self.release(key, *token).await?),
                Removal::Tagged(tenant, tag) => drop(self.remove_tagged(*tenant, tag).await?),
                Removal::Matching(tenant, pattern) => {
                    self.remove_matching(*tenant, pattern).await?;
                }
                Removal::Everything => drop(self.remove_everything().await?),
            }
        }
        self.remove(&entries).await.map(drop)
    }

    /// Asks for a sign of life, past the breaker.
    pub(super) async fn ping(&self, connection: &Connection) -> Result<(), Fault> {
        let mut connection = connection.clone();
        let masters = self.timed("probe", 1, connection.masters()).await?;
        for master in &masters {
            let mut connection = connection.clone();
            let ping = async { connection.ask(master, redis::cmd("PING")).await };
            self.timed("probe", 1, ping).await?;
        }
        Ok(())
    }

    /// Sends a command to every master, one after the other.
    pub(super) async fn on_masters(&self, command: &redis::Cmd) -> Result<Vec<Value>, Fault> {
        self.call(
            "probe",
            STEP_KEYS as usize,
            async |mut connection: Connection| {
                let mut answers = Vec::new();
                for master in connection.masters().await? {
                    answers.push(connection.ask(&master, command.clone()).await?);
                }
                Ok(answers)
            },
        )
        .await
    }
}

/// Reads values, in order: one command to a single server, one pipeline to each master of a cluster.
async fn read_all(
    mut connection: Connection,
    names: &[String],
) -> RedisResult<Vec<Option<Vec<u8>>>> {
    if let Connection::Single(connection) = &mut connection {
        let mut read = redis::cmd("MGET");
        return read.arg(names).query_async(connection).await;
    }
    let reads: Vec<Step> = (names.iter())
        .map(|name| Step::new(name, vec![redis::cmd("GET").arg(name).take()]))
        .collect();
    let answers = connection.batch(&reads, None).await?;
    let values = answers.into_iter().flatten();
    values
        .map(|value| Ok(Option::from_redis_value(value)?))
        .collect()
}

/// Whether the first answer of a step is that there was something.
fn is_one(answers: Vec<Value>) -> RedisResult<bool> {
    let first = answers.into_iter().next().unwrap_or(Value::Nil);
    Ok(i64::from_redis_value(first)? > 0)
}

/// Milliseconds an entry lives; `None` if it is over.
fn millis(entry: &Stored) -> Option<i64> {
    i64::try_from(entry.remaining().as_millis())
        .ok()
        .filter(|millis| *millis > 0)
}
