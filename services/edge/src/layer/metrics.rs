//! Duration of every request, and a line in the log for slow ones.
//!
//! | metric | labels |
//! |---|---|
//! | `mediamesh_http_request_duration_seconds` | route, method, status |

use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::Method;
use mediamesh_telemetry::{
    Metrics,
    metrics::{Exemplar, TracedFamily, traced_family},
};
use mediamesh_transcode::runtime::Matched;
use prometheus_client::encoding::EncodeLabelSet;
use tokio::time::Instant;

use super::trace::route_name;

/// A request over this is named in the log (S0-41).
const SLOW: Duration = Duration::from_secs(2);
/// Routes whose time is that of the client: it sends a file meanwhile.
const UPLOADS: [&str; 2] = ["/v1/mediaItems", "/v1/mediaItems:searchByImage"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Labels {
    route: String,
    method: &'static str,
    status: u16,
}

/// The metrics of the edge.
#[derive(Clone, Debug)]
pub(crate) struct HttpMetrics {
    duration: TracedFamily<Labels>,
}

impl HttpMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let duration = metrics.register(
            "http_request_duration_seconds",
            "Time from the request's head to the response's head",
            traced_family(),
        );
        Self { duration }
    }
}

/// Times the request.
pub(crate) async fn apply(
    State(metrics): State<HttpMetrics>,
    request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    // the trace layer is outside of this one
    let exemplar = Exemplar::current();
    let method = method_label(request.method());
    let route = route_name(&request);
    let response = next.run(request).await;
    let route = response
        .extensions()
        .get::<Matched>()
        .map_or(route, |matched| matched.template.to_owned());
    let labels = Labels {
        route,
        method,
        status: response.status().as_u16(),
    };
    let took = start.elapsed();
    if took > SLOW && !(method == "POST" && UPLOADS.contains(&&*labels.route)) {
        tracing::warn!(
            method,
            route = labels.route,
            status = labels.status,
            duration_ms = took.as_millis(),
            threshold_ms = SLOW.as_millis(),
            "slow request"
        );
    }
    metrics
        .duration
        .get_or_create(&labels)
        .observe(took.as_secs_f64(), exemplar);
    response
}

/// Methods are free text in HTTP: unknown ones share a label.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
