//! One function per operation.

use std::{sync::Arc, time::Duration};

use mediamesh_mesh::{Identity, LOCAL_TENANT_ID, identity::Scope};
use mediamesh_proto::{
    ApiKeyId, Error, ErrorKind, ErrorReason, SessionHandle, SessionId, TenantId,
};

use super::{
    change::{self, Change},
    convert::{self, Wanted},
    metrics::SessionMetrics,
    options::SessionOptions,
    record::{Owner, Record},
    store::{Looked, New, Store, StoreError, Written},
};
use crate::redis::Fault;

/// Times a merge is tried anew: each time somebody else succeeded, so nobody comes near it.
const MERGES: u32 = 1000;
/// Advice while the store of sessions is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The operations on sessions; clones share the store.
#[derive(Clone)]
pub(crate) struct Sessions {
    pub(crate) options: Arc<SessionOptions>,
    pub(crate) store: Store,
    pub(crate) metrics: SessionMetrics,
}

type Result<T> = std::result::Result<T, Error>;

impl Sessions {
    /// Makes a session for the caller, or for a user of an admin's tenant.
    pub(crate) async fn create(
        &self,
        caller: &Identity,
        wanted: Wanted,
    ) -> Result<(Owner, Record, SessionId)> {
        let owner = owner(caller, &wanted.user, "CreateSession")?;
        let mut data = wanted.data;
        data.api_key_id = opened_with(caller)?;
        let scopes = wanted.scopes.unwrap_or(caller.scopes);
        if let Some(lacking) = scopes.iter().find(|scope| !caller.has_scope(*scope)) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                ErrorReason::InvalidField,
                format!("a session may do no more than who opens it, who lacks `{lacking}`"),
            )
            .violation("session.scopes", format!("the caller lacks `{lacking}`")));
        }
        data.scopes = convert::numbers(scopes);
        convert::fits(&data, self.options.max_data_bytes)?;
        let id = SessionId::generate();
        let ttl = self.options.ttl();
        let new = New {
            handle: id.handle(),
            ttl: wanted.ttl.unwrap_or(ttl).min(ttl),
            life: self.options.max_lifetime(),
            most: self.options.max_per_user,
            data,
        };
        let made = self.store.create(&owner, new).await.map_err(unavailable)?;
        self.metrics.created.inc();
        self.metrics.ended("displaced", made.displaced.len() as u64);
        self.metrics.ended("expired", made.expired);
        tracing::info!(
            session = %id,
            tenant_id = %owner.tenant,
            displaced = made.displaced.len(),
            "session opened"
        );
        Ok((owner, made.record, id))
    }

    /// Finds the session with this hash of its id, whosever it is, and notes its use.
    pub(crate) async fn resolve(&self, handle: SessionHandle) -> Result<Option<(Owner, Record)>> {
        let looked = self.look_up(handle).await;
        self.metrics.looked_up(match &looked {
            Ok(Looking::Live(_)) => "live",
            Ok(Looking::Expired) => "expired",
            Ok(Looking::Absent) => "absent",
            Err(_) => "unavailable",
        });
        match looked? {
            Looking::Live(found) => Ok(Some(*found)),
            Looking::Expired => {
                self.metrics.ended("expired", 1);
                Ok(None)
            }
            Looking::Absent => Ok(None),
        }
    }

    async fn look_up(&self, handle: SessionHandle) -> Result<Looking> {
        let Some(owner) = self.store.owner(handle).await.map_err(unavailable)? else {
            return Ok(Looking::Absent);
        };
        let looked = self.store.look(&owner, handle, true).await;
        Ok(match looked.map_err(unavailable)? {
            Looked::Live(record) => Looking::Live(Box::new((owner, *record))),
            Looked::Expired => Looking::Expired,
            Looked::Absent => Looking::Absent,
        })
    }

    /// Returns the session with this id, and notes its use.
    pub(crate) async fn get(&self, caller: &Identity, id: &SessionId) -> Result<(Owner, Record)> {
        // another tenant's is not there, and its use is not noted
        let owner = self.store.owner(id.handle()).await.map_err(unavailable)?;
        if owner.is_none_or(|owner| owner.tenant.0 != caller.tenant_id) {
            self.metrics.looked_up("absent");
            return Err(not_found(None));
        }
        let found = self.resolve(id.handle()).await?;
        found.ok_or_else(|| not_found(None))
    }

    /// Changes what a session holds.
    pub(crate) async fn update(
        &self,
        caller: &Identity,
        handle: SessionHandle,
        etag: Option<String>,
        changes: &[Change],
    ) -> Result<(Owner, Record)> {
        let owner = self.visible(caller, handle, "UpdateSession").await?;
        for attempt in 0..MERGES {
            let looked = self.store.look(&owner, handle, false).await;
            let Looked::Live(record) = looked.map_err(unavailable)? else {
                return Err(not_found(Some(handle)));
            };
            let revision = record.head.revision;
            if etag
                .as_ref()
                .is_some_and(|etag| *etag != revision.to_string())
            {
                break;
            }
            let mut data = record.data;
            change::apply(changes, &mut data);
            convert::fits(&data, self.options.max_data_bytes)?;
            let written = self.store.write(&owner, handle, revision, &data).await;
            match written.map_err(unavailable)? {
                Written::Done(record) => return Ok((owner, *record)),
                Written::Absent => return Err(not_found(Some(handle))),
                Written::Stale if etag.is_some() => break,
                Written::Stale => {
                    self.metrics.conflicts.inc();
                    // racers that go on in step would meet again
                    let most = u64::from(attempt.min(10)) * 1000;
                    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..=most))).await;
                }
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            ErrorReason::EtagMismatch,
            "the session changed since it was read",
        )
        .resource("session", handle))
    }

    /// Ends a session.
    pub(crate) async fn delete(&self, caller: &Identity, handle: SessionHandle) -> Result<()> {
        let owner = self.visible(caller, handle, "DeleteSession").await?;
        match self
            .store
            .remove(&owner, handle)
            .await
            .map_err(unavailable)?
        {
            true => {
                self.metrics.ended("deleted", 1);
                tracing::info!(handle = %handle, tenant_id = %owner.tenant, "session ended");
                Ok(())
            }
            false => Err(not_found(Some(handle))),
        }
    }

    /// The live sessions of a user, newest first.
    pub(crate) async fn list(&self, caller: &Identity, user: &str) -> Result<(Owner, Vec<Record>)> {
        let owner = owner(caller, user, "ListSessions")?;
        let mut records = self.store.list(&owner).await.map_err(unavailable)?;
        records
            .sort_unstable_by_key(|record| (std::cmp::Reverse(record.head.created), record.handle));
        Ok((owner, records))
    }

    /// Ends the sessions of a user but `keep`; answers how many.
    pub(crate) async fn revoke(
        &self,
        caller: &Identity,
        user: &str,
        keep: Option<SessionHandle>,
    ) -> Result<u64> {
        let owner = owner(caller, user, "RevokeSessions")?;
        let gone = self.store.remove_all(&owner, keep).await;
        let count = gone.map_err(unavailable)?.len() as u64;
        self.metrics.ended("revoked", count);
        tracing::info!(count, tenant_id = %owner.tenant, "sessions of a user revoked");
        Ok(count)
    }

    /// Removes what is over, of one tenant or of all; answers how many.
    pub(crate) async fn sweep(&self, tenant: Option<TenantId>) -> Result<u64> {
        let removed = self.store.sweep(tenant).await.map_err(unavailable)?;
        self.metrics.swept.inc_by(removed);
        self.metrics.ended("expired", removed);
        Ok(removed)
    }

    /// Whose session it is, if the caller may change it.
    async fn visible(
        &self,
        caller: &Identity,
        handle: SessionHandle,
        method: &str,
    ) -> Result<Owner> {
        let owner = self.store.owner(handle).await.map_err(unavailable)?;
        let owner = owner.filter(|owner| owner.tenant.0 == caller.tenant_id);
        let found = owner.ok_or_else(|| not_found(Some(handle)))?;
        self::owner(caller, &found.user, method)
    }
}

/// What came of looking for a session by its handle alone.
enum Looking {
    Live(Box<(Owner, Record)>),
    Expired,
    Absent,
}

/// The owner that is meant, if the caller may see it: itself, or any of an admin's tenant.
fn owner(caller: &Identity, user: &str, method: &str) -> Result<Owner> {
    let user = match user.is_empty() {
        true => caller.subject.clone(),
        false => user.to_owned(),
    };
    if user != caller.subject && !caller.has_scope(Scope::Admin) {
        let method = format!("mediamesh.cache.v1.SessionService/{method}");
        return Err(Error::new(
            ErrorKind::PermissionDenied,
            ErrorReason::ScopeMissing,
            format!("{method} of another user needs the scope `admin`"),
        )
        .meta("requiredScope", Scope::Admin)
        .meta("method", method));
    }
    Ok(Owner {
        tenant: TenantId(caller.tenant_id),
        user,
    })
}

/// The API key that the caller holds; nothing in a mesh without authentication.
fn opened_with(caller: &Identity) -> Result<String> {
    if *caller == Identity::local() && caller.tenant_id == LOCAL_TENANT_ID {
        return Ok(String::new());
    }
    let key = caller.subject.strip_prefix("key:");
    match key.and_then(|id| id.parse::<ApiKeyId>().ok()) {
        Some(id) => Ok(id.to_string()),
        None => Err(Error::new(
            ErrorKind::PermissionDenied,
            ErrorReason::PermissionDenied,
            "a session is opened with an API key",
        )),
    }
}

fn not_found(handle: Option<SessionHandle>) -> Error {
    let error = Error::new(
        ErrorKind::NotFound,
        ErrorReason::SessionNotFound,
        "no such session, or it has ended",
    );
    match handle {
        Some(handle) => error.meta("handle", handle).resource("session", handle),
        None => error,
    }
}

/// What callers are told of a store that does not do its work.
fn unavailable(error: StoreError) -> Error {
    let (dependency, why) = match error {
        StoreError::Full(limit) => {
            return Error::new(
                ErrorKind::ResourceExhausted,
                ErrorReason::StorageFull,
                format!("there are {limit} sessions, as many as may be"),
            )
            .meta("limit", limit);
        }
        StoreError::File(why) => {
            tracing::error!(why, "the file of sessions cannot be written");
            ("disk", "their file cannot be written")
        }
        StoreError::Redis(Fault::Refused(why)) => {
            tracing::warn!(why, "redis refuses what was asked of sessions");
            ("redis", "Redis, which keeps them, refuses")
        }
        StoreError::Redis(_) => ("redis", "Redis, which keeps them, does not answer"),
    };
    Error::new(
        ErrorKind::DependencyDown,
        ErrorReason::DependencyDown,
        format!("sessions are not available: {why}"),
    )
    .meta("dependency", dependency)
    .retry_after(RETRY_AFTER)
}
