//! API keys: one function per operation, in domain types.

use std::sync::Arc;

use mediamesh_proto::{ApiKeyId, ApiKeySecret, TenantId, time::now_micros};
use mediamesh_store::{
    KeyStore,
    key::{ApiKey, KeyScope, NewApiKey},
};

use crate::error::{Error, Result};

/// A key as asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Clean name.
    pub display_name: String,
    /// What it may do; never empty.
    pub scopes: Vec<KeyScope>,
    /// From when on it is refused, microseconds since the epoch.
    pub expire_time: Option<i64>,
}

/// The operations on keys.
#[derive(Clone)]
pub struct Keys {
    store: Arc<dyn KeyStore>,
}

impl Keys {
    /// Uses a store.
    #[must_use]
    pub fn new(store: Arc<dyn KeyStore>) -> Self {
        Self { store }
    }

    /// Makes a key; its secret is in the answer and nowhere else.
    pub async fn create(&self, tenant: TenantId, wanted: Wanted) -> Result<(ApiKey, ApiKeySecret)> {
        let secret = ApiKeySecret::generate();
        let key = NewApiKey {
            id: secret.id(),
            tenant_id: tenant,
            display_name: wanted.display_name,
            scopes: wanted.scopes,
            secret_sha256: secret.secret_sha256(),
            expire_time: wanted.expire_time,
        };
        let key = self.store.insert_key(key).await?;
        tracing::info!(key_id = %key.id, tenant_id = %tenant, "api key made");
        Ok((key, secret))
    }

    /// Reads one key.
    pub async fn get(&self, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey> {
        let found = self.store.get_key(tenant, id).await?;
        found.ok_or(Error::KeyNotFound { id })
    }

    /// Reads a page of keys, newest first.
    pub async fn list(
        &self,
        tenant: TenantId,
        after: Option<(i64, ApiKeyId)>,
        limit: i64,
    ) -> Result<Vec<ApiKey>> {
        Ok(self.store.list_keys(tenant, after, limit).await?)
    }

    /// Ends a key for good.
    pub async fn revoke(&self, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey> {
        let revoked = self.store.revoke_key(tenant, id).await?;
        let key = revoked.ok_or(Error::KeyNotFound { id })?;
        tracing::info!(key_id = %id, tenant_id = %tenant, "api key revoked");
        Ok(key)
    }

    /// Finds out who holds a key, and notes its use.
    pub async fn resolve(&self, id: ApiKeyId, secret_sha256: [u8; 32]) -> Result<ApiKey> {
        let found = self.store.find_key(id, secret_sha256).await?;
        let key = good(found.ok_or(Error::KeyUnknown)?)?;
        // A use that is not noted is no reason to refuse it.
        if let Err(error) = self.store.touch_key(key.tenant_id, id).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the use of an api key could not be noted"
            );
        }
        Ok(key)
    }
    /// Finds out whether a key is still good, for what was opened with it.
    pub async fn check(&self, id: ApiKeyId) -> Result<ApiKey> {
        let found = self.store.find_key_by_id(id).await?;
        good(found.ok_or(Error::KeyUnknown)?)
    }
}

/// Holds a key to its time.
fn good(key: ApiKey) -> Result<ApiKey> {
    if key.revoke_time.is_some() {
        return Err(Error::KeyRevoked);
    }
    let now = now_micros();
    match key.expire_time.filter(|time| *time <= now) {
        Some(expired) => Err(Error::KeyExpired {
            ago_secs: (now - expired) / 1_000_000,
        }),
        None => Ok(key),
    }
}
