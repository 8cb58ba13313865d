//! Metrics of every call, the same on both sides.
//!
//! | metric | labels |
//! |---|---|
//! | `mediamesh_rpc_duration_seconds` | service, method, side, code |
//! | `mediamesh_rpc_in_flight` | service, method, side |
//!
//! Each bucket of the duration names a trace that fell into it, if the trace is recorded.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mediamesh_telemetry::Metrics;
use mediamesh_telemetry::metrics::{Exemplar, TracedFamily, traced_family};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tonic::Code;
use tower::{Layer, Service};

use crate::body::{Watch, watch};
use crate::method::split_path;
use crate::policy::Policy;
use crate::status::code_name;
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
#[derive(Debug, Clone)]
pub(crate) struct RpcMetrics {
    duration: TracedFamily<OutcomeLabels>,
    in_flight: Family<CallLabels, Gauge>,
    side: &'static str,
    /// On the server: which paths may become labels. A client's paths are generated code.
    known: Option<Policy>,
}

impl RpcMetrics {
    pub(crate) fn client(metrics: &Metrics) -> Self {
        Self::new(metrics, "client", None)
    }

    pub(crate) fn server(metrics: &Metrics, policy: Policy) -> Self {
        Self::new(metrics, "server", Some(policy))
    }

    fn new(metrics: &Metrics, side: &'static str, known: Option<Policy>) -> Self {
        let duration = metrics.register(
            "rpc_duration_seconds",
            "Time from the call to the end of its response",
            traced_family(),
        );
        let in_flight = metrics.register(
            "rpc_in_flight",
            "Calls whose response has not ended",
            Family::default(),
        );
        Self {
            duration,
            in_flight,
            side,
            known,
        }
    }

    fn start(&self, path: &str) -> Timing {
        let known = self.known.as_ref().is_none_or(|policy| policy.knows(path));
        let (service, method) = if known {
            split_path(path)
        } else {
            (UNKNOWN, UNKNOWN)
        };
        let labels = CallLabels {
            service: service.to_owned(),
            method: method.to_owned(),
            side: self.side,
        };
        let in_flight = self.in_flight.get_or_create_owned(&labels);
        in_flight.inc();
        Timing {
            started: Instant::now(),
            duration: self.duration.clone(),
            in_flight,
            labels: Some(labels),
            // the trace layer is outside of this one, so its span is the current one
            exemplar: Exemplar::current(),
        }
    }
}

/// Layer of [`RpcTimed`].
#[derive(Debug, Clone)]
pub(crate) struct RpcMetricsLayer {
    metrics: RpcMetrics,
}

impl RpcMetricsLayer {
    pub(crate) fn new(metrics: RpcMetrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for RpcMetricsLayer {
    type Service = RpcTimed<S>;

    fn layer(&self, inner: S) -> RpcTimed<S> {
        RpcTimed {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

/// Times each call to the end of its response.
#[derive(Debug, Clone)]
pub(crate) struct RpcTimed<S> {
    inner: S,
    metrics: RpcMetrics,
}

impl<S> Service<Request> for RpcTimed<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let timing = self.metrics.start(request.uri().path());
        let call = self.inner.call(request);
        async move { Ok(watch(call.await?, timing)) }.boxed()
    }
}

/// A running call. Dropped without an end it counts as CANCELLED: its caller went away.
struct Timing {
    started: Instant,
    duration: TracedFamily<OutcomeLabels>,
    in_flight: Gauge,
    labels: Option<CallLabels>,
    exemplar: Option<Exemplar>,
}

impl Timing {
    fn finish(&mut self, code: Code) {
        let Some(CallLabels {
            service,
            method,
            side,
        }) = self.labels.take()
        else {
            return;
        };
        self.in_flight.dec();
        let labels = OutcomeLabels {
            service,
            method,
            side,
            code: code_name(code),
        };
        self.duration
            .get_or_create(&labels)
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
