//! When periodic jobs are due: cron patterns in named time zones, and what becomes of ticks that
//! nobody was there for.
//!
//! Where clocks are put forward, a pattern of a fixed time that falls into the gap is due right after
//! it, and one with `*` or steps leaves the gap out. Where they are put back, a fixed time is due
//! once, at its first pass, and one with `*` or steps at each. UTC has neither.

use std::{collections::VecDeque, str::FromStr as _};

use chrono::DateTime;
use chrono_tz::Tz;
use croner::Cron;
use mediamesh_store::{
    job::JobKind,
    schedule::{CatchUp, NewSchedule},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::service::SYSTEM_TENANT;

/// A tick that is dealt with later than this was missed, microseconds: longer than a busy worker
/// takes to look at the clock.
const LATE: i64 = 60_000_000;

/// Most ticks that one start makes up for, whatever is configured: one transaction of a second.
pub const MAX_CATCH_UP: u32 = 1_000;

/// What becomes of ticks that nobody was there for, because no worker ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUpOption {
    /// They are left out.
    Skip,
    /// One job stands for all of them.
    Once,
    /// Each gets its job, up to `max_catch_up`.
    All,
}

/// When a periodic job is queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timetable {
    /// Off, it is never queued.
    pub enabled: bool,
    /// Cron pattern of five fields (minute, hour, day, month, weekday), or of six with seconds first.
    pub cron: String,
    /// IANA name of the time zone that the pattern is read in, e.g. `Europe/Berlin`.
    pub time_zone: String,
    /// What becomes of ticks that nobody was there for: `skip` them, queue one job `once` for all of
    /// them, or one for `all` of them.
    pub catch_up: CatchUpOption,
    /// Most jobs that `all` queues at once, up to 1000; the latest ticks get them.
    pub max_catch_up: u32,
}

impl Default for Timetable {
    fn default() -> Self {
        Self {
            enabled: true,
            cron: "0 * * * *".to_owned(),
            time_zone: "UTC".to_owned(),
            catch_up: CatchUpOption::Once,
            max_catch_up: 24,
        }
    }
}

/// The periodic jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Schedules {
    /// Removes jobs that ended long ago; see `keep_succeeded_secs` and its neighbours.
    pub sweep_jobs: Timetable,
    /// Removes half-written bytes, and bytes that no row refers to.
    pub sweep_blobs: Timetable,
    /// Compares what rows name with what is stored; see `media.integrity`.
    pub check_blobs: Timetable,
}

impl Default for Schedules {
    fn default() -> Self {
        // minutes apart and off the full hour, where everybody else's are
        let at = |cron: &str| Timetable {
            cron: cron.to_owned(),
            ..Timetable::default()
        };
        Self {
            sweep_jobs: at("7 * * * *"),
            sweep_blobs: at("37 * * * *"),
            // each object is asked for once, which a bucket charges for
            check_blobs: at("17 3 * * 0"),
        }
    }
}

impl Schedules {
    /// Every one, with its name and what it queues.
    #[must_use]
    pub fn all(&self) -> [(&'static str, JobKind, &Timetable); 3] {
        [
            ("sweep_jobs", JobKind::SweepJobs, &self.sweep_jobs),
            ("sweep_blobs", JobKind::SweepBlobs, &self.sweep_blobs),
            ("check_blobs", JobKind::CheckBlobs, &self.check_blobs),
        ]
    }

    /// Every fault.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, _, timetable) in self.all() {
            if let Err(fault) = Ticks::of(&timetable.cron, &timetable.time_zone) {
                faults.push(format!("worker.schedules.{name}: {fault}"));
            }
            if !(1..=MAX_CATCH_UP).contains(&timetable.max_catch_up) {
                let limit = MAX_CATCH_UP;
                faults.push(format!(
                    "worker.schedules.{name}.max_catch_up must be from 1 to {limit}"
                ));
            }
        }
        faults
    }
}

impl Timetable {
    /// As it is kept.
    pub(crate) fn definition(&self, name: &str, kind: JobKind) -> NewSchedule {
        NewSchedule {
            tenant_id: SYSTEM_TENANT,
            name: name.to_owned(),
            kind,
            cron: self.cron.clone(),
            time_zone: self.time_zone.clone(),
            catch_up: match self.catch_up {
                CatchUpOption::Skip => CatchUp::Skip,
                CatchUpOption::Once => CatchUp::Once,
                CatchUpOption::All => CatchUp::All,
            },
            max_catch_up: i32::try_from(self.max_catch_up).unwrap_or(i32::MAX),
            enabled: self.enabled,
        }
    }
}

/// Why a pattern has no ticks.
#[derive(Debug, thiserror::Error)]
pub enum TicksError {
    /// The pattern cannot be read.
    #[error("{pattern:?} is no cron pattern of five or six fields: {fault}")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// What is wrong.
        fault: String,
    },
    /// There is no such zone.
    #[error("{name:?} is no time zone of the IANA database")]
    Zone {
        /// As it was given.
        name: String,
    },
    /// It can be read and never comes.
    #[error("{pattern:?} never comes")]
    Never {
        /// As it was given.
        pattern: String,
    },
}

/// The times of a pattern in a zone.
#[derive(Debug, Clone)]
pub struct Ticks {
    cron: Cron,
    zone: Tz,
}

/// Ticks to deal with now.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// The latest.
    pub until: i64,
    /// Those that get a job, in order.
    pub ticks: Vec<i64>,
    /// Some before were left out.
    pub left_out: bool,
}

impl Ticks {
    /// Reads a pattern and the name of a zone.
    ///
    /// Errors: one of them is none, or the pattern never comes.
    pub fn of(pattern: &str, zone: &str) -> Result<Self, TicksError> {
        let faulty = |fault: String| TicksError::Pattern {
            pattern: pattern.to_owned(),
            fault,
        };
        // seven fields would be years, with which a schedule ends
        if !(5..=6).contains(&pattern.split_whitespace().count()) {
            return Err(faulty("it has other fields".to_owned()));
        }
        let cron = Cron::from_str(pattern).map_err(|error| faulty(error.to_string()))?;
        let zone = zone.parse().map_err(|_| TicksError::Zone {
            name: zone.to_owned(),
        })?;
        let ticks = Self { cron, zone };
        match ticks.after(0) {
            Some(_) => Ok(ticks),
            None => Err(TicksError::Never {
                pattern: pattern.to_owned(),
            }),
        }
    }

    /// The first tick after a time; both in microseconds since the epoch.
    #[must_use]
    pub fn after(&self, time: i64) -> Option<i64> {
        let next = self.cron.find_next_occurrence(&self.local(time)?, false);
        next.ok().map(|time| time.timestamp_micros())
    }

    /// The ticks after `last`, up to `now`; `None` if there are none.
    ///
    /// Blocking: looks at no more ticks than get a job, and one, however long ago the last was.
    #[must_use]
    pub fn passed(&self, last: i64, now: i64, policy: CatchUp, most: usize) -> Option<Passed> {
        let mut at = self.local(now)?;
        let mut ticks = VecDeque::new();
        let mut inclusive = true;
        let mut until = None;
        let mut left_out = false;
        while let Ok(tick) = self.cron.find_previous_occurrence(&at, inclusive) {
            let time = tick.timestamp_micros();
            if time <= last {
                break;
            }
            until.get_or_insert(time);
            let wanted = match policy {
                CatchUp::Skip => ticks.is_empty() && now.saturating_sub(time) <= LATE,
                CatchUp::Once => ticks.is_empty(),
                CatchUp::All => ticks.len() < most,
            };
            if !wanted {
                left_out = true;
                break;
            }
            ticks.push_front(time);
            (at, inclusive) = (tick, false);
        }
        Some(Passed {
            until: until?,
            ticks: ticks.into(),
            left_out,
        })
    }

    fn local(&self, time: i64) -> Option<DateTime<Tz>> {
        DateTime::from_timestamp_micros(time).map(|time| time.with_timezone(&self.zone))
    }
}

#[cfg(test)]
mod tests;
