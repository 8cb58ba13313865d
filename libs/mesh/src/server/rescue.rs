//! Turns panics, and errors nobody gave a shape, into INTERNAL with the trace id.
//!
//! The cause goes to the log under that id and never to the caller.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::CatchUnwind;
use http::HeaderMap;
use http::uri::PathAndQuery;
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use crate::body::{Ended, code, trailers};
use crate::method::path_of;
use crate::status::code_name;
use crate::{Request, Response, status};

/// Layer of [`Rescue`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct RescueLayer;

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Rescue<S> {
        Rescue { inner }
    }
}

/// Catches panics of the handler and of the body it returned.
#[derive(Debug, Clone)]
pub(crate) struct Rescue<S> {
    inner: S,
}

impl<S> Service<Request> for Rescue<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Rescued<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Rescued {
            path: path_of(&request),
            call: AssertUnwindSafe(self.inner.call(request)).catch_unwind(),
        }
    }
}

pin_project! {
    /// A call whose panics end it with INTERNAL.
    pub(crate) struct Rescued<F> {
        #[pin]
        call: CatchUnwind<AssertUnwindSafe<F>>,
        path: PathAndQuery,
    }
}

impl<F> Future for Rescued<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let response = match ready!(this.call.poll(cx)) {
            Ok(response) => response?,
            Err(panic) => {
                log_panic(this.path.path(), &*panic);
                return Poll::Ready(Ok(status::internal().into_http()));
            }
        };
        Poll::Ready(Ok(match reshape(this.path.path(), response.headers()) {
            Some(status) => status.into_http(),
            None => Caught::on(response, this.path),
        }))
    }
}

/// Returns whether a failure may say what is nobody's business.
fn is_unclear(code: Code) -> bool {
    matches!(code, Code::Unknown | Code::Internal)
}

/// Returns what a failure should say instead: INTERNAL with a trace id, and none of a text of
/// unknown origin. `None` if the headers or trailers are fine as they are.
fn reshape(path: &str, headers: &HeaderMap) -> Option<Status> {
    let code = code(headers)?;
    if !is_unclear(code) {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    let cause = status.message();
    tracing::error!(path, code = code_name(code), cause, "call failed");
    let ours = mediamesh_proto::status::reason_of(&status).is_some();
    Some(if ours {
        status::with_trace_id(&status)
    } else {
        status::internal()
    })
}

fn log_panic(path: &str, panic: &(dyn Any + Send)) {
    let cause = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text");
    tracing::error!(path, cause, "handler panicked");
}

/// A body whose panics end it with INTERNAL.
struct Caught {
    inner: Option<Body>,
    path: PathAndQuery,
}

impl Caught {
    fn on(response: Response, path: &PathAndQuery) -> Response {
        let well = Ended::of(&response).is_some_and(|ended| !is_unclear(ended.code));
        if well || response.body().is_end_stream() {
            return response;
        }
        response.map(|inner| {
            Body::new(Self {
                inner: Some(inner),
                path: path.clone(),
            })
        })
    }
}

impl http_body::Body for Caught {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx))) {
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                let status = frame
                    .trailers_ref()
                    .and_then(|trailers| reshape(self.path.path(), trailers));
                Poll::Ready(Some(Ok(status.map_or(frame, |status| trailers(&status)))))
            }
            Ok(polled) => polled,
            Err(panic) => {
                log_panic(self.path.path(), &*panic);
                self.inner = None;
                Poll::Ready(Some(Ok(trailers(&status::internal()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}
