//! The one channel type.

use std::convert::Infallible;
use std::fmt;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tower::Service;

use crate::{BoxService, Request, Response};

/// Way to a service, in this process or another; generated clients are built on it:
/// `MediaServiceClient::new(channel)`. Clones are cheap and share everything.
///
/// Errors come as responses with a gRPC status, so calling it cannot fail.
#[derive(Clone)]
pub struct Channel {
    stack: BoxService,
}

impl Channel {
    pub(crate) fn new(stack: BoxService) -> Self {
        Self { stack }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl Service<Request> for Channel {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.stack.call(request)
    }
}
