//! The time a call has left.
//!
//! The server stack runs each handler in the scope of its [`Deadline`]; the client stack reads it,
//! so a nested call never gets more time than its caller has left. A spawned task leaves the
//! scope: carry the value over with [`scope`] if the work should still end with the call.
//!
//! Source of the wire form: gRPC over HTTP/2, `Timeout`: at most 8 digits and a unit.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::{Instant, Sleep, Timeout, timeout_at};
use tonic::{Code, Status, body::Body};

use crate::body::{Ended, head_code, trailers};
use crate::{Response, status};

/// Header that carries a call's remaining time.
pub(crate) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

tokio::task_local! {
    static CURRENT: Deadline;
}

/// The moment at which a call's time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// Returns the deadline `duration` from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// Returns the deadline of the call this code works for, if it has one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|deadline| *deadline).ok()
    }

    /// Returns the time left; zero when it is up.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Returns whether the time is up.
    pub fn has_passed(self) -> bool {
        self.0 <= Instant::now()
    }

    /// Returns the moment itself.
    pub fn at(self) -> Instant {
        self.0
    }
}

/// Runs `work` so that calls it makes inherit `deadline`; it does not end the work.
pub fn scope<F: Future>(deadline: Deadline, work: F) -> TaskLocalFuture<Deadline, F> {
    CURRENT.scope(deadline, work)
}

/// Formats a timeout for the wire, rounding down: a callee must never outlive its caller.
pub(crate) fn format_timeout(timeout: Duration) -> HeaderValue {
    const LIMIT: u128 = 100_000_000;
    let text = if timeout.as_micros() < LIMIT {
        format!("{}u", timeout.as_micros())
    } else if timeout.as_millis() < LIMIT {
        format!("{}m", timeout.as_millis())
    } else {
        format!("{}S", u128::from(timeout.as_secs()).min(LIMIT - 1))
    };
    let mut value = HeaderValue::try_from(text).expect("digits and a letter are a header value");
    // No two calls say the same: kept in HPACK's table it would only push out what does repeat.
    value.set_sensitive(true);
    value
}

/// Reads the timeout of a request; one that does not parse counts as absent.
pub(crate) fn parse_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(&GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

pin_project! {
    /// A call that ends with DEADLINE_EXCEEDED when its time is up.
    #[project = TimedProjection]
    pub(crate) enum Timed<F> {
        /// It was late before it began.
        Late { path: PathAndQuery },
        /// It has until then.
        Until { #[pin] call: Timeout<F>, deadline: Deadline, path: PathAndQuery },
    }
}

impl<F: Future> Timed<F> {
    pub(crate) fn until(deadline: Deadline, path: PathAndQuery, call: F) -> Self {
        Self::Until {
            call: timeout_at(deadline.at(), call),
            deadline,
            path,
        }
    }
}

impl<F> Future for Timed<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let exceeded = |path: &PathAndQuery| status::deadline_exceeded(path.path()).into_http();
        Poll::Ready(Ok(match self.project() {
            TimedProjection::Late { path } => exceeded(path),
            TimedProjection::Until {
                call,
                deadline,
                path,
            } => match ready!(call.poll(cx)) {
                Err(_) => exceeded(path),
                Ok(response) => {
                    let response = response?;
                    // The server may notice first and, being tonic's own timer, call it CANCELLED.
                    match head_code(&response) == Some(Code::Cancelled) && deadline.has_passed() {
                        true => exceeded(path),
                        false => DeadlineBody::on(response, *deadline, path),
                    }
                }
            },
        }))
    }
}

/// A body that ends with DEADLINE_EXCEEDED when its time is up.
///
/// It polls the inner body in the deadline's scope, because a streaming handler goes on working
/// while its body is read.
pub(crate) struct DeadlineBody {
    inner: Option<Body>,
    deadline: Deadline,
    sleep: Pin<Box<Sleep>>,
    path: PathAndQuery,
}

impl DeadlineBody {
    fn on(response: Response, deadline: Deadline, path: &PathAndQuery) -> Response {
        if Ended::of(&response).is_some() || response.body().is_end_stream() {
            return response;
        }
        response.map(|inner| {
            Body::new(Self {
                inner: Some(inner),
                deadline,
                sleep: Box::pin(tokio::time::sleep_until(deadline.at())),
                path: path.clone(),
            })
        })
    }
}

impl http_body::Body for DeadlineBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) =
            CURRENT.sync_scope(this.deadline, || Pin::new(inner).poll_frame(cx))
        {
            return Poll::Ready(frame);
        }
        if this.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        // Dropping the inner body is what cancels the work behind it.
        this.inner = None;
        Poll::Ready(Some(Ok(trailers(&status::deadline_exceeded(
            this.path.path(),
        )))))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(&GRPC_TIMEOUT, HeaderValue::from_str(text).unwrap());
        parse_timeout(&headers)
    }

    #[test]
    fn timeouts_survive_the_wire_and_never_grow() {
        for timeout in [
            Duration::ZERO,
            Duration::from_nanos(1_500),
            Duration::from_secs(30),
            Duration::from_secs(3_600),
            Duration::from_secs(200_000),
            Duration::MAX,
        ] {
            let text = format_timeout(timeout);
            assert!(text.len() <= 9, "{text:?} has more than 8 digits");
            let read = parse(text.to_str().unwrap()).unwrap();
            assert!(read <= timeout, "{timeout:?} grew to {read:?}");
        }
        assert_eq!(parse("5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse("2H"), Some(Duration::from_secs(7_200)));
    }

    #[test]
    fn a_malformed_timeout_counts_as_absent() {
        for text in ["", "S", "5", "123456789S", "-5S", "+5S", "5s", "1.5S"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
