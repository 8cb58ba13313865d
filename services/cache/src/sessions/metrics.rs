//! Every metric of sessions.

use mediamesh_telemetry::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

/// How a look-up of a session went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LookupLabels {
    /// `live`, `expired`, `absent` or `unavailable`.
    pub(crate) outcome: &'static str,
}

/// Why sessions ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EndLabels {
    /// `deleted`, `revoked`, `displaced` or `expired`.
    pub(crate) cause: &'static str,
}

/// The metrics; clones share them.
#[derive(Clone)]
pub(crate) struct SessionMetrics {
    /// `mediamesh_sessions_created_total`.
    pub(crate) created: Counter,
    /// `mediamesh_sessions_lookups_total`.
    lookups: Family<LookupLabels, Counter>,
    /// `mediamesh_sessions_ended_total`.
    ended: Family<EndLabels, Counter>,
    /// `mediamesh_sessions_update_conflicts_total`: updates done anew because somebody else wrote.
    pub(crate) conflicts: Counter,
    /// `mediamesh_sessions_swept_total`: removed by sweeps.
    pub(crate) swept: Counter,
}

impl SessionMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        Self {
            created: counter("sessions_created", "Sessions made"),
            lookups: metrics.register(
                "sessions_lookups",
                "Look-ups of sessions by their id",
                Family::default(),
            ),
            ended: metrics.register("sessions_ended", "Sessions ended", Family::default()),
            conflicts: counter(
                "sessions_update_conflicts",
                "Updates done anew because somebody else wrote meanwhile",
            ),
            swept: counter("sessions_swept", "Expired sessions that sweeps removed"),
        }
    }

    pub(crate) fn looked_up(&self, outcome: &'static str) {
        self.lookups.get_or_create(&LookupLabels { outcome }).inc();
    }

    pub(crate) fn ended(&self, cause: &'static str, count: u64) {
        if count > 0 {
            self.ended.get_or_create(&EndLabels { cause }).inc_by(count);
        }
    }
}
