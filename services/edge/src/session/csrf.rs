//! Which requests with a cookie come from a page of ours.
//!
//! Browsers send cookies along with whatever a page of any site asks for. So a request that changes
//! something must carry what only a page of this host can have: the token that `/api/session` tells,
//! made from the session's id, and so of no use with another session. Beside it stand what browsers say
//! of where a request comes from: `Sec-Fetch-Site`, and `Origin`.
//!
//! Source: OWASP, "Cross-Site Request Forgery Prevention", synchronizer token and fetch metadata.

use http::{HeaderMap, Method, Uri, header, uri::Authority};
use mediamesh_proto::{SessionId, api_key::same_secret, session_id::hex};
use mediamesh_transcode::runtime::Problem;
use tonic::Code;

use crate::Shared;

/// Header of the token.
pub(crate) const HEADER: &str = "x-csrf-token";

/// The token of a session, 64 hex digits.
pub(crate) fn token(id: &SessionId) -> String {
    hex(&id.derive("mediamesh csrf token"))
}

/// Whether a method changes nothing (RFC 9110, section 9.2.1).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Refuses a request that changes something and does not come from a page of ours, and counts it.
pub(crate) fn check(
    shared: &Shared,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    id: &SessionId,
) -> Result<(), Box<Problem>> {
    let outcome = judge(method, uri, headers, id);
    if outcome.is_err() {
        shared.csrf_rejected.inc();
    }
    outcome
}

fn judge(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    id: &SessionId,
) -> Result<(), Box<Problem>> {
    if is_safe(method) {
        return Ok(());
    }
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("(not text)"))
    };
    let site = text("sec-fetch-site");
    if site.is_some_and(|site| !["same-origin", "none"].contains(&site)) {
        return Err(refusal("it was made by a page of another site"));
    }
    // what the browser says counts for more: behind a proxy our own name may be another here
    if site != Some("same-origin")
        && let Some(origin) = text(header::ORIGIN.as_str())
        && !is_own(origin, uri, headers)
    {
        return Err(refusal("it was made by a page of another origin"));
    }
    match text(HEADER) {
        None => Err(refusal("it lacks the header X-CSRF-Token")),
        Some(given) if same_secret(token(id).as_bytes(), given.as_bytes()) => Ok(()),
        Some(_) => Err(refusal("its X-CSRF-Token is not that of the session")),
    }
}

fn is_own(origin: &str, uri: &Uri, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(Authority::as_str).or(host);
    origin
        .split_once("://")
        .zip(authority)
        .is_some_and(|((_, origin), own)| origin.eq_ignore_ascii_case(own))
}

fn refusal(why: &str) -> Box<Problem> {
    let detail = format!("a request with a session's cookie may change nothing here: {why}");
    let reason = "ERROR_REASON_CSRF_REJECTED";
    Box::new(Problem::new(Code::PermissionDenied, reason, detail))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn passes(method: &str, id: &SessionId, pairs: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("host", "photos.example".parse().unwrap());
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let method = method.parse().unwrap();
        judge(&method, &Uri::from_static("/v1/x"), &headers, id).is_ok()
    }

    #[test]
    fn what_changes_something_needs_the_token_of_its_session_and_a_page_of_ours() {
        let id = SessionId::generate();
        let (own, other) = (token(&id), token(&SessionId::generate()));
        for safe in ["GET", "HEAD", "OPTIONS"] {
            assert!(passes(safe, &id, &[("sec-fetch-site", "cross-site")]));
        }
        for method in ["POST", "PATCH", "DELETE", "PUT", "TRACE", "FOO"] {
            assert!(!passes(method, &id, &[]), "{method}");
            assert!(passes(method, &id, &[(HEADER, &own)]), "{method}");
        }
        let with = |pairs: &[(&'static str, &str)]| {
            passes("POST", &id, &[pairs, &[(HEADER, &own)]].concat())
        };
        for wrong in [&*other, "", &own[1..], &own.to_uppercase(), &id.reveal()] {
            assert!(!passes("POST", &id, &[(HEADER, wrong)]), "{wrong}");
        }
        for site in ["cross-site", "same-site", "(not text)"] {
            assert!(!with(&[("sec-fetch-site", site)]), "{site}");
        }
        assert!(with(&[("sec-fetch-site", "same-origin")]));
        assert!(with(&[("origin", "https://photos.example")]));
        for origin in [
            "null",
            "https://photos.example.evil",
            "https://evil",
            "photos.example",
        ] {
            assert!(!with(&[("origin", origin)]), "{origin}");
            assert!(!with(&[("origin", origin), ("sec-fetch-site", "none")]));
        }
        let renamed = [
            ("origin", "https://public"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert!(with(&renamed), "a proxy gave us another name");
        assert!(!own.contains(&id.reveal()));
    }
}
