//! Errors of the edge in gRPC's terms: a caller that speaks gRPC reads a status, not a JSON body.

use std::time::Duration;

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use mediamesh_proto::status::{ERROR_DOMAIN, bounded};
use mediamesh_transcode::runtime::{
    Problem,
    problem::{code_name, reason},
};
use tonic::{Code, Status};
use tonic_types::ErrorDetails;

use super::admit::{is_grpc, media_type};

/// Headers of an answer that is no gRPC which describe the body it loses.
const OF_THE_BODY: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::ETAG,
    header::VARY,
    header::ALLOW,
];

/// Answers a gRPC request with a status where a layer or the router answered with something else.
pub(crate) async fn apply(request: Request, next: Next) -> Response {
    let asked = media_type(request.headers());
    if !is_grpc(asked) {
        return next.run(request).await;
    }
    // the caller understands the kind it speaks itself
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if is_grpc(media_type(response.headers())) {
        return response;
    }
    translate(response, &path, kind)
}

fn translate(response: Response, path: &str, kind: Option<HeaderValue>) -> Response {
    let (mut parts, _) = response.into_parts();
    let status = match parts.extensions.get::<Problem>() {
        // gRPC says so of a path that nobody knows
        Some(problem) if problem.reason == reason::ROUTE_NOT_FOUND => unknown_method(path),
        Some(problem) => status(problem),
        None => Status::new(code_of_http(parts.status), "the edge answered no gRPC"),
    };
    for name in OF_THE_BODY {
        parts.headers.remove(name);
    }
    parts.status = StatusCode::OK;
    if let Some(kind) = kind {
        parts.headers.insert(header::CONTENT_TYPE, kind);
    }
    if status.add_header(&mut parts.headers).is_err() {
        let internal = HeaderValue::from(i32::from(Code::Internal));
        parts.headers.insert("grpc-status", internal);
    }
    Response::from_parts(parts, Body::empty())
}

fn unknown_method(path: &str) -> Status {
    let detail = format!("no method has the path {path}");
    let problem = Problem::new(Code::Unimplemented, reason::UNIMPLEMENTED, detail);
    status(&problem.with("path", path))
}

/// The problem as a status with the details a service would have sent.
fn status(problem: &Problem) -> Status {
    let mut details = ErrorDetails::new();
    let metadata: std::collections::HashMap<_, _> = problem.metadata.clone().into_iter().collect();
    details.set_error_info(&problem.reason, ERROR_DOMAIN, metadata);
    for error in &problem.errors {
        details.add_bad_request_violation(&error.field, &error.description);
    }
    if let Some(seconds) = problem.retry_after_seconds {
        details.set_retry_info(Some(Duration::from_secs(seconds)));
    }
    if let Some(trace_id) = &problem.trace_id {
        details.set_request_info(trace_id, "");
    }
    bounded(code(problem), &problem.detail, details)
}

fn code(problem: &Problem) -> Code {
    (0..=16)
        .map(Code::from_i32)
        .find(|code| code_name(*code) == problem.code)
        .unwrap_or(Code::Unknown)
}

/// What a status of HTTP alone means to gRPC.
/// Source: gRPC, "HTTP to gRPC Status Code Mapping".
fn code_of_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn a_problem_keeps_code_reason_violations_and_pushback() {
        let mut problem = Problem::new(Code::Unavailable, "ERROR_REASON_LOAD_SHED", "too much")
            .with("limit", 7)
            .trace_id("4bf92f3577b34da6a3ce929d0e0e4736");
        problem.retry_after_seconds = Some(2);
        let status = status(&problem);
        let details = status.get_error_details();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "too much")
        );
        let info = details.error_info();
        let limit = info.and_then(|info| info.metadata.get("limit").map(String::as_str));
        assert_eq!(
            (info.map(|info| info.reason.as_str()), limit),
            (Some("ERROR_REASON_LOAD_SHED"), Some("7"))
        );
        let delay = details.retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(delay, Some(Duration::from_secs(2)));
        let request = details.request_info().map(|info| info.request_id.as_str());
        assert_eq!(request, Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    }
}
