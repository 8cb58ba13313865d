//! One span per request, W3C context in and out.

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue};
use mediamesh_telemetry::{TraceScope, propagation};
use mediamesh_transcode::runtime::Matched;
use tracing::field;

use super::{auth, request_id::X_REQUEST_ID};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Trace id of the request, 32 hexadecimal digits: a request extension, for error answers that are
/// written when the span is no longer entered.
#[derive(Clone, Debug)]
pub(crate) struct TraceId(pub(crate) String);

/// Runs the request in its scope and answers its context as `traceparent`.
///
/// Names follow the OpenTelemetry semantic conventions for HTTP servers 1.23.
pub(crate) async fn apply(mut request: Request, next: Next) -> Response {
    let request_id = request
        .headers()
        .get(X_REQUEST_ID)
        .and_then(|id| id.to_str().ok());
    let scope = TraceScope::remote(propagation::extract(request.headers()), || {
        tracing::info_span!(
            "http.server",
            otel.kind = "server",
            otel.status_code = field::Empty,
            http.request.method = %request.method(),
            http.route = field::Empty,
            http.response.status_code = field::Empty,
            url.path = without_secret(request.uri().path()),
            request_id,
            enduser.id = field::Empty,
        )
    });
    let traceparent = scope.enter(propagation::traceparent);
    if let Some(id) = scope.enter(propagation::current_trace_id) {
        request.extensions_mut().insert(TraceId(id));
    }
    let method = request.method().clone();
    let route = route_name(&request);
    let mut response = scope.run(next.run(request)).await;
    let route = response
        .extensions()
        .get::<Matched>()
        .map_or(route.as_str(), |it| it.template);
    scope.rename(|| format!("{method} {route}"));
    scope.record("http.route", route);
    scope.record("http.response.status_code", response.status().as_u16());
    if response.status().is_server_error() {
        scope.record("otel.status_code", "ERROR");
    }
    if let Some(value) = traceparent.and_then(|value| HeaderValue::try_from(value).ok()) {
        response.headers_mut().insert(TRACEPARENT, value);
    }
    response
}

/// A path as it may be shown to operators: a signed address is its own permission.
pub(crate) fn without_secret(path: &str) -> &str {
    let prefix = auth::SIGNED
        .iter()
        .find(|prefix| path.starts_with(**prefix));
    prefix.copied().unwrap_or(path)
}

/// Template of the route, as far as the router knows it; the generated routes tell it in their
/// answers.
pub(super) fn route_name(request: &Request) -> String {
    request
        .extensions()
        .get::<MatchedPath>()
        // a stranger must not be able to make new series
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned())
}
