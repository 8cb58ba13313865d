//! Every metric of the media service.

use mediamesh_telemetry::{
    Metrics,
    metrics::{BytesFamily, SecondsFamily, bytes_family, seconds_family},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

/// Label of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UploadLabels {
    /// `stored`, `duplicate` or `rejected`.
    pub outcome: &'static str,
}

/// Labels of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabels {
    /// What it does.
    pub kind: &'static str,
    /// `succeeded`, `retried`, `failed`, `lease_lost` or `handed_back`.
    pub outcome: &'static str,
}

/// Label of a job's kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabels {
    /// What it does.
    pub kind: &'static str,
}

/// Labels of a tick of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScheduleLabels {
    /// Its name.
    pub schedule: String,
    /// `queued`, or `skipped` because it was missed.
    pub outcome: &'static str,
}

/// Label of a stage of processing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StageLabels {
    /// `read`, `cpu_wait`, `cpu`, `store`, `embed` or `index`.
    pub stage: &'static str,
}

/// Labels of something that is wrong with what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FindingLabels {
    /// `missing`, `untracked`, `mismatch` or `unreadable`.
    pub problem: &'static str,
    /// `original`, `rendition` or `unknown`.
    pub part: &'static str,
}

/// Labels of a limit that holds jobs back.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabels {
    /// `all`, or `one` for the limits of single tenants.
    pub tenants: &'static str,
    /// Kind of job, or `all`.
    pub kind: &'static str,
    /// `running` or `starts`.
    pub bound: &'static str,
}

/// Label of the queue's depth.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// `waiting`, `active`, `delayed`, `blocked`, `completed`, `failed`, `cancelled` or `stalled`; what
    /// stalls is active as well.
    pub state: &'static str,
}

/// The metrics; clones share them.
#[derive(Clone)]
pub struct MediaMetrics {
    /// Uploads by outcome.
    pub uploads: Family<UploadLabels, Counter>,
    /// Size of stored originals.
    pub upload_bytes: BytesFamily<UploadLabels>,
    /// Ends of attempts at jobs.
    pub jobs: Family<JobLabels, Counter>,
    /// From the time a job was queued to its first attempt.
    pub queue_wait: SecondsFamily<KindLabels>,
    /// One attempt at a job.
    pub job_seconds: SecondsFamily<KindLabels>,
    /// Stages of processing.
    pub stage_seconds: SecondsFamily<StageLabels>,
    /// Jobs in the queue.
    pub queue_depth: Family<StateLabels, Gauge>,
    /// Jobs that wait because of a limit.
    pub held_back: Family<LimitLabels, Gauge>,
    /// Objects removed because no row referred to them.
    pub orphans: Counter,
    /// Objects that a scheduled check compared with their rows.
    pub checked: Counter,
    /// What scheduled checks found wrong, each time they found it.
    pub findings: Family<FindingLabels, Counter>,
    /// Jobs rescued from expired leases.
    pub rescued: Counter,
    /// Times that a schedule was due, by this process.
    pub ticks: Family<ScheduleLabels, Counter>,
}

/// Shown from the start: what appears with its first finding has not increased for Prometheus.
fn no_findings() -> Family<FindingLabels, Counter> {
    let findings = Family::default();
    for (problem, part) in [
        ("missing", "original"),
        ("missing", "rendition"),
        ("mismatch", "original"),
        ("mismatch", "rendition"),
        ("unreadable", "original"),
        ("unreadable", "rendition"),
        ("untracked", "unknown"),
    ] {
        drop(findings.get_or_create(&FindingLabels { problem, part }));
    }
    findings
}

impl MediaMetrics {
    /// Registers every metric.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        Self {
            uploads: metrics.register("media_uploads", "Uploads by outcome", Family::default()),
            upload_bytes: metrics.register(
                "media_upload_bytes",
                "Size of uploaded originals",
                bytes_family(),
            ),
            jobs: metrics.register(
                "media_jobs",
                "Attempts at jobs by outcome",
                Family::default(),
            ),
            queue_wait: metrics.register(
                "media_job_queue_wait_seconds",
                "From the time a job was queued to its first attempt",
                seconds_family(),
            ),
            job_seconds: metrics.register(
                "media_job_seconds",
                "One attempt at a job",
                seconds_family(),
            ),
            stage_seconds: metrics.register(
                "media_stage_seconds",
                "Stages of processing",
                seconds_family(),
            ),
            queue_depth: metrics.register("media_queue_jobs", "Jobs by state", Family::default()),
            held_back: metrics.register(
                "media_queue_held_back_jobs",
                "Jobs that wait because a limit is reached",
                Family::default(),
            ),
            orphans: metrics.register(
                "media_orphans_removed",
                "Objects no row referred to",
                Counter::default(),
            ),
            checked: metrics.register(
                "media_integrity_checked_objects",
                "Objects that a scheduled check compared with their rows",
                Counter::default(),
            ),
            findings: metrics.register(
                "media_integrity_findings",
                "What scheduled checks found wrong with stored objects, each time they found it",
                no_findings(),
            ),
            rescued: metrics.register(
                "media_jobs_rescued",
                "Jobs rescued from expired leases",
                Counter::default(),
            ),
            ticks: metrics.register(
                "media_schedule_ticks",
                "Times that a schedule was due and this process dealt with it",
                Family::default(),
            ),
        }
    }

    pub(crate) fn stage(&self, stage: &'static str, took: std::time::Duration) {
        self.stage_seconds
            .get_or_create(&StageLabels { stage })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn upload(&self, outcome: &'static str) {
        self.uploads.get_or_create(&UploadLabels { outcome }).inc();
    }

    pub(crate) fn job(&self, kind: &'static str, outcome: &'static str) {
        self.jobs.get_or_create(&JobLabels { kind, outcome }).inc();
    }
}
