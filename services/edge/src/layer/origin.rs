//! Which hosts and origins are answered.
//!
//! A page of another site can make a browser call a server on loopback. DNS rebinding shows in the
//! `Host` header; a form or `fetch` across sites shows in `Origin`.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, Method, Version, header, uri::Authority};

use crate::{Shared, problem};

const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What is answered.
#[derive(Clone)]
pub(crate) struct Origins {
    pub(crate) shared: Arc<Shared>,
    /// Whether hosts that are not known are refused.
    pub(crate) check_hosts: bool,
}

/// Refuses a foreign host, and a foreign page that wants to change something.
pub(crate) async fn apply(
    State(origins): State<Origins>,
    request: Request,
    next: Next,
) -> Response {
    let Some(problem) = origins.objection(&request) else {
        return next.run(request).await;
    };
    let (parts, _) = request.into_parts();
    origins.shared.answers.answer(problem, &parts)
}

impl Origins {
    fn objection(&self, request: &Request) -> Option<mediamesh_transcode::runtime::Problem> {
        let hosts = request.headers().get_all(header::HOST).iter().count();
        // RFC 9112, section 3.2: what is behind a proxy must not see another host than it did
        let nameless = hosts == 0
            && request.version() == Version::HTTP_11
            && request.uri().authority().is_none();
        if hosts > 1 || nameless {
            let rule = format!("request has {hosts} Host headers; exactly one is required");
            return Some(problem::invalid("host", rule));
        }
        let authority = authority(request);
        if self.check_hosts
            && let Some(authority) = &authority
            && !self.knows(authority.host())
        {
            let detail = format!(
                "host {} is not answered here; add it to edge.allowed_hosts",
                authority.host()
            );
            return Some(problem::forbidden(detail).with("host", authority.host()));
        }
        let safe = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        let origin = text(request.headers(), header::ORIGIN)?;
        if safe || self.trusts(origin, authority.as_ref()) {
            return None;
        }
        let detail = format!("origin {origin} may not change anything here");
        Some(problem::forbidden(detail).with("origin", origin))
    }

    fn knows(&self, host: &str) -> bool {
        let mut known = self
            .shared
            .options
            .allowed_hosts
            .iter()
            .map(String::as_str)
            .chain(LOOPBACK);
        known.any(|name| name == "*" || name.eq_ignore_ascii_case(host))
    }

    fn trusts(&self, origin: &str, authority: Option<&Authority>) -> bool {
        let same = origin
            .split_once("://")
            .zip(authority)
            .is_some_and(|((_, host), authority)| host.eq_ignore_ascii_case(authority.as_str()));
        same || self
            .shared
            .options
            .cors_origins
            .iter()
            .any(|known| known == origin)
    }
}

/// `:authority` of HTTP/2, or `Host`.
fn authority(request: &Request) -> Option<Authority> {
    request
        .uri()
        .authority()
        .cloned()
        .or_else(|| text(request.headers(), header::HOST)?.parse().ok())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    // what is no text is no name we know; it must not pass as absent
    headers
        .get(name)
        .map(|value| value.to_str().unwrap_or("(not text)"))
}
