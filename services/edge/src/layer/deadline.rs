//! The time the client gives, and the silence it may keep.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::HeaderMap;
use mediamesh_mesh::{Deadline, deadline};
use mediamesh_transcode::runtime::Problem;
use tower_http::timeout::TimeoutBody;

use super::trace::without_secret;
use crate::{Shared, problem};

const X_REQUEST_TIMEOUT: &str = "x-request-timeout";
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Runs the request in the scope of its deadline, so that every call of the mesh inherits it.
///
/// Without a header the methods' own deadlines hold. A body that falls silent is given up.
pub(crate) async fn apply(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let timeout = match timeout(request.headers()) {
        Ok(timeout) => timeout,
        Err(problem) => {
            let (parts, _) = request.into_parts();
            return shared.answers.answer(*problem, &parts);
        }
    };
    let idle = shared.options.idle_timeout();
    let request = request.map(|body| {
        if http_body::Body::is_end_stream(&body) {
            return body;
        }
        Body::new(TimeoutBody::new(idle, body))
    });
    let Some(timeout) = timeout else {
        return next.run(request).await;
    };
    let deadline = Deadline::after(timeout.min(shared.options.max_request_timeout()));
    let (mut parts, _) = http::Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.extensions = request.extensions().clone();
    let work = deadline::scope(deadline, next.run(request));
    match tokio::time::timeout_at(deadline.at(), work).await {
        Ok(response) => response,
        Err(_) => {
            let path = without_secret(parts.uri.path());
            shared
                .answers
                .answer(problem::deadline_exceeded(path), &parts)
        }
    }
}

/// Reads the timeout of a request.
///
/// `X-Request-Timeout` is in seconds, with or without fraction; `grpc-timeout` as in gRPC over
/// HTTP/2: at most 8 digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Box<Problem>> {
    for (name, parse) in [
        (X_REQUEST_TIMEOUT, seconds as fn(&str) -> Option<Duration>),
        (GRPC_TIMEOUT, grpc),
    ] {
        if let Some(value) = headers.get(name) {
            let text = value.to_str().unwrap_or_default();
            return match parse(text) {
                Some(timeout) => Ok(Some(timeout)),
                None => Err(problem::invalid(name, format!("{text:?} is not a timeout")).into()),
            };
        }
    }
    Ok(None)
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim_end_matches('s').parse().ok()?;
    (seconds > 0.0)
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}

fn grpc(text: &str) -> Option<Duration> {
    let (at, unit) = text.char_indices().last()?;
    let digits = &text[..at];
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(value * 3600),
        'M' => Duration::from_secs(value * 60),
        'S' => Duration::from_secs(value),
        'm' => Duration::from_millis(value),
        'u' => Duration::from_micros(value),
        'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_both_forms() {
        assert_eq!(seconds("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(seconds("2s"), Some(Duration::from_secs(2)));
        for text in ["", "-1", "0", "NaN", "inf", "1e300", "soon"] {
            assert_eq!(seconds(text), None, "{text}");
        }
        assert_eq!(grpc("250m"), Some(Duration::from_millis(250)));
        for text in ["", "5", "S", "+5S", "123456789S", "5é"] {
            assert_eq!(grpc(text), None, "{text}");
        }
    }
}
