//! Who holds an API key, remembered for a while.
//!
//! Answers, good and bad, are believed for `fresh`: so long a revoked key is still taken, and so
//! long a key that was not there yet is refused. While the answer cannot be had, an older one is
//! believed for `stale`. Racing calls with one key ask once, with a time of its own.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use mediamesh_proto::{ApiKeyId, ApiKeySecret};
use moka::future::Cache;
use tonic::{Code, Status};

use super::authenticator::AuthError;
use super::{Caller, Identity, Proof};
use crate::{Deadline, deadline, status};

/// Most keys remembered, good or bad: some megabytes, and more than a process meets in a minute.
const MAX_REMEMBERED: u64 = 10_000;

/// Longest that a look-up takes, whoever asked first: it reads one row by its key, and beyond this an older
/// answer is the better one.
const LOOKUP_TIME: Duration = Duration::from_secs(5);

/// Who holds a key.
#[derive(Debug, Clone)]
pub struct FoundKey {
    /// Whom the key stands for.
    pub identity: Identity,
    /// From when on it is refused, seconds since the epoch.
    pub expires: Option<u64>,
}

/// Asks who holds a key; the mesh does not know the service that can tell.
pub trait KeyLookup: Send + Sync + 'static {
    /// Returns who holds the key.
    ///
    /// Errors: UNAUTHENTICATED if nobody may use it; any other code if that cannot be told now.
    fn lookup(&self, key: &ApiKeySecret) -> BoxFuture<'static, Result<FoundKey, Status>>;

    /// Returns who holds the key with this id: for what was opened with the key before.
    ///
    /// Errors: as of [`Self::lookup`].
    fn check(&self, id: ApiKeyId) -> BoxFuture<'static, Result<FoundKey, Status>>;
}

/// What is remembered of a key.
type Known = Result<(Caller, Option<u64>), Arc<Status>>;
/// Id and hash: the secret itself is not kept. Without a hash, what is known of the id alone.
type Digest = (ApiKeyId, Option<[u8; 32]>);

/// A [`KeyLookup`] and what it answered; clones share it.
#[derive(Clone)]
pub struct KeyCache {
    lookup: Arc<dyn KeyLookup>,
    fresh: Cache<Digest, Known>,
    stale: Cache<Digest, Known>,
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache")
            .field("fresh", &self.fresh.entry_count())
            .finish_non_exhaustive()
    }
}

impl KeyCache {
    /// Believes answers for `fresh`, and for `stale` while none can be had.
    pub fn new(lookup: Arc<dyn KeyLookup>, fresh: Duration, stale: Duration) -> Self {
        let cache = |ttl| {
            Cache::builder()
                .max_capacity(MAX_REMEMBERED)
                .time_to_live(ttl)
                .build()
        };
        Self {
            lookup,
            fresh: cache(fresh),
            stale: cache(stale),
        }
    }

    /// Returns the caller that holds `key`.
    ///
    /// Errors: `Lookup`. Cancel: another caller of the same key goes on asking.
    pub async fn caller(&self, key: ApiKeySecret) -> Result<Caller, AuthError> {
        let digest = (key.id(), Some(key.secret_sha256()));
        self.known(digest, || self.lookup.lookup(&key)).await
    }

    /// Returns the caller that holds the key with this id, whoever asks: for what was opened with the
    /// key before.
    ///
    /// Errors: `Lookup`. Cancel: another caller of the same key goes on asking.
    pub async fn holder(&self, id: ApiKeyId) -> Result<Caller, AuthError> {
        self.known((id, None), || self.lookup.check(id)).await
    }

    async fn known(
        &self,
        digest: Digest,
        lookup: impl FnOnce() -> BoxFuture<'static, Result<FoundKey, Status>>,
    ) -> Result<Caller, AuthError> {
        let asked = self.fresh.try_get_with(digest, self.ask(digest, lookup));
        let known = match asked.await {
            Ok(known) => known,
            Err(error) => match self.stale.get(&digest).await {
                Some(known) => {
                    tracing::warn!(
                        code = ?error.code(),
                        "an API key cannot be looked up; going by an older answer"
                    );
                    known
                }
                None => return Err(AuthError::Lookup(Arc::clone(&error))),
            },
        };
        let (caller, expires) = known.map_err(AuthError::Lookup)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        match expires {
            Some(expires) if expires <= now => Err(AuthError::Lookup(Arc::new(
                status::credentials_expired("API key", now - expires),
            ))),
            _ => Ok(caller),
        }
    }

    async fn ask(
        &self,
        digest: Digest,
        lookup: impl FnOnce() -> BoxFuture<'static, Result<FoundKey, Status>>,
    ) -> Result<Known, Arc<Status>> {
        // Others wait for the same answer: how little time the first who asked has is not their affair.
        let known =
            match deadline::scope(Deadline::after(LOOKUP_TIME), async { lookup().await }).await {
                Ok(found) => Ok((Caller::new(found.identity, Proof::ApiKey), found.expires)),
                Err(status) if status.code() == Code::Unauthenticated => Err(Arc::new(status)),
                Err(status) => return Err(Arc::new(status)),
            };
        self.stale.insert(digest, known.clone()).await;
        Ok(known)
    }
}
