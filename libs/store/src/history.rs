//! What each user searched for: the user's own, and shown to nobody else.

use async_trait::async_trait;
use mediamesh_proto::TenantId;

use crate::error::Result;

/// Longest wording that is kept, in bytes: a key of the database holds it.
pub const MAX_WORDING_BYTES: usize = 512;

/// Searches of one user for one wording, to be noted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewSearch {
    /// Whose it is.
    pub subject: String,
    /// What counts as the same search; at most [`MAX_WORDING_BYTES`].
    pub wording: String,
    /// As it was last written.
    pub query: String,
    /// How often, at least once.
    pub searches: i64,
    /// When last, microseconds since the epoch.
    pub search_time: i64,
}

/// A wording that a user searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastSearch {
    /// What counts as the same search.
    pub wording: String,
    /// As it was last written.
    pub query: String,
    /// How often.
    pub searches: i64,
    /// When last, microseconds since the epoch.
    pub search_time: i64,
}

/// Reads and writes what users searched for. Every method for users is scoped by tenant and user.
#[async_trait]
pub trait HistoryStore: Send + Sync {
    /// Notes searches of any users of a tenant. Each of them keeps the newest `keep` wordings.
    async fn note_searches(
        &self,
        tenant: TenantId,
        searches: Vec<NewSearch>,
        keep: i64,
    ) -> Result<()>;

    /// Wordings of a user, newest first, those after the time and wording of `after`.
    async fn past_searches(
        &self,
        tenant: TenantId,
        subject: &str,
        after: Option<(i64, String)>,
        limit: i64,
    ) -> Result<Vec<PastSearch>>;

    /// Wordings of a user that start with `prefix`, newest first.
    async fn past_searches_like(
        &self,
        tenant: TenantId,
        subject: &str,
        prefix: &str,
        limit: i64,
    ) -> Result<Vec<PastSearch>>;

    /// What all users of a tenant searched for last, in no order; at most `limit` wordings.
    async fn recent_searches(&self, tenant: TenantId, limit: i64) -> Result<Vec<NewSearch>>;

    /// Removes one wording of a user, or all; answers how many there were.
    async fn forget_searches(
        &self,
        tenant: TenantId,
        subject: &str,
        wording: Option<&str>,
    ) -> Result<u64>;

    /// Removes up to `limit` wordings last searched for before `before`, microseconds since the
    /// epoch, of all users; answers how many.
    async fn sweep_searches(&self, before: i64, limit: i64) -> Result<u64>;
}
