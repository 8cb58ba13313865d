//! Who calls: an API key, or the cookie of a session that was opened with one, becomes the identity
//! that every call of the request carries.
//!
//! What a caller may do is decided where it is done, by the services, from what each method of the
//! contract asks for. Here is decided only what the edge answers by itself.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use mediamesh_mesh::{
    AuthError, Authentication, Caller, admin::guard::is_for_operators,
    identity::authenticator::X_API_KEY, status::refused,
};
use mediamesh_proto::SessionId;
use mediamesh_transcode::runtime::Problem;

use crate::{
    Shared, console,
    grpc::admit,
    layer::log::AnsweredCaller,
    session::{
        self,
        cookie::{self, Found},
        csrf, lookup,
    },
};

/// How to authenticate. Basic, with the key as password, is what browsers ask people for where there is
/// no page to do it.
///
/// Source: RFC 6750 section 3, RFC 7617 section 2.
const CHALLENGES: [&str; 2] = [
    "Bearer realm=\"mediamesh\"",
    "Basic realm=\"mediamesh\", charset=\"UTF-8\"",
];
/// Answers differ by these.
const VARY: &str = "authorization, x-api-key, cookie";

/// What the edge itself asks for before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    /// A good key; the services hold the caller to more.
    Key,
    /// What the guard of the admin pages asks for.
    Operator,
}

/// Below these an address is the permission, which the media service looks at; nothing else is served there.
pub(crate) const SIGNED: [&str; 2] = ["/v1/uploads/", "/v1/signed/"];

/// What a path of the edge asks for.
///
/// Open are probes, descriptions, and the files of the console, which hold nobody's data. The
/// console's page asks for a key, so that whoever has none sees the page to log in instead.
fn asked_for(uri: &Uri) -> Asks {
    const OPEN: [&str; 7] = [
        "/health",
        "/api/health",
        "/openapi.json",
        "/errors",
        "/console",
        console::LOG_IN,
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
    } else if below(&OPEN) || SIGNED.iter().any(|prefix| path.starts_with(prefix)) {
        Asks::Nothing
    } else {
        Asks::Key
    }
}

/// Refuses requests without a good key, where keys are asked for.
pub(crate) async fn apply(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let guard = &shared.deps.guard;
    let asked = asked_for(request.uri());
    let navigates = console::is_navigation(request.method(), request.headers());
    let by_script = !navigates && is_browser(request.headers());
    let logs_in = request.uri().path() == session::PATH;
    let mut response = match asked {
        Asks::Nothing => return next.run(request).await,
        Asks::Operator => match guard.admit(request.uri(), request.headers()).await {
            Ok(()) => next.run(request).await,
            Err(error) => refuse(&shared, request, &error),
        },
        Asks::Key if !shared.deps.authenticator.required() => return next.run(request).await,
        Asks::Key => match cookie_of(&shared, &request) {
            Found::None => match caller(&shared, request.headers()).await {
                Ok(caller) => serve(request, next, caller).await,
                Err(error) => refuse(&shared, request, &error),
            },
            Found::Id(id) => in_session(&shared, request, next, &id).await,
            Found::Bad(why) => without_session(&shared, request, &AuthError::Malformed(why)),
        },
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        // a service's own 401 names one way, these are all
        response.headers_mut().remove(header::WWW_AUTHENTICATE);
        let ended = response.headers_mut().remove(header::SET_COOKIE);
        let to_log_in = asked == Asks::Key && navigates;
        // browsers would ask people for a password where a page sends them to log in
        let quiet = ended.is_some() || to_log_in || by_script || logs_in;
        if to_log_in {
            response = console::log_in_first();
        }
        if let Some(cookie) = ended {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        for challenge in &CHALLENGES[..if quiet { 1 } else { CHALLENGES.len() }] {
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

/// Whether a browser asks. Over plain HTTP it tells only by its name, which begins so in all of them and in some
/// programs, and by the languages that its user reads.
fn is_browser(headers: &HeaderMap) -> bool {
    let name = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes);
    let named = name.is_some_and(|name| name.starts_with(b"Mozilla/"));
    headers.contains_key("sec-fetch-mode")
        || (named && headers.contains_key(header::ACCEPT_LANGUAGE))
}

async fn serve(mut request: Request, next: Next, caller: Caller) -> Response {
    // the key ends here; calls carry a token of the mesh instead
    request.headers_mut().remove(header::AUTHORIZATION);
    request.headers_mut().remove(X_API_KEY);
    tracing::Span::current().record("enduser.id", caller.identity().subject.as_str());
    let answered = AnsweredCaller(caller.identity().clone());
    let mut response = caller.scope(next.run(request)).await;
    // for the log, which is outside of this
    response.extensions_mut().insert(answered);
    response
}

/// The session of a request that has nothing better: a key goes first, and is what log-in is about, but not one
/// that a browser was once asked for and adds to everything. Programs that speak gRPC have keys.
fn cookie_of(shared: &Shared, request: &Request) -> Found {
    let headers = request.headers();
    let has_key = headers.contains_key(X_API_KEY)
        || headers
            .get(header::AUTHORIZATION)
            .is_some_and(|value| !is_basic(value));
    let logs_in = request.uri().path() == session::PATH && request.method() == Method::POST;
    match has_key || logs_in || admit::is_grpc(admit::media_type(headers)) {
        true => Found::None,
        false => cookie::read(&shared.options.session, headers),
    }
}

fn is_basic(authorization: &HeaderValue) -> bool {
    let scheme = authorization.as_bytes().get(..6);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "))
}

async fn in_session(shared: &Shared, mut request: Request, next: Next, id: &SessionId) -> Response {
    let head = (request.method(), request.uri(), request.headers());
    if let Err(problem) = csrf::check(shared, head, id) {
        let (parts, _) = request.into_parts();
        return shared.answers.answer(*problem, &parts);
    }
    match lookup::resolve(shared, id).await {
        Ok(current) => {
            let caller = current.caller.clone();
            request.extensions_mut().insert(current);
            serve(request, next, caller).await
        }
        Err(error) => without_session(shared, request, &error),
    }
}

/// Refuses, and takes the cookie away if its session has ended; not if that is not known.
fn without_session(shared: &Shared, request: Request, error: &AuthError) -> Response {
    let clear = cookie::clear(&shared.options.session, request.headers());
    let mut response = refuse(shared, request, error);
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().append(header::SET_COOKIE, clear);
    }
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
    use http::HeaderName;

    use super::*;

    #[test]
    fn a_browser_is_known_over_plain_http_and_a_program_is_none() {
        let browser = |all: &[(&'static str, &'static str)]| {
            let pairs = all.iter().map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            is_browser(&pairs.collect())
        };
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101";
        assert!(browser(&[
            ("user-agent", firefox),
            ("accept-language", "en")
        ]));
        assert!(browser(&[("sec-fetch-mode", "cors")]));
        let shell = "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1";
        assert!(!browser(&[("user-agent", shell)]));
        assert!(!browser(&[
            ("user-agent", "curl/8.5.0"),
            ("accept", "text/html")
        ]));
    }

    #[test]
    fn the_password_that_a_browser_adds_to_everything_is_told_from_a_key() {
        for (value, is) in [
            ("Basic Og==", true),
            ("bASIC Og==", true),
            ("Bearer mm_1", false),
            ("Basic", false),
        ] {
            assert_eq!(is_basic(&HeaderValue::from_static(value)), is, "{value}");
        }
    }

    #[test]
    fn only_probes_descriptions_and_the_console_are_open() {
        let asked = |uri: &'static str| asked_for(&Uri::from_static(uri));
        for path in [
            "/health",
            "/health/ready",
            "/v1/uploads/token",
            "/v1/signed/token",
            "/api/health",
            "/openapi.json",
            "/errors",
            "/errors/ERROR_REASON_INTERNAL",
            "/console/main.js",
            "/login",
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
            "/logins",
            "/v1/uploads",
            "/v1/uploads:complete",
            "/v1/signed",
            "/nowhere",
        ] {
            assert_eq!(asked(path), Asks::Key, "{path}");
        }
    }
}
