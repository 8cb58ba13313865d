//! Errors the edge itself makes.

use http::StatusCode;
use mediamesh_transcode::runtime::{
    FieldError, Problem,
    problem::reason::{INTERNAL, INVALID_FIELD, ROUTE_NOT_FOUND, TOO_LARGE, UNIMPLEMENTED},
};
use tonic::Code;

/// Seconds after which a refused request may be sent again.
const RETRY_AFTER_SECS: u64 = 1;

/// One field or parameter is wrong.
pub(crate) fn invalid(field: &str, description: impl Into<String>) -> Problem {
    Problem::invalid(vec![FieldError {
        field: field.to_owned(),
        description: description.into(),
    }])
}

/// The request's body broke off, fell silent or is malformed.
pub(crate) fn unreadable_body(error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut at = Some(error);
    while let Some(error) = at {
        if error.is::<tower_http::timeout::TimeoutError>() {
            return Problem::late_body();
        }
        at = error.source();
    }
    let mut detail = format!("request body could not be read: {error}");
    if let Some(source) = error.source() {
        detail = format!("{detail}: {source}");
    }
    Problem::new(Code::InvalidArgument, INVALID_FIELD, detail)
}

/// A file is over the limit.
pub(crate) fn too_large(limit: u64, size: Option<u64>) -> Problem {
    let detail = match size {
        Some(size) => format!("file has {size} bytes; limit is {limit} bytes"),
        None => format!("file is over the limit of {limit} bytes"),
    };
    let problem =
        Problem::new(Code::InvalidArgument, TOO_LARGE, detail).with("maxSizeBytes", limit);
    match size {
        Some(size) => problem.with("sizeBytes", size),
        None => problem,
    }
}

/// More of the request's head would go on into the mesh than may.
pub(crate) fn metadata_too_large(limit: usize, size: usize) -> Problem {
    let detail = format!("metadata has {size} bytes; limit is {limit} bytes");
    Problem::new(
        Code::ResourceExhausted,
        "ERROR_REASON_METADATA_TOO_LARGE",
        detail,
    )
    .with("maxSizeBytes", limit)
    .with("sizeBytes", size)
}

/// The edge has no room; nothing was started.
pub(crate) fn load_shed(limit: usize) -> Problem {
    let detail = format!("edge is overloaded; limit is {limit} requests at once");
    let mut problem = Problem::new(Code::Unavailable, "ERROR_REASON_LOAD_SHED", detail)
        .with("service", "edge")
        .with("limit", limit);
    problem.retry_after_seconds = Some(RETRY_AFTER_SECS);
    problem
}

/// The time the client gave is up.
pub(crate) fn deadline_exceeded(path: &str) -> Problem {
    let detail = format!("deadline of {path} passed");
    Problem::new(
        Code::DeadlineExceeded,
        "ERROR_REASON_DEADLINE_EXCEEDED",
        detail,
    )
    .with("method", path)
}

/// The request comes from somewhere it must not come from.
pub(crate) fn forbidden(detail: String) -> Problem {
    Problem::new(
        Code::PermissionDenied,
        "ERROR_REASON_PERMISSION_DENIED",
        detail,
    )
}

/// A bug; the cause is in the log.
pub(crate) fn internal() -> Problem {
    Problem::new(Code::Internal, INTERNAL, "internal error")
}

/// A service broke its own contract.
pub(crate) fn bad_answer(detail: &str) -> Problem {
    Problem::new(Code::Internal, INTERNAL, detail)
}

/// No page has this path.
pub(crate) fn not_found(path: &str) -> Problem {
    let detail = format!("no route has the path {path}");
    Problem::new(Code::NotFound, ROUTE_NOT_FOUND, detail).with("path", path)
}

/// The path exists, but not with this method; the router adds `Allow`.
pub(crate) fn method_not_allowed(method: &http::Method, path: &str) -> Problem {
    let detail = format!("{method} is not allowed on {path}");
    let mut problem = Problem::new(Code::Unimplemented, UNIMPLEMENTED, detail)
        .with("method", method)
        .with("path", path);
    // gRPC has no code for it
    problem.status = StatusCode::METHOD_NOT_ALLOWED.as_u16();
    "Method not allowed".clone_into(&mut problem.title);
    problem
}

/// The range starts past the end.
pub(crate) fn range_not_satisfiable(size: u64) -> Problem {
    let detail = format!("range starts past the end; size is {size} bytes");
    Problem::new(
        Code::OutOfRange,
        "ERROR_REASON_RANGE_NOT_SATISFIABLE",
        detail,
    )
    .with("sizeBytes", size)
}
