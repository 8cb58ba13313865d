//! Who calls: an API key becomes the identity that every call of the request carries.
//!
//! What a caller may do is decided where it is done, by the services, from what each method of the
//! contract asks for. Here is decided only what the edge answers by itself.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use mediamesh_mesh::{
    AuthError, Authentication, Caller, admin::guard::is_for_operators,
    identity::authenticator::X_API_KEY, status::refused,
};
use mediamesh_transcode::runtime::Problem;

use crate::Shared;

/// How to authenticate. Basic, with the key as password, is what browsers ask people for.
///
/// Source: RFC 6750 section 3, RFC 7617 section 2.
const CHALLENGES: [&str; 2] = [
    "Bearer realm=\"mediamesh\"",
    "Basic realm=\"mediamesh\", charset=\"UTF-8\"",
];
/// Answers differ by these.
const VARY: &str = "authorization, x-api-key";

/// What the edge itself asks for before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    /// A good key; the services hold the caller to more.
    Key,
    /// What the guard of the admin pages asks for.
    Operator,
}

/// What a path of the edge asks for.
///
/// Open are probes, descriptions, and the files of the console, which hold nobody's data. The
/// console's page asks for a key so that a browser asks for one once, before the page does.
fn asked_for(uri: &Uri) -> Asks {
    const OPEN: [&str; 6] = [
        "/health",
        "/api/health",
        "/openapi.json",
        "/errors",
        "/console",
        "/grpc.",
    ];
    let path = uri.path();
    let below = |prefixes: &[&str]| {
        prefixes.iter().any(|prefix| {
            path.strip_prefix(prefix).is_some_and(|rest| {
                prefix.ends_with('.') || rest.is_empty() || rest.starts_with('/')
            })
        })
    };
    if is_for_operators(uri) {
        Asks::Operator
    } else if below(&OPEN) {
        Asks::Nothing
    } else {
        Asks::Key
    }
}

/// Refuses requests without a good key, where keys are asked for.
pub(crate) async fn apply(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let guard = &shared.deps.guard;
    let mut response = match asked_for(request.uri()) {
        Asks::Nothing => return next.run(request).await,
        Asks::Operator => match guard.admit(request.uri(), request.headers()).await {
            Ok(()) => next.run(request).await,
            Err(error) => refuse(&shared, request, &error),
        },
        Asks::Key if !shared.deps.authenticator.required() => return next.run(request).await,
        Asks::Key => match caller(&shared, request.headers()).await {
            Ok(caller) => {
                // the key ends here; calls carry a token of the mesh instead
                request.headers_mut().remove(header::AUTHORIZATION);
                request.headers_mut().remove(X_API_KEY);
                tracing::Span::current().record("enduser.id", caller.identity().subject.as_str());
                caller.scope(next.run(request)).await
            }
            Err(error) => refuse(&shared, request, &error),
        },
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        // a service's own 401 names one way, these are all
        response.headers_mut().remove(header::WWW_AUTHENTICATE);
        for challenge in CHALLENGES {
            let challenge = HeaderValue::from_static(challenge);
            response
                .headers_mut()
                .append(header::WWW_AUTHENTICATE, challenge);
        }
    }
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static(VARY));
    response
}

async fn caller(shared: &Shared, headers: &HeaderMap) -> Result<Caller, AuthError> {
    match shared.deps.authenticator.authenticate(headers) {
        Authentication::Done(found) => found,
        Authentication::Later(found) => found.await,
    }
}

fn refuse(shared: &Shared, request: Request, error: &AuthError) -> Response {
    let (parts, _) = request.into_parts();
    let problem = Problem::from_status(&refused(error));
    shared.answers.answer(problem, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_probes_descriptions_and_the_console_are_open() {
        let asked = |uri: &'static str| asked_for(&Uri::from_static(uri));
        for path in [
            "/health",
            "/health/ready",
            "/api/health",
            "/openapi.json",
            "/errors",
            "/errors/ERROR_REASON_INTERNAL",
            "/console/main.js",
            "/grpc.health.v1.Health/Check",
        ] {
            assert_eq!(asked(path), Asks::Nothing, "{path}");
        }
        for path in [
            "/metrics",
            "/admin/mesh",
            "/admin",
            "/health?detailed=true",
            "/api/health?detailed=true",
        ] {
            assert_eq!(asked(path), Asks::Operator, "{path}");
        }
        for path in [
            "/",
            "/healthy",
            "/v1/mediaItems",
            "/api/search",
            "/consoles",
            "/nowhere",
        ] {
            assert_eq!(asked(path), Asks::Key, "{path}");
        }
    }
}
