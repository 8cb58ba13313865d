//! API keys and tenants.

use std::time::Duration;

use async_trait::async_trait;
use mediamesh_proto::{ApiKeyId, TenantId};

use crate::error::Result;

/// How exact the last use of a key is: a busy key writes no more often.
pub const USE_GRAIN: Duration = Duration::from_secs(60);

/// What a key may do; numbers as in the protocol. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum KeyScope {
    /// Search, list, read and download.
    Read = 1,
    /// Upload, change and delete as well.
    Write = 2,
    /// Make and revoke keys as well.
    Admin = 3,
}

impl KeyScope {
    /// Every scope, least first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Name as it is stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// A key about to be stored.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Identifier.
    pub id: ApiKeyId,
    /// Owner.
    pub tenant_id: TenantId,
    /// Name shown.
    pub display_name: String,
    /// What it may do.
    pub scopes: Vec<KeyScope>,
    /// Of its secret.
    pub secret_sha256: [u8; 32],
    /// Microseconds since the epoch.
    pub expire_time: Option<i64>,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Identifier.
    pub id: ApiKeyId,
    /// Owner.
    pub tenant_id: TenantId,
    /// Name shown.
    pub display_name: String,
    /// What it may do.
    pub scopes: Vec<KeyScope>,
    /// Microseconds since the epoch.
    pub create_time: i64,
    /// From when on it is refused, microseconds since the epoch.
    pub expire_time: Option<i64>,
    /// When it was revoked, microseconds since the epoch.
    pub revoke_time: Option<i64>,
    /// Last use to the minute, microseconds since the epoch.
    pub last_use_time: Option<i64>,
}

/// Keeps API keys. Every method but [`Self::find_key`] and
/// [`Self::find_key_by_id`] is scoped by tenant.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Stores a key.
    async fn insert_key(&self, key: NewApiKey) -> Result<ApiKey>;

    /// Reads one key.
    async fn get_key(&self, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>>;

    /// Reads one page of keys, newest first, after (create_time, id).
    async fn list_keys(
        &self,
        tenant: TenantId,
        after: Option<(i64, ApiKeyId)>,
        limit: i64,
    ) -> Result<Vec<ApiKey>>;

    /// Ends a key; one that is revoked keeps its time. `None` if there is no such key.
    async fn revoke_key(&self, tenant: TenantId, id: ApiKeyId) -> Result<Option<ApiKey>>;

    /// Finds the key with this id and secret, over all tenants: it is what tells the tenant.
    /// Compares in constant time; an ended key is found as well.
    async fn find_key(&self, id: ApiKeyId, secret_sha256: [u8; 32]) -> Result<Option<ApiKey>>;

    /// Finds the key with this id, over all tenants; an ended key is found as well.
    async fn find_key_by_id(&self, id: ApiKeyId) -> Result<Option<ApiKey>>;

    /// Notes that a key is being used, unless that was noted within [`USE_GRAIN`].
    async fn touch_key(&self, tenant: TenantId, id: ApiKeyId) -> Result<()>;

    /// Adds a tenant.
    async fn insert_tenant(&self, tenant: TenantId, name: &str) -> Result<()>;

    /// Returns whether there is such a tenant.
    async fn has_tenant(&self, tenant: TenantId) -> Result<bool>;
}
