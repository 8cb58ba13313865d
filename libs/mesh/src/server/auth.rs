//! Finds out who calls and puts the identity into the request.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::{Either, Ready, ready};
use tower::{Layer, Service};

use crate::identity::{AuthError, Authenticator};
use crate::method::split_path;
use crate::policy::defaults::UNLIMITED_PREFIX;
use crate::{Request, Response, status};

/// Layer of [`Auth`].
#[derive(Clone)]
pub(crate) struct AuthLayer {
    authenticator: Arc<dyn Authenticator>,
}

impl AuthLayer {
    pub(crate) fn new(authenticator: Arc<dyn Authenticator>) -> Self {
        Self { authenticator }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth {
            inner,
            authenticator: Arc::clone(&self.authenticator),
        }
    }
}

/// Refuses calls without an identity, except to health and reflection.
#[derive(Clone)]
pub(crate) struct Auth<S> {
    inner: S,
    authenticator: Arc<dyn Authenticator>,
}

impl<S> Service<Request> for Auth<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if split_path(request.uri().path())
            .0
            .starts_with(UNLIMITED_PREFIX)
        {
            return self.inner.call(request).left_future();
        }
        match self.authenticator.authenticate(request.headers()) {
            Ok(identity) => {
                request.extensions_mut().insert(identity);
                self.inner.call(request).left_future()
            }
            Err(error) => {
                let status = match &error {
                    AuthError::Unauthenticated(_) => status::unauthenticated(&error.to_string()),
                    AuthError::PermissionDenied(_) => status::permission_denied(&error.to_string()),
                };
                ready(Ok(status.into_http())).right_future()
            }
        }
    }
}
