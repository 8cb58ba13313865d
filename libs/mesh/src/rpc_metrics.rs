//! Metrics of every call, the same on both sides.
//!
//! | metric | labels |
//! |---|---|
//! | `mediamesh_rpc_duration_seconds` | service, method, side, code |
//! | `mediamesh_rpc_in_flight` | service, method, side |
//!
//! Each bucket of the duration names a trace that fell into it, if the trace is recorded.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use mediamesh_telemetry::Metrics;
use mediamesh_telemetry::metrics::{Exemplar, TracedFamily, TracedHistogram, traced_family};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tonic::Code;
use tower::{Layer, Service};

use crate::body::{Watch, Watching};
use crate::method::{PathMap, split_path};
use crate::policy::Policy;
use crate::status::{CODES, code_name};
use crate::{Request, Response};

/// Label of paths that are no method of ours: a stranger must not be able to make new series.
const UNKNOWN: &str = "unknown";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    service: String,
    method: String,
    side: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    service: String,
    method: String,
    side: &'static str,
    code: &'static str,
}

/// The call metrics of one side.
#[derive(Debug)]
pub(crate) struct RpcMetrics {
    families: Families,
    /// By path.
    methods: PathMap<Arc<MethodMetrics>>,
    /// Of all paths that are no method of ours; a client's are generated code, and name themselves.
    unknown: Option<Arc<MethodMetrics>>,
}

#[derive(Debug, Clone)]
struct Families {
    duration: TracedFamily<OutcomeLabels>,
    in_flight: Family<CallLabels, Gauge>,
    side: &'static str,
}

/// The metrics of one method, found by their labels once and not at each call.
#[derive(Debug)]
struct MethodMetrics {
    families: Families,
    labels: CallLabels,
    in_flight: OnceLock<Gauge>,
    /// By code.
    duration: [OnceLock<TracedHistogram>; CODES],
}

impl RpcMetrics {
    pub(crate) fn client(metrics: &Metrics, policy: &Policy) -> Self {
        Self::new(metrics, "client", policy)
    }

    pub(crate) fn server(metrics: &Metrics, policy: &Policy) -> Self {
        let mut server = Self::new(metrics, "server", policy);
        server.unknown = Some(server.families.method(UNKNOWN, UNKNOWN));
        server
    }

    fn new(metrics: &Metrics, side: &'static str, policy: &Policy) -> Self {
        let families = Families {
            duration: metrics.register(
                "rpc_duration_seconds",
                "Time from the call to the last of its response, as it is made or has come",
                traced_family(),
            ),
            in_flight: metrics.register(
                "rpc_in_flight",
                "Calls whose response has not ended",
                Family::default(),
            ),
            side,
        };
        let methods = policy
            .methods()
            .map(|(path, _)| (path.to_owned(), families.of(path)))
            .collect();
        Self {
            families,
            methods,
            unknown: None,
        }
    }

    fn start(&self, path: &str) -> Timing {
        let known = self.methods.get(path).or(self.unknown.as_ref());
        let method = known.map_or_else(|| self.families.of(path), Arc::clone);
        method.in_flight().inc();
        Timing {
            started: Instant::now(),
            method,
            // the trace layer is outside of this one, so its span is the current one
            exemplar: Exemplar::current(),
            ended: false,
        }
    }
}

impl Families {
    fn of(&self, path: &str) -> Arc<MethodMetrics> {
        let (service, method) = split_path(path);
        self.method(service, method)
    }

    fn method(&self, service: &str, method: &str) -> Arc<MethodMetrics> {
        Arc::new(MethodMetrics {
            families: self.clone(),
            labels: CallLabels {
                service: service.to_owned(),
                method: method.to_owned(),
                side: self.side,
            },
            in_flight: OnceLock::new(),
            duration: [const { OnceLock::new() }; CODES],
        })
    }
}

impl MethodMetrics {
    fn in_flight(&self) -> &Gauge {
        self.in_flight
            .get_or_init(|| self.families.in_flight.get_or_create_owned(&self.labels))
    }

    fn duration(&self, code: Code) -> &TracedHistogram {
        self.duration[code as usize].get_or_init(|| {
            let labels = OutcomeLabels {
                service: self.labels.service.clone(),
                method: self.labels.method.clone(),
                side: self.labels.side,
                code: code_name(code),
            };
            self.families.duration.get_or_create_owned(&labels)
        })
    }
}

/// Layer of [`RpcTimed`].
#[derive(Debug, Clone)]
pub(crate) struct RpcMetricsLayer {
    metrics: Arc<RpcMetrics>,
}

impl RpcMetricsLayer {
    pub(crate) fn new(metrics: Arc<RpcMetrics>) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for RpcMetricsLayer {
    type Service = RpcTimed<S>;

    fn layer(&self, inner: S) -> RpcTimed<S> {
        RpcTimed {
            inner,
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// Times each call to the end of its response.
#[derive(Debug, Clone)]
pub(crate) struct RpcTimed<S> {
    inner: S,
    metrics: Arc<RpcMetrics>,
}

impl<S> Service<Request> for RpcTimed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Watching<S::Future, Timing>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let timing = self.metrics.start(request.uri().path());
        Watching::new(self.inner.call(request), timing)
    }
}

/// A running call. Dropped without an end it counts as CANCELLED: its caller went away.
pub(crate) struct Timing {
    started: Instant,
    method: Arc<MethodMetrics>,
    exemplar: Option<Exemplar>,
    ended: bool,
}

impl Timing {
    fn finish(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.method.in_flight().dec();
        self.method
            .duration(code)
            .observe(self.started.elapsed().as_secs_f64(), self.exemplar);
    }
}

impl Watch for Timing {
    fn end(mut self, code: Code) {
        self.finish(code);
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        self.finish(Code::Cancelled);
    }
}
