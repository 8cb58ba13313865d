//! Sends an attempt to an endpoint of the pool and learns from how it ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Code;
use tower::Service;
use tracing::Span;

use super::breaker::{Permit, Signal};
use super::call::{Call, Original};
use super::connector::address_to;
use super::decaying::Tick;
use super::endpoint::{Endpoint, Live};
use super::pool::{Nowhere, Pick, Pool};
use super::untrusted::checked;
use super::verdict::{Broken, Verdict, how};
use crate::body::{self, Watch, head_code};
use crate::deadline::Deadline;
use crate::method::MethodKind;
use crate::settle::settle;
use crate::{Response, status};

/// The leaf of the client stack.
#[derive(Clone)]
pub(crate) struct Balance {
    pool: Arc<Pool>,
}

impl Balance {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { pool }
    }
}

impl Service<Box<Call>> for Balance {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // An endpoint is chosen in the call, where the deadline bounds the wait for one.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Box<Call>) -> Self::Future {
        send(Arc::clone(&self.pool), call).map(Ok).boxed()
    }
}

/// Marks an answer as made here, because the attempt ended so.
pub(crate) fn broken(status: tonic::Status, broken: Broken) -> Response {
    let mut response: Response = status.into_http();
    response.extensions_mut().insert(broken);
    response
}

fn nowhere(pool: &Pool, why: Nowhere) -> Response {
    let service = pool.shared.service;
    let status = match why {
        Nowhere::Unreachable => status::unreachable(service),
        Nowhere::Open(until) => status::circuit_open(service, until),
        Nowhere::Full => {
            status::endpoints_full(service, pool.shared.policy.connection.max_in_flight)
        }
    };
    let broke = match why {
        Nowhere::Unreachable => Broken::Unreachable,
        Nowhere::Open(_) | Nowhere::Full => Broken::NoEndpoint,
    };
    broken(status, broke)
}

async fn send(pool: Arc<Pool>, mut call: Box<Call>) -> Response {
    let policy = pool.shared.policy.connection;
    // A first attempt may wait for a connection; a later one knows what it waits for.
    let patience = match call.previous_attempts {
        0 => policy.connect_timeout,
        _ => policy.max_backoff,
    };
    let give_up = Instant::now() + patience;
    let (mut skip, mut seen) = (Vec::new(), None);
    // Most calls never wait: only those that do look out for changes.
    let mut changed: Option<watch::Receiver<()>> = None;
    loop {
        if let Some(changed) = &mut changed {
            changed.mark_unchanged();
        }
        match pool.pick(&call, &skip, &mut seen) {
            Pick::Endpoint(endpoint, permit) => {
                call.original.tried.add(&endpoint);
                let id = endpoint.id;
                match attempt(&pool, endpoint, permit, &mut call).await {
                    Some(response) => return response,
                    None => skip.push(id),
                }
            }
            Pick::Wait => {
                let Some(changed) = &mut changed else {
                    // What changed since the look is not missed: it is looked at once more, also at
                    // who turned the call away and may have a new connection.
                    changed = Some(pool.shared.changed.subscribe());
                    skip.clear();
                    continue;
                };
                let wait = tokio::time::timeout_at(give_up, changed.changed());
                if wait.await.is_err() {
                    return nowhere(&pool, Nowhere::Unreachable);
                }
                // Something moved: who turned the call away may have a new connection.
                skip.clear();
            }
            Pick::Nowhere(why) => return nowhere(&pool, why),
        }
    }
}

/// Returns `None` if the call never left this process: it is whole again then, an upload too.
async fn attempt(
    pool: &Pool,
    endpoint: Arc<Endpoint>,
    permit: Permit,
    call: &mut Call,
) -> Option<Response> {
    let span = Span::current();
    span.record("server.address", endpoint.address.host());
    span.record("server.port", endpoint.address.host_port().1);
    span.record(
        "mediamesh.breaker",
        match permit.is_probe() {
            true => "half_open",
            false => "closed",
        },
    );
    let live = endpoint.live()?;
    let kind = call.original.policy.method.kind;
    let repeatable = call.original.is_repeatable();
    let mut flight = Flight::start(endpoint, permit, call, &live);
    let request = call.open();
    let endpoint = Arc::clone(&flight.endpoint);
    let mut sender = live.sender.clone();
    let sent = sender.try_send_request(address_to(request, &endpoint.address));
    let answered = async {
        let response = match sent.await {
            Ok(response) => checked(response, pool.shared.service),
            Err(mut error) => {
                return match error.take_message() {
                    Some(request) => Err(request),
                    None => {
                        let error = error.into_error();
                        let how = how(&error);
                        tracing::debug!(
                            ?how,
                            error = &error as &dyn std::error::Error,
                            "attempt broke"
                        );
                        Ok(broken(status::unreachable(pool.shared.service), how))
                    }
                };
            }
        };
        flight.heard();
        // After its first message a stream is not repeated; before, an answer may still break off.
        match repeatable || matches!(kind, MethodKind::Unary | MethodKind::ClientStream) {
            true => Ok(settle(response, kind).await.unwrap_or_else(|_| {
                broken(status::unreachable(pool.shared.service), Broken::Lost)
            })),
            false => Ok(response),
        }
    };
    let outcome = tokio::select! {
        outcome = answered => outcome,
        // The peer hangs: what may be repeated is, if there is somebody else to ask.
        () = async {
            live.silent.cancelled().await;
            if !repeatable {
                std::future::pending::<()>().await;
            }
            let mut changed = pool.shared.changed.subscribe();
            while !pool.has_other(endpoint.id) && !endpoint.has_newer_than(&live) {
                let _ = changed.changed().await;
            }
        } => Ok(broken(status::unreachable(pool.shared.service), Broken::Lost)),
    };
    match outcome {
        Err(request) => {
            flight.unsent();
            call.close(request);
            None
        }
        Ok(response) => Some(flight.land(response)),
    }
}

/// A call that is out at an endpoint. Dropped, it was cancelled.
struct Flight {
    endpoint: Arc<Endpoint>,
    permit: Option<Permit>,
    started: Instant,
    /// When its load was counted in.
    counted: Tick,
    original: Arc<Original>,
    previous_attempts: u32,
    /// When it is given up.
    expires: Option<Deadline>,
    /// Kept as long as the call is on it: whoever watches the connection sees that somebody is.
    _live: Arc<Live>,
    /// How long the response took to begin.
    took: Option<Duration>,
}

impl Flight {
    fn start(endpoint: Arc<Endpoint>, permit: Permit, call: &Call, live: &Arc<Live>) -> Self {
        Self {
            counted: endpoint.load.start(),
            endpoint,
            permit: Some(permit),
            started: Instant::now(),
            original: Arc::clone(&call.original),
            previous_attempts: call.previous_attempts,
            expires: call.expires,
            _live: Arc::clone(live),
            took: None,
        }
    }

    /// Notes that the response has begun.
    fn heard(&mut self) {
        self.took = Some(self.started.elapsed());
        self.endpoint.load.respond();
    }

    /// Takes back a call that was not made.
    fn unsent(mut self) {
        // The permit's drop tells the breaker nothing.
        self.permit.take();
    }

    /// Judges the answer, and its end if that is still to come.
    fn land(mut self, response: Response) -> Response {
        let verdict = Verdict::of(&response);
        // Failing fast must not look like being fast.
        if verdict.signal == Signal::Success
            && let Some(took) = self.took
        {
            self.endpoint.load.observe(took);
        }
        let shared = &self.endpoint.shared;
        if head_code(&response).is_some() {
            shared.metrics.attempt(shared.service, verdict.code);
            self.signal(verdict.code, verdict.signal);
            return response;
        }
        // A stream may last for an hour; nobody else gets in until a probe is judged.
        if self.permit.as_ref().is_some_and(Permit::is_probe) {
            self.signal(verdict.code, verdict.signal);
        }
        body::watch(response, self)
    }

    /// Tells the breaker how the call ended. That its time was up, whoever says so, tells nothing of the
    /// endpoint if the time was short: that says more about the caller.
    fn signal(&mut self, code: Code, signal: Signal) {
        let silence = self.endpoint.shared.policy.connection.silence;
        let signal = match code {
            Code::DeadlineExceeded if self.started.elapsed() < silence => Signal::Neutral,
            _ => signal,
        };
        let transition = self.permit.take().and_then(|permit| permit.record(signal));
        if let Some(transition) = transition {
            self.endpoint.tell(transition);
        }
    }
}

impl Watch for Flight {
    fn end(mut self, code: Code) {
        let shared = &self.endpoint.shared;
        shared.metrics.attempt(shared.service, code);
        self.signal(code, Verdict::of_end(code));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.endpoint.load.end(self.counted, self.took.is_some());
        if self.permit.is_none() {
            return;
        }
        // Given up while it waited, for the head or for what was to follow at once: the answer would have
        // taken at least this long.
        let waited = self.started.elapsed();
        self.endpoint.load.waited(waited);
        let shared = &self.endpoint.shared;
        let timed_out = self.expires.is_some_and(Deadline::has_passed)
            || self.original.has_given_up(self.previous_attempts);
        let code = match timed_out {
            true => Code::DeadlineExceeded,
            false => Code::Cancelled,
        };
        shared.metrics.attempt(shared.service, code);
        if timed_out {
            self.signal(code, Signal::SoftFailure);
        }
    }
}
