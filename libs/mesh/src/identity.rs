//! Who calls, and how that is found out.

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tonic::Status;
use uuid::Uuid;

use crate::status;

/// Tenant of everything in a mesh without authentication.
///
/// Fixed, so that a data directory means the same to every process that opens it.
pub const LOCAL_TENANT_ID: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001);

/// Who makes a call; never taken from a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Tenant whose data the call may see.
    pub tenant_id: Uuid,
    /// User, key or service within the tenant.
    pub subject: String,
    /// What the subject may do, e.g. `media:write`; `*` is everything.
    pub scopes: Vec<String>,
}

impl Identity {
    /// Returns the identity of every call in a mesh without authentication.
    pub fn local() -> Self {
        Self {
            tenant_id: LOCAL_TENANT_ID,
            subject: "local".to_owned(),
            scopes: vec!["*".to_owned()],
        }
    }

    /// Returns whether the subject may do `scope`.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == "*" || own == scope)
    }
}

/// Why a call has no identity.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No credentials, or ones that prove nothing.
    #[error("credentials are missing or not valid: {0}")]
    Unauthenticated(&'static str),
    /// The credentials are good but not for this.
    #[error("not allowed: {0}")]
    PermissionDenied(&'static str),
}

/// Finds out who calls from the request's headers.
pub trait Authenticator: Send + Sync + 'static {
    /// Returns the caller's identity.
    ///
    /// Blocking: runs on the runtime thread for every call, so verify a signed token here and
    /// look credentials up elsewhere.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, AuthError>;
}

/// One fixed local tenant, whatever the headers say; only for a mesh bound to loopback.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalAuthenticator;

impl Authenticator for LocalAuthenticator {
    fn authenticate(&self, _headers: &HeaderMap) -> Result<Identity, AuthError> {
        Ok(Identity::local())
    }
}

/// Returns who makes `request`.
///
/// Errors: UNAUTHENTICATED if the request did not come through the server stack.
pub fn identity<T>(request: &tonic::Request<T>) -> Result<&Identity, Status> {
    request
        .extensions()
        .get::<Identity>()
        .ok_or_else(|| status::unauthenticated("the request carries no identity"))
}
