//! Work that is queued again and again, and the record of which ticks were dealt with.

use async_trait::async_trait;
use mediamesh_proto::TenantId;

use crate::{
    error::Result,
    job::{Job, JobKind, NewJob},
};

/// What becomes of ticks that nobody was there for; numbers as in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum CatchUp {
    /// They are left out.
    Skip = 1,
    /// One job stands for all of them.
    Once = 2,
    /// Each gets its job, up to a bound; the latest ones if there are more.
    All = 3,
}

impl CatchUp {
    /// The policy of a number.
    #[must_use]
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Skip, Self::Once, Self::All]
            .into_iter()
            .find(|policy| *policy as i16 == number)
    }
}

/// When a kind of job is queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSchedule {
    /// Whose jobs they are.
    pub tenant_id: TenantId,
    /// One name for each schedule of a tenant.
    pub name: String,
    /// What is queued.
    pub kind: JobKind,
    /// Cron pattern.
    pub cron: String,
    /// IANA name of the time zone that the pattern is read in.
    pub time_zone: String,
    /// What becomes of ticks that nobody was there for.
    pub catch_up: CatchUp,
    /// Most ticks that are made up for by [`CatchUp::All`].
    pub max_catch_up: i32,
    /// Switched off, it has no ticks.
    pub enabled: bool,
}

/// A schedule as it stands.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// When it queues what.
    pub definition: NewSchedule,
    /// Ticks up to here are dealt with; microseconds since the epoch.
    pub last_tick: i64,
    /// The job of the last tick that had one; kept as long as it is the last.
    pub last_job: Option<Job>,
}

/// A last tick that lies further ahead, in microseconds, was noted by a clock that was wrong.
const MAX_AHEAD: i64 = 3_600_000_000;

/// Whether a last tick was noted by a clock that ran ahead: nothing would be due until the time comes
/// that it told. [`ScheduleStore::register_schedule`] lets the ticks count from now on again.
#[must_use]
pub fn is_ahead(last_tick: i64, now: i64) -> bool {
    last_tick > now.saturating_add(MAX_AHEAD)
}

/// The tick that queued a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tick {
    /// Name of the schedule.
    pub schedule: String,
    /// When it was due, microseconds since the epoch.
    pub time: i64,
}

/// Ticks that are due.
#[derive(Debug, Clone)]
pub struct Due {
    /// Whose schedule it is.
    pub tenant_id: TenantId,
    /// Its name.
    pub schedule: String,
    /// The last tick when these were found out.
    pub last_tick: i64,
    /// The latest of these.
    pub until: i64,
    /// Their jobs, each with its tick, in the order of time; fewer than the ticks if some are left out.
    pub jobs: Vec<NewJob>,
}

/// Keeps schedules.
#[async_trait]
pub trait ScheduleStore: Send + Sync {
    /// Makes a schedule known, or changes it. From here on its ticks count: those before are not
    /// made up for when the schedule is new, or when it had other ticks until now, or when its last
    /// one [is ahead](is_ahead).
    async fn register_schedule(&self, schedule: NewSchedule) -> Result<()>;

    /// Queues the jobs of due ticks, and notes that these are dealt with, in one transaction.
    /// Answers `false`, and does nothing, if somebody else did meanwhile.
    async fn fire(&self, due: Due) -> Result<bool>;

    /// Reads the schedules of a tenant, by name.
    async fn schedules(&self, tenant: TenantId) -> Result<Vec<Schedule>>;
}
