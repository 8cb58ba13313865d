//! What is known of the load of each service.
//!
//! | metric | labels |
//! |---|---|
//! | `mediamesh_load_limit_calls` | service |
//! | `mediamesh_load_working_calls` | service, priority |
//! | `mediamesh_load_waiting_calls` | service, priority |
//! | `mediamesh_load_streaming_calls` | service |
//! | `mediamesh_load_shed_total` | service, priority, reason |
//!
//! The words are those of `gate`; the reasons are those of `queue::Refusal`.

use mediamesh_telemetry::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;

use super::queue::Refusal;
use crate::priority::Priority;

/// Load of one service in this process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLoad {
    /// Name of the service.
    pub service: &'static str,
    /// How many calls may work at once now.
    pub limit: usize,
    /// The limit never falls below this.
    pub min_limit: usize,
    /// The limit never rises above this.
    pub max_limit: usize,
    /// Calls that may run or wait; more are refused.
    pub max_in_flight: usize,
    /// Calls with a stream that may be open; more are refused.
    pub max_streams: usize,
    /// Calls whose response has not begun.
    pub working: usize,
    /// Those of them that are background calls.
    pub working_in_background: usize,
    /// Calls whose response has begun and not ended, and calls that send a stream.
    pub streaming: usize,
    /// Interactive calls that wait for a place.
    pub waiting: usize,
    /// Background calls that wait for a place.
    pub waiting_in_background: usize,
    /// Calls refused since the start.
    pub refused: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    service: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PriorityLabels {
    service: &'static str,
    priority: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabels {
    service: &'static str,
    priority: &'static str,
    reason: &'static str,
}

/// Metrics of one service.
#[derive(Debug, Clone)]
pub(crate) struct LoadMetrics {
    pub(super) limit: Gauge,
    pub(super) streaming: Gauge,
    /// By priority.
    pub(super) of: [PriorityMetrics; Priority::ALL.len()],
}

/// Metrics of one service and priority.
#[derive(Debug, Clone)]
pub(crate) struct PriorityMetrics {
    pub(super) working: Gauge,
    pub(super) waiting: Gauge,
    /// By reason.
    shed: [Counter; Refusal::ALL.len()],
}

impl LoadMetrics {
    pub(crate) fn new(metrics: &Metrics, service: &'static str) -> Self {
        let limit = metrics.register::<Family<ServiceLabels, Gauge>>(
            "load_limit_calls",
            "Calls that may work at once, as found from their latency",
            Family::default(),
        );
        let streaming = metrics.register::<Family<ServiceLabels, Gauge>>(
            "load_streaming_calls",
            "Calls whose response has begun and not ended",
            Family::default(),
        );
        let working = metrics.register::<Family<PriorityLabels, Gauge>>(
            "load_working_calls",
            "Calls whose response has not begun",
            Family::default(),
        );
        let waiting = metrics.register::<Family<PriorityLabels, Gauge>>(
            "load_waiting_calls",
            "Calls that wait for a place",
            Family::default(),
        );
        let shed = metrics.register::<Family<ShedLabels, Counter>>(
            "load_shed",
            "Calls refused before they started",
            Family::default(),
        );
        let of = Priority::ALL.map(|priority| {
            let priority = priority.as_str();
            let labels = PriorityLabels { service, priority };
            PriorityMetrics {
                working: working.get_or_create_owned(&labels),
                waiting: waiting.get_or_create_owned(&labels),
                shed: Refusal::ALL.map(|refusal| {
                    shed.get_or_create_owned(&ShedLabels {
                        service,
                        priority,
                        reason: refusal.as_str(),
                    })
                }),
            }
        });
        Self {
            limit: limit.get_or_create_owned(&ServiceLabels { service }),
            streaming: streaming.get_or_create_owned(&ServiceLabels { service }),
            of,
        }
    }

    pub(super) fn refused(&self, priority: Priority, refusal: Refusal) {
        self.of[priority.index()].shed[refusal as usize].inc();
    }
}
