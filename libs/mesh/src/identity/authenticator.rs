//! Credentials of a request to a [`Caller`].

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, header};
use mediamesh_proto::ApiKeySecret;
use mediamesh_proto::api_key::PREFIX;
use tonic::Status;

use super::key_ring::KeyRing;
use super::lookup::KeyCache;
use super::token::{MEDIAMESH_IDENTITY, TokenError};
use super::{Caller, Identity, Proof, Scope};

/// Header of an API key for callers that cannot set `authorization`.
pub const X_API_KEY: &str = "x-api-key";

/// Why a call has no identity, or may not do what it asks for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuthError {
    /// No credentials at all.
    #[error("credentials are missing: send an API key as `authorization: Bearer mmk_...`")]
    Missing,
    /// Credentials of an unknown kind, or an API key that is cut or mistyped.
    #[error("credentials are not valid: {0}")]
    Malformed(&'static str),
    /// An identity token that is not believed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// What the look-up of an API key answered: it is unknown, expired, revoked, or cannot be
    /// looked up now.
    #[error("{}", .0.message())]
    Lookup(Arc<Status>),
    /// The caller is known but lacks a scope.
    #[error("{method} needs the scope `{required}`")]
    ScopeMissing {
        /// The scope.
        required: Scope,
        /// The method's path without the leading slash.
        method: String,
    },
    /// The caller is known but runs nothing here.
    #[error(
        "{path} is for operators: send a token of `admin.tokens`, or an API key with the scope \
         `admin` of the first tenant"
    )]
    OperatorsOnly {
        /// What was asked for.
        path: String,
    },
    /// The caller is a client, and the method is for services.
    #[error("{method} is called by services of the mesh only")]
    MeshOnly {
        /// The method's path without the leading slash.
        method: String,
    },
}

/// What came of looking at a request's headers.
pub enum Authentication {
    /// Known at once.
    Done(Result<Caller, AuthError>),
    /// Something must be asked first.
    Later(BoxFuture<'static, Result<Caller, AuthError>>),
}

/// Finds out who calls from the request's headers.
pub trait Authenticator: Send + Sync + 'static {
    /// Returns the caller.
    ///
    /// Blocking: what is `Done` was done on the runtime thread, so only what takes microseconds.
    fn authenticate(&self, headers: &HeaderMap) -> Authentication;

    /// Returns whether a call without credentials is refused.
    fn required(&self) -> bool {
        true
    }
}

impl fmt::Debug for dyn Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("required", &self.required())
            .finish()
    }
}

/// One fixed local tenant, whatever the headers say; only for a mesh bound to loopback.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalAuthenticator;

impl Authenticator for LocalAuthenticator {
    fn authenticate(&self, _headers: &HeaderMap) -> Authentication {
        Authentication::Done(Ok(Caller::new(Identity::local(), Proof::Local)))
    }

    fn required(&self) -> bool {
        false
    }
}

/// Takes identity tokens of the mesh, API keys, or both.
#[derive(Clone, Debug)]
pub struct TokenAuthenticator {
    /// `None` where tokens are not taken: at the edge, which clients of all kinds reach.
    tokens: Option<KeyRing>,
    keys: Option<KeyCache>,
}

impl TokenAuthenticator {
    /// Takes tokens signed by a key of `ring`, and API keys if they can be looked up.
    pub fn for_services(ring: KeyRing, keys: Option<KeyCache>) -> Self {
        Self {
            tokens: Some(ring),
            keys,
        }
    }

    /// Takes API keys only: a token that leaks from the mesh opens no door at the edge.
    pub fn for_edge(keys: KeyCache) -> Self {
        Self {
            tokens: None,
            keys: Some(keys),
        }
    }

    fn api_key(&self, text: &str) -> Authentication {
        let Some(keys) = self.keys.clone() else {
            return refuse(AuthError::Malformed("API keys are not taken here"));
        };
        match text.parse::<ApiKeySecret>() {
            Ok(key) => Authentication::Later(async move { keys.caller(key).await }.boxed()),
            Err(_) => refuse(AuthError::Malformed(
                "the API key is cut, mistyped or of another system",
            )),
        }
    }
}

impl Authenticator for TokenAuthenticator {
    fn authenticate(&self, headers: &HeaderMap) -> Authentication {
        if let Some(ring) = &self.tokens
            && let Some(token) = headers.get(&MEDIAMESH_IDENTITY)
        {
            let token = token.to_str().unwrap_or_default();
            return Authentication::Done(ring.verify(token).map_err(Into::into));
        }
        if let Some(key) = headers.get(X_API_KEY) {
            return match key.to_str() {
                Ok(key) => self.api_key(key.trim()),
                Err(_) => refuse(AuthError::Malformed("x-api-key is not text")),
            };
        }
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return refuse(AuthError::Missing);
        };
        let Some((scheme, credentials)) = value
            .to_str()
            .ok()
            .and_then(|text| text.trim().split_once(' '))
        else {
            return refuse(AuthError::Malformed("authorization has no scheme"));
        };
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            return match password(credentials) {
                Some(key) => self.api_key(&key),
                None => refuse(AuthError::Malformed("Basic credentials are malformed")),
            };
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return refuse(AuthError::Malformed(
                "the scheme of authorization must be Bearer or Basic",
            ));
        }
        match credentials.starts_with(PREFIX) {
            true => self.api_key(credentials),
            false => refuse(AuthError::Malformed("an API key begins with mmk_")),
        }
    }
}

fn refuse(error: AuthError) -> Authentication {
    Authentication::Done(Err(error))
}

/// The API key as the password of Basic credentials: what browsers and `curl -u :mmk_...` send.
///
/// Source: RFC 7617.
fn password(credentials: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    // some programs ask for one field only
    Some(if password.is_empty() { user } else { password }.to_owned())
}
