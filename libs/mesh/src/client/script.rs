//! A transport that answers by a script, for tests of the layers above it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{Status, body::Body};
use tower::Service;

use super::call::Call;
use super::pool::Pool;
use crate::policy::defaults;
use crate::{MethodTable, Policy, PolicyOptions, Request, Response};

/// A read that is hedged.
pub(super) const READ: &str = "/mediamesh.media.v1.MediaService/GetMediaItem";
/// A write that may not be made twice.
pub(super) const WRITE: &str = "/mediamesh.media.v1.ApiKeyService/CreateApiKey";

/// Answers the calls one after the other with what it was given, then OK.
#[derive(Clone)]
pub(super) struct Script {
    answers: Arc<Mutex<VecDeque<(Duration, Response)>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    running: Arc<AtomicUsize>,
    began: Instant,
}

/// A call as the transport saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Duration,
    pub(super) previous_attempts: u32,
}

impl Script {
    pub(super) fn new(answers: impl IntoIterator<Item = Response>) -> Self {
        Self::timed(answers.into_iter().map(|answer| (Duration::ZERO, answer)))
    }

    /// Each answer takes its time.
    pub(super) fn timed(answers: impl IntoIterator<Item = (Duration, Response)>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            seen: Arc::default(),
            running: Arc::default(),
            began: Instant::now(),
        }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Calls that were neither answered nor dropped.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Service<Box<Call>> for Script {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Box<Call>) -> Self::Future {
        self.seen.lock().push(Seen {
            at: self.began.elapsed(),
            previous_attempts: call.previous_attempts,
        });
        self.running.fetch_add(1, Ordering::AcqRel);
        let running = Running(Arc::clone(&self.running));
        let answer = self.answers.lock().pop_front();
        let (after, response) = answer.unwrap_or_else(|| (Duration::ZERO, ok()));
        async move {
            let _running = running;
            tokio::time::sleep(after).await;
            Ok(response)
        }
        .boxed()
    }
}

pub(super) fn policy() -> Policy {
    Policy::new(&PolicyOptions::default(), &MethodTable::of_contract())
}

pub(super) fn pool() -> Arc<Pool> {
    let metrics = mediamesh_telemetry::Metrics::new();
    Arc::new(Pool::new("test", defaults::CLIENT, &metrics, None))
}

pub(super) fn request(path: &str) -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().expect("a path of a method");
    request
}

pub(super) fn ok() -> Response {
    Response::new(Body::empty())
}

pub(super) fn failed(status: Status) -> Response {
    status.into_http()
}
