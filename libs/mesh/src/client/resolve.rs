//! Finds the service's slot at each call.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    starting: Arc<AtomicBool>,
}

impl Resolve {
    /// While it is `starting`, a service that is not there may still come.
    pub(crate) fn new(name: ServiceName, slot: Slot, starting: Arc<AtomicBool>) -> Self {
        Self {
            name,
            slot,
            starting,
        }
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
                let name = self.name.as_str();
                let status = match self.starting.load(Ordering::Acquire) {
                    true => status::starting_up(name),
                    false => status::not_registered(name),
                };
                futures::future::ready(Ok(status.into_http())).boxed()
            }
        }
    }
}
