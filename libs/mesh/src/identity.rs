//! Who calls, and how that is found out.
//!
//! A client proves who it is with an API key. The server that takes the key (the edge, or any gRPC
//! server) turns it into a short-lived identity token, which the client stack puts on every call
//! made while serving, and which every service verifies by itself. Clients never see a token, so a
//! token also proves that the caller is a service of the mesh.
//!
//! - [`scopes`]: what a caller may do
//! - [`access`]: what a method asks for, read from the contract
//! - [`key_ring`]: the keys that sign tokens, from configuration, and their rotation
//! - [`token`]: the token itself
//! - [`authenticator`]: credentials of a request to a [`Caller`]
//! - [`lookup`]: who holds an API key, remembered for a while
//! - [`options`]: what can be configured

pub mod access;
pub mod authenticator;
pub mod key_ring;
pub mod lookup;
pub mod options;
pub mod scopes;
pub mod token;

use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures::future::Either;
use tokio::task::futures::TaskLocalFuture;
use tonic::Status;
use uuid::Uuid;

pub use authenticator::{
    AuthError, Authentication, Authenticator, LocalAuthenticator, TokenAuthenticator,
};
pub use key_ring::KeyRing;
pub use lookup::{FoundKey, KeyLookup};
pub use options::IdentityOptions;
pub use scopes::{Scope, Scopes};

use crate::status;
use token::Sealed;

/// Tenant of everything in a mesh without authentication.
///
/// Fixed, so that a data directory means the same to every process that opens it.
pub const LOCAL_TENANT_ID: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001);

tokio::task_local! {
    static CURRENT: Caller;
}

/// Who makes a call; never taken from a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Tenant whose data the call may see; nil for a service that works for no tenant.
    pub tenant_id: Uuid,
    /// User, key or service within the tenant.
    pub subject: String,
    /// What the subject may do.
    pub scopes: Scopes,
}

impl Identity {
    /// Returns the identity of every call in a mesh without authentication.
    pub fn local() -> Self {
        Self {
            tenant_id: LOCAL_TENANT_ID,
            subject: "local".to_owned(),
            scopes: Scopes::all(),
        }
    }

    /// Returns the identity of background work for a tenant, such as a job's.
    pub fn background(tenant_id: Uuid) -> Self {
        Self {
            tenant_id,
            subject: "background".to_owned(),
            scopes: Scopes::from_iter([Scope::Write]),
        }
    }

    /// Returns the identity of a process that calls for nobody: it sees no tenant's data.
    pub fn process() -> Self {
        Self {
            tenant_id: Uuid::nil(),
            subject: "process".to_owned(),
            scopes: Scopes::from_iter([Scope::Read]),
        }
    }

    /// Returns whether the subject may do `scope`.
    pub fn has_scope(&self, scope: Scope) -> bool {
        self.scopes.include(scope)
    }
}

/// By what a caller was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing was asked for: a mesh on loopback without authentication.
    Local,
    /// An API key: a client.
    ApiKey,
    /// A session that was opened with an API key: a client as well.
    Session,
    /// An identity token: a service of the mesh.
    Token,
}

/// The identity a request is served for, and how it goes on to the next service. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Caller {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: Identity,
    proof: Proof,
    /// Token for the calls made for this caller; renewed when half its life is over.
    sealed: ArcSwapOption<Sealed>,
}

impl Caller {
    /// Returns a caller of whom no token is known yet.
    pub fn new(identity: Identity, proof: Proof) -> Self {
        Self {
            inner: Arc::new(Inner {
                identity,
                proof,
                sealed: ArcSwapOption::empty(),
            }),
        }
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// By what it is known.
    pub fn proof(&self) -> Proof {
        self.inner.proof
    }

    pub(crate) fn sealed(&self) -> &ArcSwapOption<Sealed> {
        &self.inner.sealed
    }

    /// Runs `work` for this caller: calls it makes carry the caller's identity.
    pub fn scope<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
    }

    pub(crate) fn sync_scope<R>(&self, work: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// Returns the caller this code works for.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }
}

/// Runs `work` as `identity`, e.g. a job as its tenant.
pub async fn scope<F: Future>(identity: Identity, work: F) -> F::Output {
    Caller::new(identity, Proof::Token).scope(work).await
}

/// Carries the caller over into work that leaves the task, e.g. by `tokio::spawn`.
pub fn in_current_scope<F: Future>(work: F) -> impl Future<Output = F::Output> {
    match Caller::current() {
        Some(caller) => Either::Left(caller.scope(work)),
        None => Either::Right(work),
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
