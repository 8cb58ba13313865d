//! Requests to the edge that ended: for analytics, and never with what was sent or answered.

use async_trait::async_trait;
use mediamesh_proto::TenantId;
use uuid::Uuid;

use crate::error::Result;

/// A request that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRequest {
    /// Made by the edge: the same request twice is one.
    pub id: Uuid,
    /// When it ended, microseconds since the epoch.
    pub end_time: i64,
    /// Whose; nil = nobody who is known.
    pub tenant_id: TenantId,
    /// User or key within the tenant; empty = nobody who is known.
    pub subject: String,
    /// Of HTTP.
    pub method: String,
    /// Template of the path.
    pub route: String,
    /// Of HTTP.
    pub status: i16,
    /// From its head to the end of its answer.
    pub duration_micros: i64,
    /// Of the body that came.
    pub request_bytes: i64,
    /// Of the body that went.
    pub response_bytes: i64,
    /// 32 hexadecimal digits; empty = none.
    pub trace_id: String,
}

/// Requests of one route in a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSummary {
    /// Of HTTP.
    pub method: String,
    /// Template of the path.
    pub route: String,
    /// How many.
    pub requests: i64,
    /// With a status of 400 to 499.
    pub client_errors: i64,
    /// With a status of 500 or above.
    pub server_errors: i64,
    /// Bytes that came.
    pub request_bytes: i64,
    /// Bytes that went.
    pub response_bytes: i64,
    /// Half of them took no longer, microseconds; nearest rank.
    pub p50_micros: i64,
    /// 95 % of them took no longer, microseconds.
    pub p95_micros: i64,
    /// 99 % of them took no longer, microseconds.
    pub p99_micros: i64,
}

/// Writes, summarises and forgets requests.
#[async_trait]
pub trait RequestLogStore: Send + Sync {
    /// Writes requests; those that are written already stay as they are. Answers how many were new.
    async fn log_requests(&self, requests: Vec<LoggedRequest>) -> Result<u64>;

    /// Requests by route in `[since, until)`, microseconds since the epoch, most first; of one tenant, or
    /// of all with `None`.
    async fn summarize_requests(
        &self,
        tenant: Option<TenantId>,
        since: i64,
        until: i64,
        limit: i64,
    ) -> Result<Vec<RouteSummary>>;

    /// Makes room for the requests of the coming months, where the table is partitioned, and takes out
    /// partitions that end before `before`: dropped, or with `archive` detached and kept as tables of their
    /// own. Answers their names.
    async fn turn_request_log(&self, before: i64, archive: bool) -> Result<Vec<String>>;

    /// Whether there are partitions.
    fn is_partitioned(&self) -> bool;

    /// Removes at most about `limit` requests from before `before`; answers how many.
    async fn sweep_requests(&self, before: i64, limit: i64) -> Result<u64>;
}
