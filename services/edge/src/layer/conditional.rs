//! Cache-Control, ETag, 304 and 412 of JSON answers, by the cache table.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body::Body as _;
use mediamesh_transcode::runtime::{Matched, condition};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::rescue::head;
use crate::{
    Shared,
    cache_table::{self, Rule},
};

/// Larger answers are not hashed: it would cost more than sending them on a local network.
const MAX_HASHED_BYTES: u64 = 1 << 20;

/// The part of a job that caching depends on.
#[derive(Deserialize)]
struct JobState<'a> {
    #[serde(borrow, default)]
    state: &'a str,
}

/// What the client has or expects (RFC 9110, section 13.1).
pub(crate) struct Conditions {
    if_match: Vec<HeaderValue>,
    if_none_match: Vec<HeaderValue>,
}

impl Conditions {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let all = |name| headers.get_all(name).iter().cloned().collect();
        Self {
            if_match: all(header::IF_MATCH),
            if_none_match: all(header::IF_NONE_MATCH),
        }
    }

    /// Returns whether `If-Match` is there and does not name `etag`. Compares strongly.
    pub(crate) fn fails(&self, etag: &str) -> bool {
        let named = |tag: &str| tag == "*" || (tag == etag && !tag.starts_with("W/"));
        !self.if_match.is_empty() && !self.if_match.iter().flat_map(tags).any(named)
    }

    /// Returns whether `If-None-Match` names `etag`. Compares weakly.
    pub(crate) fn knows(&self, etag: &str) -> bool {
        let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
        let wanted = opaque(etag);
        let mut given = self.if_none_match.iter().flat_map(tags);
        given.any(|tag| tag == "*" || opaque(tag) == wanted)
    }
}

/// The entity tags of one header; what is no text has none.
fn tags(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

/// Sets Cache-Control, answers 304 when the client has the answer already, and 412 when it wants
/// another version.
pub(crate) async fn apply(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let conditions = Conditions::read(request.headers());
    let (asked, body) = request.into_parts();
    // an error answer needs it, and the request is gone by then
    let asked_head = (!conditions.if_match.is_empty()).then(|| head(&asked));
    let mut response = next.run(Request::from_parts(asked, body)).await;
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
    let ended = rule == Rule::Job && has_succeeded(&bytes);
    let cache_control = if ended {
        cache_table::ENDED_JOB
    } else {
        cache_table::REVALIDATE
    };
    set_cache_control(&mut parts.headers, cache_control);
    // a resource with an etag of its own has that one, which is also what its writes compare
    let own = parts.headers.get(header::ETAG);
    let etag = match own.and_then(|etag| etag.to_str().ok()) {
        Some(etag) => etag.to_owned(),
        None => weak_etag(&bytes),
    };
    if let Some(head) = asked_head
        && conditions.fails(&etag)
    {
        let problem = condition::mismatch("If-Match does not name the current version");
        return shared.answers.answer(problem, &head);
    }
    let known = conditions.knows(&etag);
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

/// What failed or was cancelled can be retried, and is then another answer.
fn has_succeeded(job: &[u8]) -> bool {
    serde_json::from_slice::<JobState<'_>>(job).is_ok_and(|job| job.state == "STATE_SUCCEEDED")
}

/// Weak, because the same answer may travel compressed.
pub(crate) fn weak_etag(bytes: &[u8]) -> String {
    // 128 bits are far more than any cache can confuse
    format!("W/\"{}\"", hex::encode(&Sha256::digest(bytes)[..16]))
}
