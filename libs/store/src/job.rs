//! Background work as rows, and the queue that hands it out.

use std::time::Duration;

use async_trait::async_trait;
use mediamesh_proto::{JobId, MediaItemId, TenantId};

use crate::{
    error::Result,
    limit::{ClaimLimits, Reached},
    schedule::{ScheduleStore, Tick},
};

/// How much later a job may run per priority step: a job of priority 9 that has waited eight
/// minutes goes before a fresh one of priority 1, so nothing starves.
pub const AGING_PER_PRIORITY: Duration = Duration::from_secs(60);

/// What a job does; numbers as in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum JobKind {
    /// Decode, derive, then embed.
    ProcessMedia = 1,
    /// Compute missing embeddings of one item.
    EmbedMedia = 2,
    /// Remove the bytes of a deleted item.
    DeleteBlobs = 3,
    /// Remove jobs that ended long ago.
    SweepJobs = 5,
    /// Remove half-written bytes, and bytes that no row refers to.
    SweepBlobs = 6,
    /// Compare what rows name with what is stored.
    CheckBlobs = 7,
}

impl JobKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::ProcessMedia,
        Self::EmbedMedia,
        Self::DeleteBlobs,
        Self::SweepJobs,
        Self::SweepBlobs,
        Self::CheckBlobs,
    ];

    /// The kind of a number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i16 == number)
    }

    /// Name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcessMedia => "process_media",
            Self::EmbedMedia => "embed_media",
            Self::DeleteBlobs => "delete_blobs",
            Self::SweepJobs => "sweep_jobs",
            Self::SweepBlobs => "sweep_blobs",
            Self::CheckBlobs => "check_blobs",
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
    /// Waits for other jobs.
    Blocked = 6,
}

impl JobState {
    /// Name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Blocked => "blocked",
        }
    }

    /// Whether nothing more becomes of a job by itself.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The state of a number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        let all = [
            Self::Queued,
            Self::Running,
            Self::Succeeded,
            Self::Failed,
            Self::Cancelled,
            Self::Blocked,
        ];
        all.into_iter().find(|state| *state as i16 == number)
    }
}

/// Keeps the same work from being queued again for a while, whatever becomes of it.
#[derive(Debug, Clone)]
pub struct UniquePeriod {
    /// What is the same; one name for all kinds of a tenant.
    pub key: String,
    /// Counted from the time it is queued.
    pub length: Duration,
    /// States in which an earlier job stands for this one.
    pub states: Vec<JobState>,
}

impl UniquePeriod {
    /// States that count unless others are named: what failed or was cancelled may be queued again.
    pub const STATES: [JobState; 3] = [JobState::Queued, JobState::Running, JobState::Succeeded];
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
    /// Within this period another is not queued.
    pub period: Option<UniquePeriod>,
    /// JSON of the kind.
    pub payload: String,
    /// Item it is about.
    pub media_item_id: Option<MediaItemId>,
    /// W3C trace context of the request that queued it; empty = none.
    pub traceparent: String,
    /// The tick of a schedule that queues it.
    pub tick: Option<Tick>,
    /// The tree it is a step of.
    pub tree_id: Option<JobId>,
    /// Name in the tree.
    pub step: String,
    /// Other steps of the tree that must have succeeded before it starts.
    pub needs: Vec<JobId>,
}

impl NewJob {
    /// A job with a new id and no item, of normal priority and three attempts.
    #[must_use]
    pub fn new(tenant_id: TenantId, kind: JobKind) -> Self {
        Self {
            id: JobId::generate(),
            tenant_id,
            kind,
            priority: 5,
            max_attempts: 3,
            unique_key: None,
            period: None,
            payload: "{}".to_owned(),
            media_item_id: None,
            traceparent: String::new(),
            tick: None,
            tree_id: None,
            step: String::new(),
            needs: Vec::new(),
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub current: i64,
    /// Steps in all; 0 = not known.
    pub total: i64,
    /// Stage in words.
    pub message: String,
}

impl Progress {
    /// Steps done of all, and what comes now.
    #[must_use]
    pub fn of(current: i64, total: i64, message: &str) -> Self {
        Self {
            current,
            total,
            message: message.to_owned(),
        }
    }

    /// In [0, 1]; 0 while the total is not known.
    #[must_use]
    pub fn share(&self) -> f32 {
        match self.total {
            ..=0 => 0.0,
            total => (self.current as f32 / total as f32).clamp(0.0, 1.0),
        }
    }
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
    /// How far it is.
    pub progress: Progress,
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
    /// The tick of a schedule that queued it.
    pub tick: Option<Tick>,
    /// The tree it is a step of.
    pub tree_id: Option<JobId>,
    /// Name in the tree.
    pub step: String,
}

/// A job of a tree, and those it needs.
#[derive(Debug, Clone)]
pub struct Step {
    /// The job.
    pub job: Job,
    /// Jobs that must have succeeded before it starts.
    pub needs: Vec<JobId>,
}

/// The right to write a job's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The job.
    pub job_id: JobId,
    /// Fencing token of the claim.
    pub token: i64,
    /// Whose tree the job is a step of, if it is: others may wait for its end.
    pub tree: Option<TenantId>,
}

impl Job {
    /// The lease of the claim that answered this job.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease {
            job_id: self.id,
            token: self.lease_token,
            tree: self.tree_id.map(|_| self.tenant_id),
        }
    }
}

/// How many jobs of a tree are in one state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepCount {
    /// The state.
    pub state: JobState,
    /// How many are in it.
    pub jobs: i64,
    /// Sum of the shares of these that are done.
    pub progress: f32,
}

/// What became of a job that somebody wanted to cancel or to repeat.
#[derive(Debug, Clone)]
pub enum Turned {
    /// It is as it was wanted.
    Done(Job),
    /// It is in a state that cannot be left like this.
    Unfit(Job),
}

/// What is not claimed for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// This kind only; `None` is every kind.
    pub kind: Option<JobKind>,
    /// Microseconds since the epoch; `None` is until it is resumed.
    pub until: Option<i64>,
    /// Microseconds since the epoch.
    pub create_time: i64,
}

/// Which ended jobs are removed; times are microseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// Succeeded ones that ended before.
    pub succeeded_before: i64,
    /// Cancelled ones that ended before.
    pub cancelled_before: i64,
    /// Dead letters that ended before.
    pub failed_before: i64,
    /// Most jobs that are removed.
    pub limit: i64,
}

/// Which jobs a list holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobFilter {
    /// Number of a state.
    pub state: Option<i16>,
    /// Number of a kind.
    pub kind: Option<i16>,
}

/// How long back [`QueueStats`] counts what ended: 5 minutes, long enough for a rate of slow jobs
/// and short enough to show a standstill.
pub const RATE_WINDOW: Duration = Duration::from_secs(300);

/// Counts of jobs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueStats {
    /// Wait and may run now.
    pub waiting: i64,
    /// Are being worked on.
    pub active: i64,
    /// Succeeded and not yet swept.
    pub completed: i64,
    /// Failed for good and not yet swept.
    pub failed: i64,
    /// Cancelled and not yet swept.
    pub cancelled: i64,
    /// Wait for a later time.
    pub delayed: i64,
    /// Wait for other jobs.
    pub blocked: i64,
    /// Run under a lease that ended: their worker gives no sign of life.
    pub stalled: i64,
    /// Succeeded within [`RATE_WINDOW`].
    pub succeeded_lately: i64,
    /// Failed for good within [`RATE_WINDOW`].
    pub failed_lately: i64,
    /// Oldest waiting job's create time, microseconds since the epoch.
    pub oldest_waiting: Option<i64>,
    /// The same by kind, as (number of the kind, number of the state, jobs).
    pub kinds: Vec<(i16, i16, i64)>,
}

/// Renews leases, apart from whatever else the store is at.
#[async_trait]
pub trait LeaseKeeper: Send {
    /// Extends leases; answers the jobs whose lease is lost.
    async fn renew(&mut self, leases: &[Lease], lease: Duration) -> Result<Vec<JobId>>;
}

/// Keeps and hands out jobs.
#[async_trait]
pub trait JobStore: ScheduleStore {
    /// Queues a job; answers the id of the one that stands for it already, if any: because it waits
    /// under the same unique key, or was queued within the same period.
    async fn enqueue(&self, job: NewJob) -> Result<JobId>;

    /// Queues jobs in one transaction; nothing stands for one of them, whatever its keys. Those that
    /// need others must be among these, without cycles.
    async fn enqueue_all(&self, jobs: Vec<NewJob>) -> Result<()>;

    /// Reads up to `limit` jobs of a tree: those queued as its steps, or a job and what it queued.
    async fn tree(&self, tenant: TenantId, tree: JobId, limit: i64) -> Result<Vec<Step>>;

    /// Counts all jobs of a tree by their state.
    async fn tree_counts(&self, tenant: TenantId, tree: JobId) -> Result<Vec<StepCount>>;

    /// Tells workers, of this process and of others on this database, that there may be something
    /// to claim. Those who miss it find it when they look by themselves.
    fn ring(&self);

    /// Waits until somebody has rung since the last time.
    async fn rung(&self);

    /// Claims up to `limit` jobs for `worker` and starts their leases.
    async fn claim(&self, worker: &str, lease: Duration, limit: i64) -> Result<Vec<Job>> {
        let none = ClaimLimits::default();
        self.claim_within(worker, lease, limit, none).await
    }

    /// Claims up to `limit` jobs within limits; what is paused or held back by a limit waits. Each
    /// place goes to the tenant that has least running, in turns; within a tenant, jobs come in the
    /// order of the queue.
    async fn claim_within(
        &self,
        worker: &str,
        lease: Duration,
        limit: i64,
        limits: ClaimLimits,
    ) -> Result<Vec<Job>>;

    /// Tells which limits hold back jobs of a tenant, or of all, that could run without them.
    async fn reached_limits(
        &self,
        tenant: Option<TenantId>,
        limits: ClaimLimits,
    ) -> Result<Vec<Reached>>;

    /// What renews the leases of one worker; whatever it opens belongs to the runtime that it is used
    /// on, and is its own.
    fn lease_keeper(&self) -> Box<dyn LeaseKeeper>;

    /// Records progress; a lost lease is not an error here.
    async fn progress(&self, lease: &Lease, progress: Progress) -> Result<()>;

    /// Ends a job with success.
    ///
    /// Errors: `LeaseLost`.
    async fn complete(&self, lease: &Lease) -> Result<()>;

    /// Ends jobs with success, all in one transaction; answers the leases that are lost, whose jobs
    /// are left as they are.
    async fn complete_all(&self, leases: &[Lease]) -> Result<Vec<Lease>>;

    /// Queues a job again after `delay`.
    ///
    /// Errors: `LeaseLost`.
    async fn retry(&self, lease: &Lease, error: &str, delay: Duration) -> Result<()>;

    /// Queues a job again at once, as if this attempt had never begun.
    ///
    /// Errors: `LeaseLost`.
    async fn hand_back(&self, lease: &Lease) -> Result<()>;

    /// Ends a job with failure: it becomes a dead letter, and what needs it is cancelled.
    ///
    /// Errors: `LeaseLost`.
    async fn fail(&self, lease: &Lease, error: &str) -> Result<()>;

    /// Queues again running jobs whose lease ended before now; with `all`, every running one
    /// (only for the sole process on a database, at its start). Answers how many.
    async fn rescue(&self, all: bool) -> Result<u64>;

    /// Removes jobs that ended long ago, unless their unique period goes on or they are the last of
    /// their schedule; answers how many.
    async fn sweep(&self, sweep: Sweep) -> Result<u64>;

    /// Cancels a job that waits or runs; `None` if there is none. The lease of one that runs is lost
    /// in that moment, so its result is refused. An item that waits for its processing fails with
    /// `ERROR_REASON_CANCELLED` in the same transaction.
    async fn cancel_job(&self, tenant: TenantId, id: JobId) -> Result<Option<Turned>>;

    /// Queues a dead letter or a cancelled job again, with all its attempts; `None` if there is none.
    /// What was cancelled because it needs the job waits again, once nothing else that it needs has
    /// failed or was cancelled; that itself can be queued by no other way.
    async fn requeue_job(&self, tenant: TenantId, id: JobId) -> Result<Option<Turned>>;

    /// Queues up to `limit` dead letters again, oldest first; answers how many.
    async fn requeue_failed(
        &self,
        tenant: TenantId,
        kind: Option<JobKind>,
        limit: i64,
    ) -> Result<u64>;

    /// Keeps a tenant's jobs, or those of a kind, from being claimed; what runs goes on. Replaces an
    /// earlier pause of the same.
    async fn pause(
        &self,
        tenant: TenantId,
        kind: Option<JobKind>,
        until: Option<i64>,
    ) -> Result<()>;

    /// Ends a pause; answers whether there was one.
    async fn resume(&self, tenant: TenantId, kind: Option<JobKind>) -> Result<bool>;

    /// Reads the pauses of a tenant that have not passed.
    async fn pauses(&self, tenant: TenantId) -> Result<Vec<Pause>>;

    /// Reads one job.
    async fn get_job(&self, tenant: TenantId, id: JobId) -> Result<Option<Job>>;

    /// Reads one page of jobs, newest first, after (create_time, id).
    async fn list_jobs(
        &self,
        tenant: TenantId,
        filter: JobFilter,
        after: Option<(i64, JobId)>,
        limit: i64,
    ) -> Result<Vec<Job>>;

    /// Counts the jobs of a tenant, or of all.
    async fn queue_stats(&self, tenant: Option<TenantId>) -> Result<QueueStats>;
}
