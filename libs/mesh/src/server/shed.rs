//! Lets as many calls of a service run as it can bear, lets a few more wait, refuses the rest.
//!
//! `limit` finds out how many, `queue` keeps those who wait, `gate` puts both together.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tonic::Code;
use tower::{Layer, Service};

use super::gate::{Call, Place};
use super::limits::{Limiters, Target};
use crate::body::{Ended, Watch, head_code, hold};
use crate::priority::{self, Priority};
use crate::{Request, Response, status};

/// Layer of [`Shed`].
#[derive(Debug, Clone)]
pub(crate) struct ShedLayer {
    limiters: Limiters,
}

impl ShedLayer {
    pub(crate) fn new(limiters: Limiters) -> Self {
        Self { limiters }
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed {
            inner,
            limiters: self.limiters.clone(),
        }
    }
}

/// Answers UNAVAILABLE, reason LOAD_SHED, to calls it does not let in; those have not started.
///
/// Calls it lets in run at the priority of their header, and so do the calls they make.
#[derive(Debug, Clone)]
pub(crate) struct Shed<S> {
    inner: S,
    limiters: Limiters,
}

impl<S> Service<Request> for Shed<S>
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
        let Some(target) = self.limiters.of(request.uri().path()) else {
            return self.inner.call(request).boxed();
        };
        let priority = Priority::of(request.headers());
        // The readied service goes into the future, its clone waits for the next call.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        match priority {
            Priority::Interactive => run(inner, request, target, priority).boxed(),
            Priority::Background => {
                priority::scope(priority, run(inner, request, target, priority)).boxed()
            }
        }
    }
}

async fn run<S>(
    mut inner: S,
    request: Request,
    target: Target,
    priority: Priority,
) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let call = Call {
        priority,
        method: target.method,
        flow: target.flow,
    };
    let mut place = match target.gate.enter(call).await {
        Ok(place) => place,
        Err(refusal) => {
            let status = status::load_shed(target.gate.name, priority.as_str(), refusal.as_str());
            return Ok(status.into_http());
        }
    };
    let response = inner.call(request).await?;
    let code = head_code(&response);
    if matches!(code, None | Some(Code::Ok)) {
        place.head();
    }
    let small = Ended::of(&response).is_some_and(Ended::is_small);
    if code.is_some() || small {
        return Ok(response);
    }
    let held = Held {
        _place: place,
        priority,
    };
    Ok(hold(response, held))
}

/// Keeps the place until the response has ended: a streaming handler works while it is read, and
/// may make calls; a large answer takes memory until its reader has it.
struct Held {
    _place: Place,
    priority: Priority,
}

impl Watch for Held {
    fn around<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        match self.priority {
            Priority::Interactive => poll(),
            Priority::Background => priority::sync_scope(self.priority, poll),
        }
    }

    fn end(self, _code: Code) {}
}
