//! Background work as rows, and the queue that hands it out.

use std::time::Duration;

use async_trait::async_trait;
use mediamesh_proto::{JobId, MediaItemId, TenantId};

use crate::error::Result;

/// How much later a job may run per priority step: a job of priority 9 that has waited eight
/// minutes goes before a fresh one of priority 1, so nothing starves.
pub const AGING_PER_PRIORITY: Duration = Duration::from_secs(60);

/// What a job does; numbers as in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum JobKind {
    /// Decode, derive, then embed.
    ProcessMedia = 1,
    /// Compute missing embeddings of one item.
    EmbedMedia = 2,
    /// Remove bytes that no row refers to.
    DeleteBlobs = 3,
}

impl JobKind {
    /// Name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcessMedia => "process_media",
            Self::EmbedMedia => "embed_media",
            Self::DeleteBlobs => "delete_blobs",
        }
    }
}

/// State of a job; numbers as in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum JobState {
    /// Waits.
    Queued = 1,
    /// A worker holds its lease.
    Running = 2,
    /// Done.
    Succeeded = 3,
    /// Out of attempts, or failed for good.
    Failed = 4,
    /// Cancelled.
    Cancelled = 5,
}

/// A job about to be queued.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Identifier.
    pub id: JobId,
    /// Owner.
    pub tenant_id: TenantId,
    /// What to do.
    pub kind: JobKind,
    /// Lower first: 1 interactive, 5 normal, 9 background.
    pub priority: i16,
    /// Attempts allowed.
    pub max_attempts: i32,
    /// While a job with this key waits, another is not queued.
    pub unique_key: Option<String>,
    /// JSON of the kind.
    pub payload: String,
    /// Item it is about.
    pub media_item_id: Option<MediaItemId>,
    /// W3C trace context of the request that queued it; empty = none.
    pub traceparent: String,
}

/// One job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Identifier.
    pub id: JobId,
    /// Owner.
    pub tenant_id: TenantId,
    /// What it does.
    pub kind: JobKind,
    /// State.
    pub state: JobState,
    /// Lower first.
    pub priority: i16,
    /// Attempts begun.
    pub attempts: i32,
    /// Attempts allowed.
    pub max_attempts: i32,
    /// JSON of the kind.
    pub payload: String,
    /// Item it is about.
    pub media_item_id: Option<MediaItemId>,
    /// In [0, 1].
    pub progress: f32,
    /// Stage in words.
    pub progress_message: String,
    /// Last error.
    pub last_error: String,
    /// Fencing token of the current claim.
    pub lease_token: i64,
    /// W3C trace context.
    pub traceparent: String,
    /// Microseconds since the epoch.
    pub create_time: i64,
    /// Microseconds since the epoch.
    pub start_time: Option<i64>,
    /// Microseconds since the epoch.
    pub end_time: Option<i64>,
}

/// The right to write a job's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job_id: JobId,
    /// Fencing token of the claim.
    pub token: i64,
}

impl Job {
    /// The lease of the claim that answered this job.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease {
            job_id: self.id,
            token: self.lease_token,
        }
    }
}

/// Counts of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct QueueStats {
    /// Wait and may run now.
    pub waiting: i64,
    /// Are being worked on.
    pub active: i64,
    /// Succeeded and not yet swept.
    pub completed: i64,
    /// Failed for good.
    pub failed: i64,
    /// Wait for a later time.
    pub delayed: i64,
    /// Oldest waiting job's create time, microseconds since the epoch.
    pub oldest_waiting: Option<i64>,
}

/// Keeps and hands out jobs.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Queues a job; answers the id of the one that already waits under its unique key, if any.
    async fn enqueue(&self, job: NewJob) -> Result<JobId>;

    /// Claims up to `limit` jobs for `worker` and starts their leases.
    async fn claim(&self, worker: &str, lease: Duration, limit: i64) -> Result<Vec<Job>>;

    /// Extends leases; answers the jobs whose lease is lost.
    async fn heartbeat(&self, leases: &[Lease], lease: Duration) -> Result<Vec<JobId>>;

    /// Records progress; a lost lease is not an error here.
    async fn progress(&self, lease: &Lease, progress: f32, message: &str) -> Result<()>;

    /// Ends a job with success.
    ///
    /// Errors: `LeaseLost`.
    async fn complete(&self, lease: &Lease) -> Result<()>;

    /// Queues a job again after `delay`.
    ///
    /// Errors: `LeaseLost`.
    async fn retry(&self, lease: &Lease, error: &str, delay: Duration) -> Result<()>;

    /// Ends a job with failure.
    ///
    /// Errors: `LeaseLost`.
    async fn fail(&self, lease: &Lease, error: &str) -> Result<()>;

    /// Queues again running jobs whose lease ended before now; with `all`, every running one
    /// (only for the sole process on a database, at its start). Answers how many.
    async fn rescue(&self, all: bool) -> Result<u64>;

    /// Removes jobs that ended before `before` (microseconds since the epoch).
    async fn sweep(&self, before: i64) -> Result<u64>;

    /// Reads one job.
    async fn get_job(&self, tenant: TenantId, id: JobId) -> Result<Option<Job>>;

    /// Reads one page of jobs, newest first, after (create_time, id).
    async fn list_jobs(
        &self,
        tenant: TenantId,
        state: Option<i16>,
        after: Option<(i64, JobId)>,
        limit: i64,
    ) -> Result<Vec<Job>>;

    /// Counts the jobs of a tenant, or of all.
    async fn queue_stats(&self, tenant: Option<TenantId>) -> Result<QueueStats>;
}
