//! Metrics of the client stack.
//!
//! | metric | labels |
//! |---|---|
//! | `mediamesh_mesh_attempts_total` | service, code |
//! | `mediamesh_mesh_retries_total` | service, cause |
//! | `mediamesh_mesh_retries_withheld_total` | service |
//! | `mediamesh_mesh_hedges_total` | service, winner |
//! | `mediamesh_mesh_hedge_tokens` | service, method |
//! | `mediamesh_mesh_breaker_transitions_total` | service, to |
//! | `mediamesh_mesh_endpoints` | service, connectivity, breaker |
//! | `mediamesh_mesh_endpoint_calls_in_flight` | service |
//! | `mediamesh_mesh_retry_tokens` | service |
//!
//! The last three are read from the endpoints at each scrape; addresses are no labels, because pods
//! come and go: `/admin/mesh` has them.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tonic::Code;

use mediamesh_telemetry::Metrics;

use super::breaker::BreakerState;
use crate::method::split_path;
use crate::status::{CODES, code_name};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    service: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    service: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    service: &'static str,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WinnerLabels {
    service: &'static str,
    winner: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    service: &'static str,
    to: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    service: &'static str,
    method: String,
}

#[derive(Debug)]
pub(crate) struct MeshMetrics {
    attempts: Family<CodeLabels, Counter>,
    /// The attempts by code, found by their labels once and not at each attempt.
    ended: [OnceLock<Counter>; CODES],
    retries: Family<CauseLabels, Counter>,
    withheld: Family<ServiceLabels, Counter>,
    hedges: Family<WinnerLabels, Counter>,
    hedge_tokens: Family<MethodLabels, Gauge<f64, AtomicU64>>,
    transitions: Family<TransitionLabels, Counter>,
}

impl MeshMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            attempts: metrics.register(
                "mesh_attempts",
                "Attempts of calls to endpoints, by how they ended",
                Family::default(),
            ),
            ended: [const { OnceLock::new() }; CODES],
            retries: metrics.register(
                "mesh_retries",
                "Attempts after the first, by what made them necessary",
                Family::default(),
            ),
            withheld: metrics.register(
                "mesh_retries_withheld",
                "Retries that the budget did not allow",
                Family::default(),
            ),
            hedges: metrics.register(
                "mesh_hedges",
                "Calls that were hedged, by the attempt that answered",
                Family::default(),
            ),
            hedge_tokens: metrics.register(
                "mesh_hedge_tokens",
                "Second attempts that may be made now, by method",
                Family::default(),
            ),
            transitions: metrics.register(
                "mesh_breaker_transitions",
                "Circuit breakers that moved, by the state they moved to",
                Family::default(),
            ),
        }
    }

    pub(crate) fn attempt(&self, service: &'static str, code: Code) {
        let ended = self.ended[code as usize].get_or_init(|| {
            let code = code_name(code);
            self.attempts
                .get_or_create_owned(&CodeLabels { service, code })
        });
        ended.inc();
    }

    pub(crate) fn retry(&self, service: &'static str, cause: Code) {
        let cause = code_name(cause);
        self.retries
            .get_or_create(&CauseLabels { service, cause })
            .inc();
    }

    pub(crate) fn withheld(&self, service: &'static str) {
        self.withheld
            .get_or_create(&ServiceLabels { service })
            .inc();
    }

    pub(crate) fn hedged(&self, service: &'static str, winner: &'static str) {
        self.hedges
            .get_or_create(&WinnerLabels { service, winner })
            .inc();
    }

    pub(crate) fn hedge_tokens(&self, service: &'static str, path: &str) -> Gauge<f64, AtomicU64> {
        let method = split_path(path).1.to_owned();
        self.hedge_tokens
            .get_or_create_owned(&MethodLabels { service, method })
    }

    pub(crate) fn breaker_moved(&self, service: &'static str, to: BreakerState) {
        let to = to.as_str();
        self.transitions
            .get_or_create(&TransitionLabels { service, to })
            .inc();
    }
}
