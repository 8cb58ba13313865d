//! Sends the priority of the work that calls.

use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::{Request, priority};

/// Layer of [`ClientPriority`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientPriorityLayer;

impl<S> Layer<S> for ClientPriorityLayer {
    type Service = ClientPriority<S>;

    fn layer(&self, inner: S) -> ClientPriority<S> {
        ClientPriority { inner }
    }
}

/// Writes `mediamesh-priority` into calls made for background work.
#[derive(Debug, Clone)]
pub(crate) struct ClientPriority<S> {
    inner: S,
}

impl<S: Service<Request>> Service<Request> for ClientPriority<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        priority::inherit(request.headers_mut());
        self.inner.call(request)
    }
}
