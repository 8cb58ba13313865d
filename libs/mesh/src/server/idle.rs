//! Ends streams whose client has gone quiet, and large answers that nobody reads.
//!
//! A client that reads nothing is noticed by nobody: the transport asks for the next message only once
//! there is room for it, so no timer inside the stream is looked at. A task outside takes the stream
//! away after `mesh.stream_idle_ms`, and with it its place, its memory and its files.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::body::{Ended, head_code};
use crate::method::MethodKind;
use crate::policy::Policy;
use crate::{Request, Response, status};

/// Layer of [`Idle`].
#[derive(Debug, Clone)]
pub(crate) struct IdleLayer {
    policy: Policy,
    limit: Duration,
}

impl IdleLayer {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            limit: policy.stream_idle(),
            policy,
        }
    }
}

impl<S> Layer<S> for IdleLayer {
    type Service = Idle<S>;

    fn layer(&self, inner: S) -> Idle<S> {
        Idle {
            inner,
            layer: self.clone(),
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Idle<S> {
    inner: S,
    layer: IdleLayer,
}

impl<S> Service<Request> for Idle<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Idling<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let kind = self.layer.policy.method(request.uri().path()).method.kind;
        let limit = self.layer.limit;
        let sends = matches!(kind, MethodKind::ClientStream | MethodKind::Bidi);
        let answers = matches!(kind, MethodKind::ServerStream | MethodKind::Bidi);
        let request = match sends {
            true => request.map(|body| Body::new(Sent::new(body, limit))),
            false => request,
        };
        Idling {
            call: self.inner.call(request),
            answers,
            limit,
        }
    }
}

pin_project! {
    /// A call whose answer must be read.
    pub(crate) struct Idling<F> {
        #[pin]
        call: F,
        answers: bool,
        limit: Duration,
    }
}

impl<F> Future for Idling<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let response = ready!(this.call.poll(cx))?;
        // A small answer of one message holds nothing.
        let holds = Ended::of(&response).map_or(*this.answers, |ended| !ended.is_small());
        Poll::Ready(Ok(match head_code(&response) {
            None if holds => response.map(|body| Read::watched(body, *this.limit)),
            _ => response,
        }))
    }
}

/// A request whose client must send something now and then.
struct Sent {
    inner: Body,
    limit: Duration,
    quiet: Pin<Box<Sleep>>,
}

impl Sent {
    fn new(inner: Body, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            quiet: Box::pin(tokio::time::sleep(limit)),
        }
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let limit = self.limit;
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            self.quiet.as_mut().reset(Instant::now() + limit);
            return Poll::Ready(frame);
        }
        ready!(self.quiet.as_mut().poll(cx));
        Poll::Ready(Some(Err(status::stream_idle(limit))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response whose client must read something now and then.
struct Read {
    stream: Arc<Mutex<Stream>>,
    limit: Duration,
}

struct Stream {
    /// `None` once it was taken away.
    body: Option<Body>,
    /// When its client took the last message; `None` while it is the client that waits.
    taken: Option<Instant>,
}

impl Read {
    fn watched(body: Body, limit: Duration) -> Body {
        let stream = Arc::new(Mutex::new(Stream {
            body: Some(body),
            taken: Some(Instant::now()),
        }));
        tokio::spawn(watch(Arc::downgrade(&stream), limit));
        Body::new(Self { stream, limit })
    }
}

/// Takes the stream away when nothing was read of it for `limit`.
async fn watch(stream: Weak<Mutex<Stream>>, limit: Duration) {
    let mut due = Instant::now() + limit;
    loop {
        tokio::time::sleep_until(due).await;
        let Some(stream) = stream.upgrade() else {
            return;
        };
        let taken = {
            let mut stream = stream.lock();
            let now = Instant::now();
            due = stream.taken.unwrap_or(now) + limit;
            match due <= now {
                true => stream.body.take(),
                false => continue,
            }
        };
        tracing::debug!(?limit, "stream ended: its client read nothing");
        drop(taken);
        return;
    }
}

impl http_body::Body for Read {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut stream = self.stream.lock();
        let Some(body) = &mut stream.body else {
            return Poll::Ready(Some(Err(status::stream_idle(self.limit))));
        };
        let frame = Pin::new(body).poll_frame(cx);
        stream.taken = frame.is_ready().then(Instant::now);
        frame
    }

    fn is_end_stream(&self) -> bool {
        let stream = self.stream.lock();
        stream.body.as_ref().is_some_and(Body::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Notes when the stream it is in was dropped.
    struct Noted(Arc<AtomicBool>);

    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// Answers a message every `every`.
    fn messages(every: Duration) -> (Body, Arc<AtomicBool>) {
        let dropped = Arc::new(AtomicBool::new(false));
        let noted = Noted(Arc::clone(&dropped));
        let frames = futures::stream::unfold(noted, move |noted| async move {
            tokio::time::sleep(every).await;
            Some((
                Ok::<_, Status>(Frame::data(Bytes::from_static(b"x"))),
                noted,
            ))
        });
        (Body::new(StreamBody::new(Box::pin(frames))), dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_nobody_reads_is_taken_away() {
        let (body, dropped) = messages(Duration::ZERO);
        let mut body = Read::watched(body, LIMIT);
        body.frame().await.unwrap().unwrap();
        tokio::time::sleep(LIMIT / 2).await;
        body.frame().await.unwrap().unwrap();
        tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
        assert!(!dropped.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(dropped.load(Ordering::SeqCst), "it holds nothing any more");
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_rare_messages_is_not_idle() {
        let (body, _) = messages(LIMIT * 3);
        let mut body = Read::watched(body, LIMIT);
        for _ in 0..3 {
            body.frame().await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_is_given_up() {
        let (body, _) = messages(LIMIT * 2);
        let error = Sent::new(body, LIMIT).frame().await.unwrap().unwrap_err();
        assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
        let (body, _) = messages(LIMIT / 2);
        let mut body = Sent::new(body, LIMIT);
        for _ in 0..5 {
            body.frame().await.unwrap().unwrap();
        }
    }
}
