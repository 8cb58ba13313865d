//! Sessions in Redis.
//!
//! The sessions of a user are one hash, so that each operation is one script on one key, on a single
//! server and on a cluster alike. Beside it one key for each session says whose it is; it is written
//! last and removed last, and opens nothing by itself.

use std::time::Duration;

use futures::future::try_join_all;
use mediamesh_proto::{SessionHandle, TenantId};
use prost::Message as _;
use redis::{FromRedisValue as _, InfoDict, Value};

use super::{connection::Connection, fault::Fault, session_scripts as scripts, store::Redis};
use crate::sessions::{
    record::{self, Data, Owner, Record, millis},
    store::{Looked, Made, New, Result, Written},
};

/// How long a hash is kept after its last session is over, for sweeps to find.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// How much longer a session's owner is known than it may live: clocks and round trips.
const SLACK: Duration = Duration::from_secs(60);
/// What a call counts for when its deadline is set: without an answer its caller fails, so it is waited
/// for four times as long as for an entry.
const PATIENCE: usize = 96;

fn broken() -> Fault {
    Fault::Refused("a session is stored in another layout".to_owned())
}

fn read(handle: SessionHandle, bytes: &[u8]) -> std::result::Result<Record, Fault> {
    record::decode(handle, bytes).ok_or_else(broken)
}

fn handle(text: &[u8]) -> std::result::Result<SessionHandle, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| broken())?;
    text.parse().map_err(|_| broken())
}

fn handles(texts: &[Vec<u8>]) -> std::result::Result<Vec<SessionHandle>, Fault> {
    texts.iter().map(|text| handle(text)).collect()
}

/// `{number}` or `{number, bytes}`.
fn coded(answer: Vec<Value>) -> redis::RedisResult<(i64, Vec<u8>)> {
    let mut answer = answer.into_iter();
    let code = i64::from_redis_value(answer.next().unwrap_or(Value::Nil))?;
    let rest = match answer.next() {
        Some(value) => Vec::from_redis_value(value)?,
        None => Vec::new(),
    };
    Ok((code, rest))
}

impl Redis {
    fn sessions(&self, owner: &Owner) -> String {
        self.keys.sessions(owner.tenant, &owner.user)
    }

    /// See [`crate::sessions::Store::create`].
    pub(crate) async fn create_session(&self, owner: &Owner, new: New) -> Result<Made> {
        let data = new.data.encode_to_vec();
        let answer: Vec<Value> = self
            .call("session", PATIENCE, async |mut connection: Connection| {
                scripts::CREATE_SESSION
                    .key(self.sessions(owner))
                    .arg(new.handle.to_string())
                    .arg(millis(new.ttl))
                    .arg(millis(new.life))
                    .arg(new.most)
                    .arg(millis(GRACE))
                    .arg(data)
                    .invoke_async(&mut connection)
                    .await
            })
            .await?;
        let mut answer = answer.into_iter();
        let session = answer
            .next()
            .and_then(|value| Vec::from_redis_value(value).ok());
        let expired = answer
            .next()
            .and_then(|value| u64::from_redis_value(value).ok());
        let (Some(session), Some(expired)) = (session, expired) else {
            return Err(broken().into());
        };
        let gone: Vec<Vec<u8>> = answer
            .map(|value| Vec::from_redis_value(value).map_err(|_| broken()))
            .collect::<std::result::Result<_, _>>()?;
        let gone = handles(&gone)?;
        let made = Made {
            record: read(new.handle, &session)?,
            displaced: gone[usize::try_from(expired).unwrap_or(0).min(gone.len())..].to_vec(),
            expired,
        };
        let name = self.keys.session_owner(new.handle);
        let value = format!("{}{}", owner.tenant.0.simple(), owner.user);
        let known: std::result::Result<(), Fault> = self
            .call("session", PATIENCE, async |mut connection: Connection| {
                redis::cmd("SET")
                    .arg(name)
                    .arg(value)
                    .arg("PX")
                    .arg(millis(new.life + SLACK))
                    .query_async(&mut connection)
                    .await
            })
            .await;
        if let Err(fault) = known {
            // nobody has its id, and it must not take a place
            let _ = self.remove_session(owner, new.handle).await;
            return Err(fault.into());
        }
        self.forget_owners(&gone).await;
        Ok(made)
    }

    /// See [`crate::sessions::Store::owner`].
    pub(crate) async fn session_owner(&self, handle: SessionHandle) -> Result<Option<Owner>> {
        let name = self.keys.session_owner(handle);
        let value: Option<String> = self
            .call("session", PATIENCE, async |mut connection: Connection| {
                redis::cmd("GET")
                    .arg(name)
                    .query_async(&mut connection)
                    .await
            })
            .await?;
        let Some(value) = value else { return Ok(None) };
        let (tenant, user) = value.split_at_checked(32).ok_or_else(broken)?;
        let tenant = uuid::Uuid::try_parse(tenant).map_err(|_| broken())?;
        Ok(Some(Owner {
            tenant: TenantId(tenant),
            user: user.to_owned(),
        }))
    }

    /// See [`crate::sessions::Store::look`].
    pub(crate) async fn look_session(
        &self,
        owner: &Owner,
        handle: SessionHandle,
        touch: bool,
    ) -> Result<Looked> {
        let (code, value) = self
            .call("session", PATIENCE, async |mut connection: Connection| {
                scripts::LOOK_SESSION
                    .key(self.sessions(owner))
                    .arg(handle.to_string())
                    .arg(i32::from(touch))
                    .arg(millis(GRACE))
                    .invoke_async(&mut connection)
                    .await
                    .and_then(coded)
            })
            .await?;
        match code {
            0 => Ok(Looked::Live(Box::new(read(handle, &value)?))),
            1 => {
                self.forget_owners(&[handle]).await;
                Ok(Looked::Expired)
            }
            _ => Ok(Looked::Absent),
        }
    }

    /// See [`crate::sessions::Store::write`].
    pub(crate) async fn write_session(
        &self,
        owner: &Owner,
        handle: SessionHandle,
        revision: i64,
        data: &Data,
    ) -> Result<Written> {
        let data = data.encode_to_vec();
        let (code, value) = self
            .call("session", PATIENCE, async |mut connection: Connection| {
                scripts::WRITE_SESSION
                    .key(self.sessions(owner))
                    .arg(handle.to_string())
                    .arg(revision)
                    .arg(data)
                    .arg(millis(GRACE))
                    .invoke_async(&mut connection)
                    .await
                    .and_then(coded)
            })
            .await?;
        match code {
            0 => Ok(Written::Done(Box::new(read(handle, &value)?))),
            1 => Ok(Written::Stale),
            _ => Ok(Written::Absent),
        }
    }

    /// See [`crate::sessions::Store::remove`].
    pub(crate) async fn remove_session(
        &self,
        owner: &Owner,
        handle: SessionHandle,
    ) -> Result<bool> {
        let live: bool = self
            .call("session", PATIENCE, async |mut connection: Connection| {
                scripts::REMOVE_SESSION
                    .key(self.sessions(owner))
                    .arg(handle.to_string())
                    .invoke_async(&mut connection)
                    .await
            })
            .await?;
        self.forget_owners(&[handle]).await;
        Ok(live)
    }

    /// See [`crate::sessions::Store::list`].
    pub(crate) async fn list_sessions(&self, owner: &Owner) -> Result<Vec<Record>> {
        let pairs: Vec<Vec<u8>> = self
            .call("session", PATIENCE, async |mut connection: Connection| {
                scripts::LIST_SESSIONS
                    .key(self.sessions(owner))
                    .invoke_async(&mut connection)
                    .await
            })
            .await?;
        let records = pairs.chunks_exact(2);
        let records = records.map(|pair| read(handle(&pair[0])?, &pair[1]));
        Ok(records.collect::<std::result::Result<_, Fault>>()?)
    }

    /// See [`crate::sessions::Store::remove_all`].
    pub(crate) async fn remove_sessions(
        &self,
        owner: &Owner,
        keep: Option<SessionHandle>,
    ) -> Result<Vec<SessionHandle>> {
        let gone: Vec<Vec<u8>> = self
            .call("session", PATIENCE, async |mut connection: Connection| {
                scripts::REMOVE_SESSIONS
                    .key(self.sessions(owner))
                    .arg(keep.map(|handle| handle.to_string()).unwrap_or_default())
                    .invoke_async(&mut connection)
                    .await
            })
            .await?;
        let gone = handles(&gone)?;
        self.forget_owners(&gone).await;
        Ok(gone)
    }

    /// See [`crate::sessions::Store::sweep`].
    pub(crate) async fn sweep_sessions(&self, tenant: Option<TenantId>) -> Result<u64> {
        let mut removed = 0;
        let mut walk = self.walk(&self.keys.matching_sessions(tenant)).await?;
        while let Some(names) = self.next(&mut walk).await? {
            for name in names {
                let gone: Vec<Vec<u8>> = self
                    .call("session", PATIENCE, async |mut connection: Connection| {
                        scripts::SWEEP_SESSIONS
                            .key(&name)
                            .invoke_async(&mut connection)
                            .await
                    })
                    .await?;
                let gone = handles(&gone)?;
                self.forget_owners(&gone).await;
                removed += gone.len() as u64;
            }
        }
        Ok(removed)
    }

    /// Whether this process is the one to sweep in this interval.
    pub(crate) async fn turn_to_sweep_sessions(
        &self,
        interval: Duration,
    ) -> std::result::Result<bool, Fault> {
        let name = self.keys.session_sweep();
        let taken: Option<String> = self
            .call("session", PATIENCE, async |mut connection: Connection| {
                redis::cmd("SET")
                    .arg(name)
                    .arg(1)
                    .arg("NX")
                    .arg("PX")
                    .arg(millis(interval))
                    .query_async(&mut connection)
                    .await
            })
            .await?;
        Ok(taken.is_some())
    }

    /// The policy by which Redis drops sessions when it is full; `None` if it drops none.
    pub(crate) async fn session_eviction(&self) -> std::result::Result<Option<String>, Fault> {
        let info = redis::cmd("INFO").arg("memory").take();
        for answer in self.on_masters(&info).await? {
            let Ok(info) = InfoDict::from_redis_value(answer) else {
                continue;
            };
            let limit = info.get::<u64>("maxmemory").unwrap_or_default();
            let policy = info.get::<String>("maxmemory_policy").unwrap_or_default();
            if limit > 0 && policy != "noeviction" {
                return Ok(Some(policy));
            }
        }
        Ok(None)
    }

    /// Removes the keys that say whose ended sessions were. One that stays opens nothing, and ends by
    /// itself.
    async fn forget_owners(&self, gone: &[SessionHandle]) {
        if gone.is_empty() {
            return;
        }
        let names: Vec<String> = (gone.iter())
            .map(|handle| self.keys.session_owner(*handle))
            .collect();
        let _ = self
            .call("session", names.len(), async |connection: Connection| {
                let removals = names.iter().map(|name| {
                    let mut connection = connection.clone();
                    async move {
                        redis::cmd("UNLINK")
                            .arg(name)
                            .query_async::<()>(&mut connection)
                            .await
                    }
                });
                try_join_all(removals).await.map(drop)
            })
            .await;
    }
}
