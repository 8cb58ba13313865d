//! A bound on what of a request's head goes on into the mesh.
//!
//! Calls of many callers share a connection, and a peer that is sent a longer header list than it
//! takes ends the connection with all of them. So what is too much is refused here.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName};

use crate::{
    Shared,
    grpc::{admit, headers},
    problem,
    transcode::FORWARDED,
};

/// What HTTP/2 counts of each header beside name and value.
///
/// Source: RFC 9113, section 6.5.2.
const OVERHEAD_BYTES: usize = 32;

/// Answers 431 if the headers that would go on are longer than the limit.
pub(crate) async fn apply(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let limit = shared.options.max_metadata_bytes;
    match size(request.headers()) {
        size if size > limit => {
            let (parts, _) = request.into_parts();
            let problem = problem::metadata_too_large(limit, size);
            shared.answers.answer(problem, &parts)
        }
        _ => next.run(request).await,
    }
}

/// Bytes of the headers that go on, as HTTP/2 counts them.
fn size(headers: &HeaderMap) -> usize {
    let is_grpc = admit::is_grpc(admit::media_type(headers));
    headers
        .iter()
        .map(|(name, value)| {
            times(name, is_grpc) * (name.as_str().len() + value.len() + OVERHEAD_BYTES)
        })
        .sum()
}

/// How often a header counts.
fn times(name: &HeaderName, is_grpc: bool) -> usize {
    match name.as_str() {
        // read and written anew by the tracing of whatever kind of call
        "tracestate" => 1,
        // and this one percent-encoded
        "baggage" => 3,
        name if FORWARDED.contains(&name) => 1,
        name => usize::from(is_grpc && headers::goes_on(name)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(content_type: &str, name: &str, bytes: usize) -> HeaderMap {
        let request = http::Request::post("/")
            .header("content-type", content_type)
            .header(name, "x".repeat(bytes))
            .body(())
            .unwrap();
        request.into_parts().0.headers
    }

    #[test]
    fn only_what_goes_on_counts() {
        let json = "application/json";
        let grpc = "application/grpc-web+proto";
        for (kind, name, times) in [
            (json, "x-own", 0),
            (json, "cookie", 0),
            (json, "accept-language", 1),
            (json, "tracestate", 1),
            (json, "baggage", 3),
            (grpc, "x-own", 1),
            (grpc, "cookie", 0),
            (grpc, "tracestate", 1),
        ] {
            let (small, large) = (headers(kind, name, 10), headers(kind, name, 10_010));
            assert_eq!(size(&large) - size(&small), times * 10_000, "{kind} {name}");
        }
    }
}
