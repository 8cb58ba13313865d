//! `If-Match` and `ETag` for resources that carry an `etag` field.
//!
//! The tag of `If-Match` becomes the request's etag, and the service compares it in the same
//! transaction as the write. A mismatch is 412, because the condition came as a header; an etag
//! that came in the body stays the 409 of its reason. Source: RFC 9110, section 13.1.1.
//!
//! The tag that is answered is the etag, `~`, and a hash of the answer: two builds may write one
//! version in two ways, and a cache must not take one for the other. Writes compare the etag only.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tonic::Code;

use super::{Binding, FieldError, Problem, problem::reason};

/// Returns the tag a write must find, if the client set one; `*` asks for nothing but existence,
/// which the write sees by itself.
///
/// Errors: 412 for weak tags, which never match; 400 for several tags, of which no service can be
/// asked at once.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<String>, Box<Problem>> {
    let mut given = false;
    let mut tags = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        given = true;
        // what is no text is no tag that was handed out
        for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if tag == "*" {
                return Ok(None);
            }
            if !tag.is_empty() && !tag.starts_with("W/") {
                tags.push(version(tag.trim_matches('"')).to_owned());
            }
        }
    }
    match (given, tags.len()) {
        (false, _) => Ok(None),
        (true, 0) => Err(mismatch("If-Match has no strong entity tag").into()),
        (true, 1) => Ok(tags.pop()),
        (true, count) => Err(Problem::invalid(vec![FieldError {
            field: "if-match".to_owned(),
            description: format!("has {count} entity tags; one is expected"),
        }])
        .into()),
    }
}

/// FNV-1a, 64 bits: the same in every process and build. Source: Fowler, Noll and Vo,
/// draft-eastlake-fnv.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Builds the 412 of a condition that does not hold.
pub fn mismatch(detail: &str) -> Problem {
    let mut problem = Problem::new(Code::Aborted, reason::ETAG_MISMATCH, detail);
    problem.status = StatusCode::PRECONDITION_FAILED.as_u16();
    problem
}

/// Turns what a service says about an etag that came from `If-Match` into a 412.
pub(crate) fn refine(binding: &Binding, headers: &HeaderMap, mut problem: Problem) -> Problem {
    let Some(etag) = &binding.etag else {
        return problem;
    };
    if !headers.contains_key(header::IF_MATCH) {
        return problem;
    }
    if problem.reason == reason::ETAG_MISMATCH {
        problem.status = StatusCode::PRECONDITION_FAILED.as_u16();
        return problem;
    }
    // a tag of another shape was never handed out, so it matches nothing
    let malformed =
        !problem.errors.is_empty() && problem.errors.iter().all(|error| error.field == etag.json);
    if malformed {
        return mismatch("If-Match names no version of this resource");
    }
    problem
}

/// The etag inside a tag that was answered.
fn version(tag: &str) -> &str {
    tag.rsplit_once('~').map_or(tag, |(version, _)| version)
}

/// Sets `ETag`: strong, because it is the tag that writes are compared with.
pub(crate) fn tag(headers: &mut HeaderMap, etag: &str, answer: &[u8]) {
    if !etag.is_empty()
        && let Ok(value) = HeaderValue::try_from(format!("\"{etag}~{:016x}\"", fnv(answer)))
    {
        headers.insert(header::ETAG, value);
    }
}
