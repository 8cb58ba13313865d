//! What the rows say lies in the storage, for whoever compares the two.

use async_trait::async_trait;
use mediamesh_proto::{MediaItemId, TenantId};

use crate::{error::Result, media::State};

/// An object as a row names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// Where it lies.
    pub key: String,
    /// Bytes.
    pub size_bytes: i64,
    /// Of its bytes.
    pub sha256: [u8; 32],
}

/// The objects of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredItem {
    /// Dense key, by which items are paged.
    pub item_key: i64,
    /// Owner.
    pub tenant_id: TenantId,
    /// Identifier.
    pub id: MediaItemId,
    /// In the pipeline.
    pub state: State,
    /// Rises with each change but that of `state` to processing.
    pub version: i64,
    /// `ErrorReason` name if failed, else empty.
    pub failure_reason: String,
    /// As it was uploaded.
    pub original: StoredBlob,
    /// What was derived, by name.
    pub renditions: Vec<(String, StoredBlob)>,
}

/// Reads what should be stored, and notes what turned out to be damaged.
#[async_trait]
pub trait IntegrityStore: Send + Sync {
    /// Counts the items of all tenants.
    async fn count_stored_items(&self) -> Result<i64>;

    /// Reads up to `limit` items of all tenants whose `item_key` is above `after`, in its order, in two
    /// statements.
    async fn stored_items(&self, after: i64, limit: i64) -> Result<Vec<StoredItem>>;

    /// Reads one item as it is now.
    async fn stored_item(&self, tenant: TenantId, id: MediaItemId) -> Result<Option<StoredItem>>;

    /// Marks an item failed because its original is damaged, unless it is being processed; answers
    /// whether it is marked so from now on and was not before. Nothing of it is removed.
    async fn mark_damaged(
        &self,
        tenant: TenantId,
        id: MediaItemId,
        reason: &str,
        detail: &str,
    ) -> Result<bool>;
}
