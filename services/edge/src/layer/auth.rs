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
use http::{HeaderValue, StatusCode, header};
use mediamesh_mesh::{
    AuthError, Authentication, Caller,
    identity::{Scope, authenticator::X_API_KEY},
    status::refused,
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

/// What a path of the edge's own asks for; `None` is open to everybody.
///
/// Open are probes, descriptions, and the files of the console, which hold nobody's data. The
/// console's page asks for a key so that a browser asks for one once, before the page does.
fn asked_for(path: &str) -> Option<Scope> {
    const OPEN: [&str; 6] = [
        "/health",
        "/api/health",
        "/openapi.json",
        "/errors",
        "/console",
        "/grpc.",
    ];
    // numbers of all tenants, addresses of the mesh
    const OPERATORS: [&str; 2] = ["/metrics", "/admin"];
    let below = |prefixes: &[&str]| {
        prefixes.iter().any(|prefix| {
            path.strip_prefix(prefix).is_some_and(|rest| {
                prefix.ends_with('.') || rest.is_empty() || rest.starts_with('/')
            })
        })
    };
    if below(&OPEN) {
        None
    } else if below(&OPERATORS) {
        Some(Scope::Admin)
    } else {
        Some(Scope::Read)
    }
}

/// Refuses requests without a good key, where keys are asked for.
pub(crate) async fn apply(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let authenticator = &shared.deps.authenticator;
    let path = request.uri().path();
    let Some(required) = asked_for(path).filter(|_| authenticator.required()) else {
        return next.run(request).await;
    };
    let found = match authenticator.authenticate(request.headers()) {
        Authentication::Done(found) => found,
        Authentication::Later(found) => found.await,
    };
    // the services hold the caller to more than reading
    let found = found.and_then(|caller| match required {
        Scope::Read => Ok(caller),
        _ => held_to(caller, required, path),
    });
    let mut response = match found {
        Ok(caller) => {
            // the key ends here; calls carry a token of the mesh instead
            request.headers_mut().remove(header::AUTHORIZATION);
            request.headers_mut().remove(X_API_KEY);
            tracing::Span::current().record("enduser.id", caller.identity().subject.as_str());
            caller.scope(next.run(request)).await
        }
        Err(error) => {
            let (parts, _) = request.into_parts();
            let problem = Problem::from_status(&refused(&error));
            shared.answers.answer(problem, &parts)
        }
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

fn held_to(caller: Caller, required: Scope, path: &str) -> Result<Caller, AuthError> {
    match caller.identity().has_scope(required) {
        true => Ok(caller),
        false => Err(AuthError::ScopeMissing {
            required,
            method: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_probes_descriptions_and_the_console_are_open() {
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
            assert_eq!(asked_for(path), None, "{path}");
        }
        for path in ["/metrics", "/admin/mesh", "/admin"] {
            assert_eq!(asked_for(path), Some(Scope::Admin), "{path}");
        }
        for path in [
            "/",
            "/healthy",
            "/v1/mediaItems",
            "/api/search",
            "/consoles",
            "/nowhere",
        ] {
            assert_eq!(asked_for(path), Some(Scope::Read), "{path}");
        }
    }
}
