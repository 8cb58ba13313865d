//! Finds out who calls, holds the caller to what the method asks for, and serves the call for that
//! identity: calls made meanwhile carry it on.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body::{Body as _, Frame, SizeHint};
use tonic::{Status, body::Body};
use tower::{Layer, Service, ServiceExt as _};

use crate::identity::access::AccessTable;
use crate::identity::{AuthError, Authentication, Authenticator, Caller};
use crate::method::MethodKind;
use crate::policy::{Policy, is_unlimited};
use crate::settle::{Broke, settle};
use crate::{Request, Response, status};

/// Layer of [`Auth`].
#[derive(Clone)]
pub(crate) struct AuthLayer {
    authenticator: Arc<dyn Authenticator>,
    access: AccessTable,
    policy: Policy,
}

impl AuthLayer {
    pub(crate) fn new(authenticator: Arc<dyn Authenticator>, policy: Policy) -> Self {
        Self {
            authenticator,
            access: AccessTable::of_contract(),
            policy,
        }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Auth<S>;

    fn layer(&self, inner: S) -> Auth<S> {
        Auth {
            inner,
            authenticator: Arc::clone(&self.authenticator),
            access: self.access.clone(),
            policy: self.policy.clone(),
        }
    }
}

/// Refuses calls without an identity, except to health and reflection.
#[derive(Clone)]
pub(crate) struct Auth<S> {
    inner: S,
    authenticator: Arc<dyn Authenticator>,
    access: AccessTable,
    policy: Policy,
}

impl<S> Service<Request> for Auth<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let path = request.uri().path();
        if is_unlimited(path) {
            return self.inner.call(request).boxed();
        }
        match self.authenticator.authenticate(request.headers()) {
            Authentication::Done(Err(error)) => refuse(&error),
            Authentication::Done(Ok(caller)) => match self.access.check(path, &caller) {
                Err(error) => refuse(&error),
                Ok(()) => {
                    let streams = answers_stream(&self.policy, path);
                    serve(self.inner.call(prepare(request, &caller)), caller, streams).boxed()
                }
            },
            Authentication::Later(found) => {
                // The clone is called, later, and whoever became ready stays behind.
                let inner = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, inner);
                let (access, policy) = (self.access.clone(), self.policy.clone());
                async move {
                    let path = request.uri().path();
                    let caller = match found.await {
                        Ok(caller) => caller,
                        Err(error) => return refuse(&error).await,
                    };
                    if let Err(error) = access.check(path, &caller) {
                        return refuse(&error).await;
                    }
                    let streams = answers_stream(&policy, path);
                    let request = prepare(request, &caller);
                    serve(inner.oneshot(request), caller, streams).await
                }
                .boxed()
            }
        }
    }
}

/// Returns whether the method goes on working while its answers are read; of a method that nobody knows
/// that must be supposed.
fn answers_stream(policy: &Policy, path: &str) -> bool {
    policy
        .known(path)
        .is_none_or(|of| matches!(of.method.kind, MethodKind::ServerStream | MethodKind::Bidi))
}

fn refuse(error: &AuthError) -> BoxFuture<'static, Result<Response, Infallible>> {
    futures::future::ready(Ok(status::refused(error).into_http())).boxed()
}

fn prepare(mut request: Request, caller: &Caller) -> Request {
    request.extensions_mut().insert(caller.identity().clone());
    request
}

async fn serve<F>(call: F, caller: Caller, streams: bool) -> Result<Response, Infallible>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    let answer = async {
        let response = call.await?;
        if streams {
            return Ok(response);
        }
        // Whoever asks how the call ended need not wait for it.
        let settled = settle(response, MethodKind::Unary).await;
        Ok::<_, Infallible>(settled.unwrap_or_else(|Broke(cause)| {
            tracing::error!(?cause, "an answer broke off before its end");
            status::internal().into_http()
        }))
    };
    let response = caller.clone().scope(answer).await?;
    if !streams || response.body().is_end_stream() {
        return Ok(response);
    }
    Ok(response.map(|inner| Body::new(CallerBody { inner, caller })))
}

/// Polls the inner body in the caller's scope: a streaming handler works while its body is read.
struct CallerBody {
    inner: Body,
    caller: Caller,
}

impl http_body::Body for CallerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let inner = Pin::new(&mut this.inner);
        this.caller.sync_scope(|| inner.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
