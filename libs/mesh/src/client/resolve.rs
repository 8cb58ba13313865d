//! Finds the service's slot at each call.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::{Service, ServiceExt as _};

use crate::registry::Slot;
use crate::{Request, Response, ServiceName, status};

/// Transport that is looked up when it is called.
#[derive(Clone)]
pub(crate) struct Resolve {
    name: ServiceName,
    slot: Slot,
}

impl Resolve {
    pub(crate) fn new(name: ServiceName, slot: Slot) -> Self {
        Self { name, slot }
    }
}

impl Service<Request> for Resolve {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let target = self.slot.load();
        match target.as_deref() {
            Some(target) => target.service().clone().oneshot(request).boxed(),
            None => {
                let response = status::starting_up(self.name.as_str()).into_http();
                futures::future::ready(Ok(response)).boxed()
            }
        }
    }
}
