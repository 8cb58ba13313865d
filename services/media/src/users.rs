//! What users have stored: counted in one statement, kept in the cache (S1-43, S1-47). An error of the
//! cache is a miss.

use std::{sync::Arc, time::Duration};

use mediamesh_near::NearCache;
use mediamesh_proto::{
    TenantId,
    cache::v1::{Entry, GetEntryRequest, SetEntryRequest, get_entry_response::Outcome},
    media::v1::User,
    time::{duration, now_micros, timestamp},
};
use mediamesh_store::MediaStore;
use prost::Message as _;
use tokio::time::timeout;

use crate::error::{Error, Result};

/// How long the cache may take: counting takes about as long.
const CACHE_PATIENCE: Duration = Duration::from_millis(100);

/// The operations on users.
#[derive(Clone)]
pub struct Users {
    store: Arc<dyn MediaStore>,
    cache: NearCache,
    ttl: Duration,
}

impl Users {
    /// Uses a store, and a cache for `ttl`; zero = no cache.
    #[must_use]
    pub fn new(store: Arc<dyn MediaStore>, cache: NearCache, ttl: Duration) -> Self {
        Self { store, cache, ttl }
    }

    /// Reads a user with its statistics. `known` says that there is such a user, whatever it has stored.
    ///
    /// Errors: `UserNotFound`.
    pub async fn get(&self, tenant: TenantId, user: &str, known: bool) -> Result<User> {
        let key = format!("user:stats:{user}");
        if let Some(user) = self.cached(&key).await {
            return Ok(user);
        }
        let stats = self.store.user_stats(tenant, user).await?;
        if !known && stats.total_files == 0 && stats.key_name.is_none() {
            return Err(Error::UserNotFound {
                user: user.to_owned(),
            });
        }
        let user = User {
            id: user.to_owned(),
            display_name: stats.key_name.unwrap_or_default(),
            total_files: stats.total_files,
            total_storage_bytes: stats.total_bytes,
            first_upload_time: stats.first_upload_time.map(timestamp),
            last_upload_time: stats.last_upload_time.map(timestamp),
            stats_time: Some(timestamp(now_micros())),
        };
        self.keep(key, &user).await;
        Ok(user)
    }

    async fn cached(&self, key: &str) -> Option<User> {
        if self.ttl.is_zero() {
            return None;
        }
        let request = GetEntryRequest {
            key: key.to_owned(),
            ..GetEntryRequest::default()
        };
        let answer = timeout(CACHE_PATIENCE, self.cache.get_entry(request)).await;
        match answer.ok()?.ok()?.outcome? {
            Outcome::Entry(entry) => User::decode(entry.value).ok(),
            _ => None,
        }
    }

    async fn keep(&self, key: String, user: &User) {
        if self.ttl.is_zero() {
            return;
        }
        let entry = Entry {
            key,
            value: user.encode_to_vec().into(),
            ttl: Some(duration(self.ttl)),
            tags: vec!["user".to_owned()],
            ..Entry::default()
        };
        let request = SetEntryRequest {
            entry: Some(entry),
            ..SetEntryRequest::default()
        };
        // what is not kept is counted again
        let _ = timeout(CACHE_PATIENCE, self.cache.set_entry(request)).await;
    }
}
