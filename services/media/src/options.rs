//! What can be configured.

use std::{num::NonZero, thread, time::Duration};

use mediamesh_imaging::Limits;
use mediamesh_store::job::JobKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{limits::JobLimits, schedule::Schedules};

/// Most objects that are looked at at once: each may hold a connection.
const MAX_CHECKED_AT_ONCE: usize = 256;

/// Options of the media service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Largest original in bytes.
    pub max_upload_bytes: u64,
    /// Largest image in bytes; images are held in memory while they are decoded.
    pub max_image_bytes: u64,
    /// Most pixels of an image.
    pub max_image_pixels: u64,
    /// Longest side of an image in pixels.
    pub max_image_side: u32,
    /// Most frames of an animation.
    pub max_image_frames: u32,
    /// Most memory that decoding one image may take, in bytes; as many are decoded at once as
    /// there are `worker.cpu_threads`.
    pub max_image_memory_bytes: u64,
    /// How long the number and size of a user's items are kept, seconds (S1-47); 0 = counted anew each time.
    pub user_stats_ttl_secs: u64,
    /// The check of what is stored.
    pub integrity: IntegrityOptions,
    /// The log of requests.
    pub request_log: RequestLogOptions,
    /// The worker.
    pub worker: WorkerOptions,
}

/// How rows are compared with what is stored, by `worker.schedules.check_blobs` and by `mediamesh integrity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IntegrityOptions {
    /// Whether the scheduled check reads every object and compares its SHA-256 too; without, an object
    /// is damaged if its size is another.
    pub checksums: bool,
    /// Whether the scheduled check repairs what it finds: renditions are made anew, objects that no row
    /// refers to are removed, items whose original is damaged are marked failed.
    pub repair: bool,
    /// Objects that are looked at at once.
    pub concurrency: usize,
}

impl Default for IntegrityOptions {
    fn default() -> Self {
        Self {
            checksums: false,
            repair: false,
            // keeps 16 requests of 20 ms in flight: 800 objects a second
            concurrency: 16,
        }
    }
}

/// How long the log of requests is kept; `edge.request_log` turns it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequestLogOptions {
    /// Days that requests are kept.
    pub retention_days: u32,
    /// PostgreSQL: a month that is over for so long is detached and stays as a table of its own, such as
    /// `request_log_202611`, for whoever archives it; else it is dropped.
    pub archive: bool,
}

impl Default for RequestLogOptions {
    fn default() -> Self {
        Self {
            // a month can be compared with the one before
            retention_days: 62,
            archive: false,
        }
    }
}

/// Options of the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerOptions {
    /// Whether a process that serves media works on jobs too; turn it off where `serve worker` does.
    pub enabled: bool,
    /// Jobs worked on at once; 0 = twice the cores, so that one job's files and calls overlap
    /// another's decoding.
    pub concurrency: usize,
    /// Threads that decode, resize and encode at once; 0 = the cores.
    pub cpu_threads: usize,
    /// How long a claim holds without a sign of life, milliseconds.
    pub lease_millis: u64,
    /// Between two signs of life, milliseconds; several must fit into a lease.
    pub heartbeat_millis: u64,
    /// Attempts at a job before it has failed for good.
    pub max_attempts: i32,
    /// Attempts that may begin in all if workers die at them, before the job has failed for good: a
    /// file that kills its worker must not do so for ever, but most workers are killed for other
    /// reasons.
    pub max_lost_attempts: i32,
    /// Attempts at embedding: more, because a model service may be away for minutes.
    pub max_embed_attempts: i32,
    /// Wait before the second attempt, milliseconds; it doubles each time.
    pub backoff_millis: u64,
    /// Longest wait between attempts, milliseconds.
    pub max_backoff_millis: u64,
    /// Longest time for one attempt, seconds.
    pub job_timeout_secs: u64,
    /// How long running jobs may finish at shutdown, seconds; then they are handed back.
    pub drain_secs: u64,
    /// Longest wait between looks into the queue, milliseconds; queued jobs wake the worker at once,
    /// so this is for those whose time comes, and for wake-ups that were lost.
    pub max_poll_millis: u64,
    /// Between two looks for expired leases, and two readings of the queue's depth, seconds.
    pub rescue_interval_secs: u64,
    /// Between two looks at which models are loaded, seconds.
    pub models_interval_secs: u64,
    /// Longest time for one attempt at a sweep or a check, which look at every stored object, seconds.
    pub sweep_timeout_secs: u64,
    /// How long jobs that succeeded can be looked up, seconds.
    pub keep_succeeded_secs: u64,
    /// How long cancelled jobs can be looked up and retried, seconds.
    pub keep_cancelled_secs: u64,
    /// How long failed jobs can be looked up and retried, seconds.
    pub keep_failed_secs: u64,
    /// How many jobs may run and how often they may start. Without, places are still dealt out
    /// evenly among tenants.
    pub limits: JobLimits,
    /// Age of bytes that no row refers to before they are removed, seconds; must exceed the time
    /// between storing bytes and storing their row.
    pub orphan_age_secs: u64,
    /// When periodic jobs are queued.
    pub schedules: Schedules,
}

impl Default for Options {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            max_upload_bytes: 4 << 30,
            max_image_bytes: 256 << 20,
            max_image_pixels: limits.max_pixels,
            max_image_side: limits.max_side,
            max_image_frames: limits.max_frames,
            max_image_memory_bytes: limits.max_alloc_bytes,
            // S1-47
            user_stats_ttl_secs: 300,
            integrity: IntegrityOptions::default(),
            request_log: RequestLogOptions::default(),
            worker: WorkerOptions::default(),
        }
    }
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            concurrency: 0,
            cpu_threads: 0,
            // with the interval below, a dead worker's jobs are free again within 25 s
            lease_millis: 20_000,
            heartbeat_millis: 4_000,
            max_attempts: 3,
            max_embed_attempts: 8,
            max_lost_attempts: 10,
            backoff_millis: 2_000,
            max_backoff_millis: 300_000,
            job_timeout_secs: 300,
            drain_secs: 15,
            max_poll_millis: 1_000,
            rescue_interval_secs: 5,
            models_interval_secs: 30,
            sweep_timeout_secs: 6 * 3_600,
            keep_succeeded_secs: 7 * 24 * 3_600,
            keep_cancelled_secs: 7 * 24 * 3_600,
            keep_failed_secs: 30 * 24 * 3_600,
            limits: JobLimits::default(),
            orphan_age_secs: 6 * 3_600,
            schedules: Schedules::default(),
        }
    }
}

/// Every fault of the options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("media options: {}", .0.join("; "))]
pub struct InvalidOptions(pub Vec<String>);

impl Options {
    /// Checks every value.
    ///
    /// Errors: all faults at once.
    pub fn validate(&self) -> Result<(), InvalidOptions> {
        let worker = &self.worker;
        let mut faults = Vec::new();
        let mut check = |bad: bool, text: &str| {
            if bad {
                faults.push(text.to_owned());
            }
        };
        check(
            self.max_upload_bytes == 0,
            "max_upload_bytes must be at least 1",
        );
        check(
            self.max_image_bytes == 0,
            "max_image_bytes must be at least 1",
        );
        check(
            self.max_image_pixels == 0,
            "max_image_pixels must be at least 1",
        );
        check(
            self.max_image_side == 0,
            "max_image_side must be at least 1",
        );
        check(
            self.max_image_frames == 0,
            "max_image_frames must be at least 1",
        );
        check(
            worker.heartbeat_millis == 0,
            "worker.heartbeat_millis must be at least 1",
        );
        check(
            worker.lease_millis < worker.heartbeat_millis.saturating_mul(3),
            "worker.lease_millis must be at least three times worker.heartbeat_millis",
        );
        check(
            worker.max_attempts < 1,
            "worker.max_attempts must be at least 1",
        );
        check(
            worker.max_embed_attempts < 1,
            "worker.max_embed_attempts must be at least 1",
        );
        check(
            worker.max_lost_attempts < 1,
            "worker.max_lost_attempts must be at least 1",
        );
        check(
            worker.job_timeout_secs == 0,
            "worker.job_timeout_secs must be at least 1",
        );
        check(
            worker.max_poll_millis == 0,
            "worker.max_poll_millis must be at least 1",
        );
        check(
            worker.rescue_interval_secs == 0,
            "worker.rescue_interval_secs must be at least 1",
        );
        check(
            worker.models_interval_secs == 0,
            "worker.models_interval_secs must be at least 1",
        );
        check(
            worker.sweep_timeout_secs == 0,
            "worker.sweep_timeout_secs must be at least 1",
        );
        check(
            worker.orphan_age_secs <= worker.job_timeout_secs,
            "worker.orphan_age_secs must exceed worker.job_timeout_secs",
        );
        check(
            !(1..=MAX_CHECKED_AT_ONCE).contains(&self.integrity.concurrency),
            "integrity.concurrency must be 1 to 256",
        );
        faults.extend(worker.schedules.faults());
        if faults.is_empty() {
            Ok(())
        } else {
            Err(InvalidOptions(faults))
        }
    }

    /// What one image may cost.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            max_pixels: self.max_image_pixels,
            max_side: self.max_image_side,
            max_frames: self.max_image_frames,
            max_alloc_bytes: self.max_image_memory_bytes,
        }
    }
}

impl WorkerOptions {
    /// Jobs worked on at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        if self.concurrency == 0 {
            2 * cores()
        } else {
            self.concurrency
        }
    }

    /// Threads of CPU work.
    #[must_use]
    pub fn cpu_threads(&self) -> usize {
        if self.cpu_threads == 0 {
            cores()
        } else {
            self.cpu_threads
        }
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_millis)
    }

    /// Longest time for one attempt at a job of a kind.
    pub(crate) fn time_limit(&self, kind: JobKind) -> Duration {
        Duration::from_secs(match kind {
            JobKind::SweepJobs | JobKind::SweepBlobs | JobKind::CheckBlobs => {
                self.sweep_timeout_secs
            }
            JobKind::ProcessMedia | JobKind::EmbedMedia | JobKind::DeleteBlobs => {
                self.job_timeout_secs
            }
        })
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_millis)
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_faults_are_told_at_once_and_the_defaults_have_none() {
        Options::default().validate().unwrap();
        let mut bad = Options {
            max_upload_bytes: 0,
            ..Options::default()
        };
        bad.worker.lease_millis = bad.worker.heartbeat_millis;
        bad.worker.max_attempts = 0;
        assert_eq!(bad.validate().unwrap_err().0.len(), 3);
    }

    #[test]
    fn a_dead_workers_jobs_are_free_again_within_half_a_minute() {
        let worker = WorkerOptions::default();
        let longest = worker.lease() + Duration::from_secs(worker.rescue_interval_secs);
        assert!(longest < Duration::from_secs(30), "{longest:?}");
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(serde_json::from_str::<Options>(r#"{"max_upload_byte": 1}"#).is_err());
        let one: Options = serde_json::from_str(r#"{"worker": {"concurrency": 3}}"#).unwrap();
        assert_eq!(one.worker.concurrency(), 3);
        assert_eq!(one.max_upload_bytes, Options::default().max_upload_bytes);
    }
}
