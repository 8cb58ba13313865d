//! Who may see the pages of operators: metrics of all tenants, addresses and states of the mesh.
//!
//! An `admin` of a tenant is none; operators are whoever has a token of `[admin]` and the admins of
//! the mesh's own tenant. Tokens are good while the media service, which knows the keys, is away:
//! that is when metrics are needed.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tonic::Code;

use super::HealthQuery;
use crate::identity::{
    AuthError, Authentication, Authenticator, LOCAL_TENANT_ID, LocalAuthenticator, Scope,
};
use crate::status::refused;

/// Shortest token, characters: what `openssl rand -base64 24` makes.
const MIN_TOKEN: usize = 32;

/// Who may see `/metrics`, `/admin` and the details of `/health`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminOptions {
    /// Tokens of operators and of Prometheus, sent as `authorization: Bearer`; each at least 32
    /// characters (`openssl rand -base64 32`). They open `/metrics`, `/admin` and the details of
    /// `/health`, nothing else. An API key with the scope `admin` of the first tenant does too.
    pub tokens: Vec<AdminToken>,
    /// Opens them to everybody who reaches the address: for networks that let only operators and
    /// Prometheus in.
    pub open: bool,
}

/// A secret; `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct AdminToken(pub String);

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl AdminOptions {
    /// Every fault of these settings, one sentence each; never a secret in it.
    pub fn validate(&self) -> Vec<String> {
        let short = |(at, token): (usize, &AdminToken)| {
            let length = token.0.chars().count();
            let printable = token.0.bytes().all(|byte| byte.is_ascii_graphic());
            match (length < MIN_TOKEN, printable) {
                (true, _) => Some(format!(
                    "admin.tokens[{at}] has {length} characters; it must have at least {MIN_TOKEN}"
                )),
                (_, false) => Some(format!(
                    "admin.tokens[{at}] has spaces or characters that are not ASCII"
                )),
                _ => None,
            }
        };
        self.tokens.iter().enumerate().filter_map(short).collect()
    }
}

/// Lets operators in; clones share everything.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    open: bool,
    tokens: Vec<[u8; 32]>,
    authenticator: Arc<dyn Authenticator>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("open", &self.inner.open)
            .finish_non_exhaustive()
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::open()
    }
}

impl Guard {
    /// Returns one that lets everybody in: who reaches a loopback address is on this host.
    pub fn open() -> Self {
        let options = AdminOptions {
            open: true,
            ..AdminOptions::default()
        };
        Self::new(&options, Arc::new(LocalAuthenticator))
    }

    /// Returns one that is open only if the options say so, or if neither they nor `authenticator`
    /// know of any credentials.
    pub fn new(options: &AdminOptions, authenticator: Arc<dyn Authenticator>) -> Self {
        let tokens: Vec<[u8; 32]> = options
            .tokens
            .iter()
            .map(|token| sha256(token.0.as_bytes()))
            .collect();
        let nothing_to_ask_for = tokens.is_empty() && !authenticator.required();
        Self {
            inner: Arc::new(Inner {
                open: options.open || nothing_to_ask_for,
                tokens,
                authenticator,
            }),
        }
    }

    /// Holds a request for `uri` to what it asks for.
    ///
    /// Errors: who asks is no operator, or it cannot be found out now.
    pub async fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), AuthError> {
        if self.inner.open || !is_for_operators(uri) || self.has_token(headers) {
            return Ok(());
        }
        if !self.inner.authenticator.required() {
            return Err(AuthError::Missing);
        }
        let found = match self.inner.authenticator.authenticate(headers) {
            Authentication::Done(found) => found?,
            Authentication::Later(found) => found.await?,
        };
        let identity = found.identity();
        match identity.tenant_id == LOCAL_TENANT_ID && identity.has_scope(Scope::Admin) {
            true => Ok(()),
            false => Err(AuthError::OperatorsOnly {
                path: uri.path().to_owned(),
            }),
        }
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION);
        let bearer = value
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.trim().split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = bearer else {
            return false;
        };
        // Hashes are compared, so the time of it tells nothing of the token.
        let given = sha256(token.trim().as_bytes());
        self.inner.tokens.contains(&given)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Returns whether a request is for what only operators may see.
pub fn is_for_operators(uri: &Uri) -> bool {
    let path = uri.path();
    let below = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let health = || matches!(path, "/health" | "/api/health");
    let detailed = || {
        // what does not parse is refused by the handler
        Query::<HealthQuery>::try_from_uri(uri).is_ok_and(|Query(query)| query.detailed)
    };
    below("/metrics") || below("/admin") || (health() && detailed())
}

/// The guard before the routes of a process without edge.
pub(super) async fn apply(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.admit(request.uri(), request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(error) => answer(&error),
    }
}

fn answer(error: &AuthError) -> Response {
    let status = refused(error);
    let code = match status.code() {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = (code, format!("{}\n", status.message())).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if code == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"mediamesh\"");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::{Caller, Identity, Proof, Scopes};

    const TOKEN: &str = "kept-by-prometheus-and-nobody-else";

    /// Knows callers by `tenant scope`.
    struct Named;

    impl Authenticator for Named {
        fn authenticate(&self, headers: &HeaderMap) -> Authentication {
            let text = headers.get("x-api-key").map(|key| key.to_str().unwrap());
            let Some((tenant, scopes)) = text.and_then(|text| text.split_once(' ')) else {
                return Authentication::Done(Err(AuthError::Missing));
            };
            let identity = Identity {
                tenant_id: match tenant {
                    "first" => LOCAL_TENANT_ID,
                    _ => uuid::Uuid::from_u128(7),
                },
                subject: "test".to_owned(),
                scopes: Scopes::parse(scopes),
            };
            Authentication::Done(Ok(Caller::new(identity, Proof::ApiKey)))
        }
    }

    fn options() -> AdminOptions {
        AdminOptions {
            tokens: vec![AdminToken(TOKEN.to_owned())],
            open: false,
        }
    }

    async fn admits(guard: &Guard, uri: &str, header: (&str, &str)) -> Result<(), Code> {
        let mut headers = HeaderMap::new();
        let name: axum::http::HeaderName = header.0.parse().unwrap();
        headers.insert(name, header.1.parse().unwrap());
        let admitted = guard.admit(&uri.parse().unwrap(), &headers).await;
        admitted.map_err(|error| refused(&error).code())
    }

    #[tokio::test]
    async fn only_operators_see_their_pages() {
        let guard = Guard::new(&options(), Arc::new(Named));
        let nobody = ("x-other", "1");
        for page in [
            "/metrics",
            "/admin/mesh",
            "/admin/faults",
            "/health?detailed=true",
            "/api/health?detailed=true",
        ] {
            assert_eq!(
                admits(&guard, page, nobody).await,
                Err(Code::Unauthenticated)
            );
            for tenants in ["other admin", "first write", "other read"] {
                let admitted = admits(&guard, page, ("x-api-key", tenants)).await;
                assert_eq!(admitted, Err(Code::PermissionDenied), "{page} {tenants}");
            }
            admits(&guard, page, ("x-api-key", "first admin"))
                .await
                .unwrap();
            let bearer = format!("Bearer {TOKEN}");
            admits(&guard, page, ("authorization", &bearer))
                .await
                .unwrap();
            let wrong = ("authorization", &*format!("{bearer}x"));
            assert!(admits(&guard, page, wrong).await.is_err());
        }
        for open in [
            "/health",
            "/health/ready",
            "/metricsx",
            "/health?detailed=false",
        ] {
            admits(&guard, open, nobody).await.unwrap();
        }
    }

    #[tokio::test]
    async fn it_is_open_only_if_it_is_told_so_or_there_is_nothing_to_ask_for() {
        let nobody = ("x-other", "1");
        let local = || Arc::new(LocalAuthenticator);
        let closed = Guard::new(&options(), local());
        assert!(admits(&closed, "/metrics", nobody).await.is_err());
        let open = AdminOptions {
            open: true,
            ..options()
        };
        for guard in [
            Guard::open(),
            Guard::new(&AdminOptions::default(), local()),
            Guard::new(&open, Arc::new(Named)),
        ] {
            admits(&guard, "/metrics", nobody).await.unwrap();
        }
    }

    #[test]
    fn tokens_must_be_long_and_are_never_shown() {
        let tokens = ["short", "with a space, long enough in all otherwise"];
        let options = AdminOptions {
            tokens: tokens.map(|token| AdminToken(token.to_owned())).to_vec(),
            open: false,
        };
        let faults = options.validate();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].starts_with("admin.tokens[0] has 5 characters"));
        let shown = format!("{faults:?} {options:?}");
        assert!(!shown.contains("short") && !shown.contains("otherwise"));
        assert_eq!(self::options().validate(), Vec::<String>::new());
    }
}
