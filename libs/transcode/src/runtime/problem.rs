//! RFC 9457 `application/problem+json` answers.
//!
//! Members beyond the RFC: `code` (gRPC name), `reason` (an `ErrorReason` name), `metadata` (the
//! dynamic values of the message), `trace_id`, `errors` (all field violations) and
//! `retry_after_seconds`, which is also sent as `Retry-After`.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tonic::Code;
use tonic_types::StatusExt;

/// Media type of an error answer.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Reasons of the errors found before any service is called; names of `common.v1.ErrorReason`.
pub mod reason {
    /// The body is no JSON, or a field or parameter is unknown or has a value of the wrong type.
    pub const INVALID_FIELD: &str = "ERROR_REASON_INVALID_FIELD";
    /// The body is longer than the limit.
    pub const TOO_LARGE: &str = "ERROR_REASON_TOO_LARGE";
    /// The body's media type is not JSON.
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "ERROR_REASON_UNSUPPORTED_MEDIA_TYPE";
    /// No route has this path.
    pub const ROUTE_NOT_FOUND: &str = "ERROR_REASON_ROUTE_NOT_FOUND";
    /// The path exists but not with this method.
    pub const UNIMPLEMENTED: &str = "ERROR_REASON_UNIMPLEMENTED";
    /// The body did not arrive in time.
    pub const DEADLINE_EXCEEDED: &str = "ERROR_REASON_DEADLINE_EXCEEDED";
    /// The resource is not at the version the caller named.
    pub const ETAG_MISMATCH: &str = "ERROR_REASON_ETAG_MISMATCH";
    /// The answer cannot be written.
    pub const INTERNAL: &str = "ERROR_REASON_INTERNAL";
}

/// One thing wrong with one field of the request.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct FieldError {
    /// Path in the request message, dots for nesting.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// An error answer.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    /// Relative link to the reason's page, or `about:blank`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The reason in words; the same for every occurrence.
    pub title: String,
    /// HTTP status code.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// URI reference of this occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// gRPC code name, such as `NOT_FOUND`.
    pub code: &'static str,
    /// Name of the `ErrorReason` value; empty only if the callee sent none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Dynamic values of `detail`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// W3C trace id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Every field violation, in the order found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Whole seconds to wait before trying again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// Value of the `Allow` header of a 405.
    #[serde(skip)]
    pub allow: Option<String>,
}

impl Problem {
    /// Builds a problem from a gRPC code, a reason and a sentence.
    pub fn new(code: Code, reason: impl Into<String>, detail: impl Into<String>) -> Self {
        let reason = reason.into();
        let status = http_status(code, &reason);
        Self {
            type_uri: if reason.is_empty() {
                "about:blank".to_owned()
            } else {
                format!("/errors/{reason}")
            },
            title: title(&reason, status),
            status,
            detail: detail.into(),
            instance: None,
            code: code_name(code),
            reason,
            metadata: BTreeMap::new(),
            trace_id: None,
            errors: Vec::new(),
            retry_after_seconds: None,
            allow: None,
        }
    }

    /// Builds a problem from what a service answered, reading its google.rpc details.
    pub fn from_status(status: &tonic::Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let reason = info.map(|info| info.reason.clone()).unwrap_or_default();
        let mut problem = Self::new(status.code(), reason, status.message());
        if let Some(info) = info {
            problem.metadata = info
                .metadata
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
        }
        if let Some(bad_request) = details.bad_request() {
            problem.errors = bad_request
                .field_violations
                .iter()
                .map(|violation| FieldError {
                    field: json_path(&violation.field),
                    description: violation.description.clone(),
                })
                .collect();
            // the sentence starts with the first of them
            let given = bad_request.field_violations.first();
            if let Some((given, shown)) = given.zip(problem.errors.first())
                && let Some(rest) = problem.detail.strip_prefix(&given.field)
            {
                problem.detail = format!("{}{rest}", shown.field);
            }
        }
        problem.retry_after_seconds = details
            .retry_info()
            .and_then(|retry| retry.retry_delay)
            // rounded up: a caller that waits less is refused again
            .map(|delay| delay.as_secs() + u64::from(delay.subsec_nanos() > 0));
        problem
    }

    /// Builds a 400 that lists every violation.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.description),
            many => format!("{} parameters or fields are invalid", many.len()),
        };
        let mut problem = Self::new(Code::InvalidArgument, reason::INVALID_FIELD, detail);
        problem.errors = errors;
        problem
    }

    /// Builds the 408 of a body that does not arrive.
    pub fn late_body() -> Self {
        let detail = "request body did not arrive in time";
        let mut problem = Self::new(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, detail);
        // 504 would blame a service behind this one
        problem.status = StatusCode::REQUEST_TIMEOUT.as_u16();
        problem
    }

    /// Sets the W3C trace id.
    #[must_use]
    pub fn trace_id(mut self, trace_id: impl Into<String>) -> Self {
        self.trace_id = Some(trace_id.into());
        self
    }

    /// Sets the URI reference of this occurrence.
    #[must_use]
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// Adds one dynamic value of the message.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("strings and numbers always serialise");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        // an error is about this moment, never a stored answer
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow.and_then(|allow| allow.try_into().ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Returns the HTTP status for a gRPC code, refined by reason where HTTP is more exact.
pub fn http_status(code: Code, reason: &str) -> u16 {
    let name = reason.strip_prefix("ERROR_REASON_").unwrap_or(reason);
    match code {
        Code::Ok => 200,
        Code::InvalidArgument => match name {
            "TOO_MANY_PIXELS" => 413,
            "UNSUPPORTED_MEDIA_TYPE" => 415,
            name if name.ends_with("TOO_LARGE") => 413,
            _ => 400,
        },
        Code::FailedPrecondition => 400,
        Code::OutOfRange if name == "RANGE_NOT_SATISFIABLE" => 416,
        Code::OutOfRange => 400,
        Code::ResourceExhausted if name == "STORAGE_FULL" => 507,
        Code::ResourceExhausted if name == "METADATA_TOO_LARGE" => 431,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Cancelled => 499,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    }
}

/// Returns the gRPC name of `code`, such as `NOT_FOUND`.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// A field's path as JSON clients know it: `filter.min_time` reads `filter.minTime`.
fn json_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut raise = false;
    for c in path.chars() {
        match c {
            '_' => raise = true,
            c if std::mem::take(&mut raise) => out.push(c.to_ascii_uppercase()),
            c => out.push(c),
        }
    }
    out
}

/// `ERROR_REASON_MEDIA_ITEM_NOT_FOUND` reads "Media item not found".
fn title(reason: &str, status: u16) -> String {
    let name = reason.strip_prefix("ERROR_REASON_").unwrap_or(reason);
    if name.is_empty() {
        return StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Error")
            .to_owned();
    }
    let mut title = name.to_ascii_lowercase().replace('_', " ");
    title[..1].make_ascii_uppercase();
    title
}
