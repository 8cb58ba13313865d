//! Cache-Control, ETag and 304 of JSON answers, by the cache table.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::Body as _;
use mediamesh_transcode::runtime::Matched;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::cache_table::{self, Rule};

/// Larger answers are not hashed: it would cost more than sending them on a local network.
const MAX_HASHED_BYTES: u64 = 1 << 20;

/// The part of a job that caching depends on.
#[derive(Deserialize)]
struct JobState<'a> {
    #[serde(borrow, default)]
    state: &'a str,
}

/// Sets Cache-Control, and answers 304 when the client has the answer already.
pub(crate) async fn apply(request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let if_none_match = request.headers().get(header::IF_NONE_MATCH).cloned();
    let mut response = next.run(request).await;
    if response.headers().contains_key(header::CACHE_CONTROL) {
        return response;
    }
    let rule = match response.extensions().get::<Matched>() {
        Some(matched) if reads => cache_table::rule(matched.template),
        _ => Rule::NoStore,
    };
    let small = response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|size| size <= MAX_HASHED_BYTES);
    if rule == Rule::NoStore || response.status() != StatusCode::OK || !small {
        let value = if rule == Rule::NoStore {
            cache_table::NO_STORE
        } else {
            cache_table::REVALIDATE
        };
        set_cache_control(response.headers_mut(), value);
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        // the body is whole in memory already
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let ended = rule == Rule::Job && has_ended(&bytes);
    let cache_control = if ended {
        cache_table::ENDED_JOB
    } else {
        cache_table::REVALIDATE
    };
    set_cache_control(&mut parts.headers, cache_control);
    let etag = weak_etag(&bytes);
    let known = if_none_match.is_some_and(|value| matches_etag(&value, &etag));
    if let Ok(value) = HeaderValue::try_from(etag) {
        parts.headers.insert(header::ETAG, value);
    }
    if known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn set_cache_control(headers: &mut HeaderMap, value: &'static str) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(value));
}

fn has_ended(job: &[u8]) -> bool {
    serde_json::from_slice::<JobState<'_>>(job).is_ok_and(|job| {
        matches!(
            job.state,
            "STATE_SUCCEEDED" | "STATE_FAILED" | "STATE_CANCELLED"
        )
    })
}

/// Weak, because the same answer may travel compressed.
pub(crate) fn weak_etag(bytes: &[u8]) -> String {
    // 128 bits are far more than any cache can confuse
    format!("W/\"{}\"", hex::encode(&Sha256::digest(bytes)[..16]))
}

/// Returns whether `If-None-Match` names `etag`. Compares weakly (RFC 9110, section 13.1.2).
pub(crate) fn matches_etag(if_none_match: &HeaderValue, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let wanted = opaque(etag);
    if_none_match.to_str().is_ok_and(|list| {
        list.split(',')
            .any(|tag| tag.trim() == "*" || opaque(tag) == wanted)
    })
}
