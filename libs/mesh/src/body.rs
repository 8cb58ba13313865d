//! Body wrappers: who must know how a response ended, or hold something until it has.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status, body::Body};

use crate::Response;
use crate::policy::defaults::SMALL_ANSWER_BYTES;

/// Header or trailer with the code of an answer. A name that is parsed once, not at each look.
pub(crate) static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Extension of a response whose body was read to its end already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) code: Code,
    /// Bytes of its message.
    pub(crate) bytes: usize,
}

impl Ended {
    pub(crate) fn of(response: &Response) -> Option<Self> {
        response.extensions().get().copied()
    }

    /// Returns whether nobody needs to wait for a reader of it.
    pub(crate) fn is_small(self) -> bool {
        self.bytes <= SMALL_ANSWER_BYTES
    }
}

/// What watches a response until its end.
pub(crate) trait Watch: Send + Unpin + 'static {
    /// Runs around each poll of the call and of the body, e.g. to enter a span.
    fn around<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        poll()
    }

    /// Called once with the final code; CANCELLED if the response was dropped before its end.
    fn end(self, code: Code);
}

/// Lets `watch` follow `response` to its end.
pub(crate) fn watch<W: Watch>(response: Response, watch: W) -> Response {
    let ended = Ended::of(&response).map(|ended| ended.code);
    if let Some(code) = ended.or_else(|| head_code(&response)) {
        watch.end(code);
        return response;
    }
    hold(response, watch)
}

/// Lets `watch` follow `response` until whoever reads it has the last of it.
pub(crate) fn hold<W: Watch>(response: Response, watch: W) -> Response {
    response.map(|inner| {
        if inner.is_end_stream() {
            watch.end(Code::Unknown);
            return inner;
        }
        Body::new(Watched {
            inner,
            watch: Some(watch),
        })
    })
}

/// Returns the code of a response that ends with its head ("trailers-only").
pub(crate) fn head_code(response: &Response) -> Option<Code> {
    code(response.headers()).or_else(|| {
        // Not a gRPC answer at all, e.g. a proxy's 502.
        (!response.status().is_success()).then_some(Code::Unknown)
    })
}

/// Returns the code that a head or trailers say.
pub(crate) fn code(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(&GRPC_STATUS)
        .map(|value| Code::from_bytes(value.as_bytes()))
}

/// Returns a final frame that carries `status`.
pub(crate) fn trailers(status: &Status) -> Frame<Bytes> {
    let mut headers = HeaderMap::with_capacity(4);
    if status.add_header(&mut headers).is_err() {
        headers.insert(&GRPC_STATUS, http::HeaderValue::from_static("13"));
    }
    Frame::trailers(headers)
}

pin_project! {
    /// A call, and what watches it and its response.
    pub(crate) struct Watching<F, W>
    where
        W: Watch,
    {
        // `None` once it has ended, and when it is dropped before: that too is watched.
        #[pin]
        call: Option<F>,
        watch: Option<W>,
    }

    impl<F, W> PinnedDrop for Watching<F, W>
    where
        W: Watch,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(watcher) = this.watch {
                watcher.around(|| this.call.set(None));
            }
        }
    }
}

impl<F, W: Watch> Watching<F, W> {
    pub(crate) fn new(call: F, watch: W) -> Self {
        Self {
            call: Some(call),
            watch: Some(watch),
        }
    }
}

impl<F, W> Future for Watching<F, W>
where
    F: Future<Output = Result<Response, Infallible>>,
    W: Watch,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let (Some(watcher), Some(call)) = (&mut *this.watch, this.call.as_mut().as_pin_mut())
        else {
            panic!("a call is not polled after its end");
        };
        let response = ready!(watcher.around(|| call.poll(cx)))?;
        this.call.set(None);
        Poll::Ready(Ok(match this.watch.take() {
            Some(watcher) => watch(response, watcher),
            None => response,
        }))
    }
}

struct Watched<W: Watch> {
    inner: Body,
    watch: Option<W>,
}

impl<W: Watch> Watched<W> {
    fn end(&mut self, code: Code) {
        if let Some(watch) = self.watch.take() {
            watch.end(code);
        }
    }
}

impl<W: Watch> http_body::Body for Watched<W> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let inner = Pin::new(&mut this.inner);
        let polled = match &mut this.watch {
            Some(watch) => watch.around(|| inner.poll_frame(cx)),
            None => inner.poll_frame(cx),
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.end(code(trailers).unwrap_or(Code::Unknown));
                }
            }
            Poll::Ready(Some(Err(status))) => this.end(status.code()),
            Poll::Ready(None) => this.end(Code::Unknown),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<W: Watch> Drop for Watched<W> {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}
