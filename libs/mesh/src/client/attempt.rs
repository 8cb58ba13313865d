//! One attempt: its span, its share of the time, its number on the wire.
//!
//! A handler may hang while its server says that it is well. What may be repeated gets half of the time
//! that is left, as long as there is another endpoint to ask ([`AttemptTimeout`]).

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use http::{HeaderName, HeaderValue};
use mediamesh_telemetry::{TraceScope, propagation};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field};

use super::balance::broken;
use super::call::{Call, Original};
use super::pool::Pool;
use super::verdict::Broken;
use crate::body::head_code;
use crate::deadline::{Deadline, GRPC_TIMEOUT, format_timeout};
use crate::policy::AttemptTimeout;
use crate::status::code_name;
use crate::{Response, status};

/// Attempts before this one; absent on the first. Source: gRFC A6.
static PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// Layer of [`Attempt`].
#[derive(Clone)]
pub(crate) struct AttemptLayer {
    pool: Arc<Pool>,
}

impl AttemptLayer {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { pool }
    }
}

impl<S> Layer<S> for AttemptLayer {
    type Service = Attempt<S>;

    fn layer(&self, inner: S) -> Attempt<S> {
        Attempt {
            inner,
            pool: Arc::clone(&self.pool),
        }
    }
}

/// Runs each attempt in a span of its own, which the server's span hangs from.
#[derive(Clone)]
pub(crate) struct Attempt<S> {
    inner: S,
    pool: Arc<Pool>,
}

impl<S> Service<Box<Call>> for Attempt<S>
where
    S: Service<Box<Call>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Box<Call>) -> Self::Future {
        let span = TraceScope::local(|| {
            tracing::info_span!(
                "rpc.attempt",
                otel.kind = "client",
                otel.status_code = field::Empty,
                rpc.system = "grpc",
                rpc.grpc.status_code = field::Empty,
                server.address = field::Empty,
                server.port = field::Empty,
                mediamesh.attempt = call.previous_attempts + 1,
                mediamesh.hedge = call.hedge,
                mediamesh.breaker = field::Empty,
                mediamesh.outcome = field::Empty,
            )
        });
        if let Some(span) = &span {
            propagation::inject_span(span, &mut call.head.headers);
        }
        if call.previous_attempts > 0 {
            call.head.headers.insert(
                PREVIOUS_ATTEMPTS.clone(),
                HeaderValue::from(call.previous_attempts),
            );
        }
        let limit = limit(&call.original, &self.pool);
        call.expires = limit.or(call.original.deadline);
        // What is left now, not what was left at the first attempt, which has its header already.
        if let Some(deadline) = call.expires
            && (limit.is_some() || call.previous_attempts > 0 || call.hedge)
        {
            call.head
                .headers
                .insert(&GRPC_TIMEOUT, format_timeout(deadline.remaining()));
        }
        let path = limit.map(|limit| (limit, call.path().to_owned()));
        let held = async move |running: S::Future| match path {
            None => running.await,
            Some((limit, path)) => held(running, limit, &path).await,
        };
        let Some(span) = span else {
            let running = self.inner.call(call);
            return match limit {
                None => Either::Left(running),
                Some(_) => Either::Right(held(running).boxed()),
            };
        };
        let running = span.in_scope(|| self.inner.call(call));
        let recorded = span.clone();
        let attempt = async move {
            let response = held(running).await?;
            note(&recorded, &response);
            Ok(response)
        };
        Either::Right(attempt.instrument(span).boxed())
    }
}

/// Waits for an attempt until `limit`.
pub(super) async fn held<F>(running: F, limit: Deadline, path: &str) -> F::Output
where
    F: Future<Output = Result<Response, Infallible>>,
{
    match tokio::time::timeout_at(limit.at(), running).await {
        Ok(response) => response,
        Err(_) => Ok(broken(status::deadline_exceeded(path), Broken::TimedOut)),
    }
}

/// Returns when an attempt is given up though its call has more time.
fn limit(original: &Original, pool: &Pool) -> Option<Deadline> {
    let own = match original.policy.attempt_timeout {
        AttemptTimeout::None => None,
        AttemptTimeout::After(limit) => Some(Deadline::after(limit)),
        // A hedged call has asked another long before.
        AttemptTimeout::Half if original.policy.hedging.is_some() => None,
        AttemptTimeout::Half => half_way(original, pool, 2),
    };
    // The call's own deadline is held to above.
    own.filter(|own| original.deadline.is_none_or(|call| *own < call))
}

/// Returns the middle of what the call has left, if it may be repeated then: the policy allows it, the
/// budget does, and so many endpoints were not asked yet. A server is given the time of `silence` at
/// least.
pub(super) fn half_way(original: &Original, pool: &Pool, untried: usize) -> Option<Deadline> {
    let half = original.deadline?.remaining() / 2;
    let repeats = original.policy.attempt_timeout == AttemptTimeout::Half
        && half >= pool.shared.policy.connection.silence
        && pool.throttle.allows()
        && pool.untried(original) >= untried;
    repeats.then(|| Deadline::after(half))
}

/// Notes on the span how the attempt ended.
fn note(span: &Span, response: &Response) {
    let Some(code) = head_code(response) else {
        span.record("mediamesh.outcome", "answered");
        return;
    };
    span.record("rpc.grpc.status_code", code as i32);
    if code != tonic::Code::Ok {
        span.record("otel.status_code", "ERROR");
    }
    let outcome = match response.extensions().get::<Broken>() {
        None => code_name(code),
        Some(Broken::NotStarted) => "refused",
        Some(Broken::Lost) => "connection lost",
        Some(Broken::TimedOut) => "attempt timed out",
        Some(Broken::Reset) => "stream reset",
        Some(Broken::Unreachable | Broken::NoEndpoint) => "no endpoint",
    };
    span.record("mediamesh.outcome", outcome);
}

#[cfg(test)]
mod tests;
