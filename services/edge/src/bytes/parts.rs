//! The parts of a form, with limits on their number and on what lies between their contents.
//!
//! The multipart reader keeps everything up to the end of a part's headers in memory, however much
//! that is, and takes all that has arrived at once. Between it and the body stands a [`Gate`]: it
//! hands out a chunk at a time and breaks off when headers do not end.
//!
//! A form that is refused is read on for a moment through the second handle on its body.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::{FromRequest as _, Multipart, Request, multipart::Field},
};
use futures::Stream;
use mediamesh_transcode::runtime::Problem;

use crate::{Options, problem};

/// Most bytes before a part's content: boundary, headers and what stands before the first
/// boundary. Browsers send about 200.
pub(super) const MAX_HEADER_BYTES: u64 = 16 * 1024;

/// Most parts of a form: their results are the only thing kept in memory.
pub(super) const MAX_PARTS: usize = 10_000;

/// The parts of a form, one after another.
pub(super) struct Parts {
    form: Multipart,
    body: SharedBody,
    headers_left: Arc<AtomicU64>,
    seen: usize,
    /// Longest time for the headers of a part: that of one silence.
    patience: Duration,
}

impl Parts {
    /// Reads the beginning of a form.
    ///
    /// Errors: no form, or one without a boundary.
    pub(super) async fn of(request: Request, options: &Options) -> Result<Self, Box<Problem>> {
        let headers_left = Arc::new(AtomicU64::new(u64::MAX));
        let (parts, body) = request.into_parts();
        let body = SharedBody(Arc::new(Mutex::new(body.into_data_stream())));
        let gate = Body::from_stream(Gate {
            body: body.clone(),
            headers_left: Arc::clone(&headers_left),
            rest: false,
        });
        let form = Multipart::from_request(Request::from_parts(parts, gate), &())
            .await
            .map_err(|error| problem::invalid("body", error.body_text()))?;
        Ok(Self {
            form,
            body,
            headers_left,
            seen: 0,
            patience: options.idle_timeout(),
        })
    }

    /// The next part; the content of the one before must have been read or [`skip`]ped.
    ///
    /// Errors: a body that breaks off, is malformed or too slow, has more than
    /// [`MAX_HEADER_BYTES`] of headers, or more than [`MAX_PARTS`] parts.
    pub(super) async fn next(&mut self) -> Result<Option<Field<'_>>, Box<Problem>> {
        self.seen += 1;
        self.headers_left.store(MAX_HEADER_BYTES, Ordering::Relaxed);
        let field = tokio::time::timeout(self.patience, self.form.next_field()).await;
        self.headers_left.store(u64::MAX, Ordering::Relaxed);
        let field = field.map_err(|_| Problem::late_body())?;
        let field = field.map_err(|error| match over_limit(&error) {
            true => problem::invalid(
                "body",
                format!("headers of a part are over the limit of {MAX_HEADER_BYTES} bytes"),
            ),
            false => problem::unreadable_body(&error),
        })?;
        if field.is_some() && self.seen > MAX_PARTS {
            let rule = format!("form has more parts than the limit of {MAX_PARTS}");
            return Err(problem::invalid("body", rule).into());
        }
        Ok(field)
    }

    /// What has not been read yet.
    pub(super) fn into_body(self) -> SharedBody {
        self.body
    }
}

/// Reads the rest of a part and throws it away.
///
/// Errors: a body that breaks off, or a rest that is not there in time.
pub(super) async fn skip(field: &mut Field<'_>, options: &Options) -> Result<(), Box<Problem>> {
    let rest = async {
        while let Some(_unread) = field
            .chunk()
            .await
            .map_err(|error| problem::unreadable_body(&error))?
        {}
        Ok(())
    };
    // as long as any request may take: a trickle must not hold its slot for ever
    tokio::time::timeout(options.max_request_timeout(), rest)
        .await
        .unwrap_or_else(|_| Err(Problem::late_body().into()))
}

fn over_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        if error.is::<HeadersTooLong>() {
            return true;
        }
        at = error.source();
    }
    false
}

#[derive(Debug, thiserror::Error)]
#[error("headers of a part are too long")]
struct HeadersTooLong;

/// The body, for the reader of the form and for whoever throws the rest away.
#[derive(Clone)]
pub(super) struct SharedBody(Arc<Mutex<BodyDataStream>>);

impl Stream for SharedBody {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_next(cx)
    }
}

struct Gate {
    body: SharedBody,
    /// What may still come before a part's content begins.
    headers_left: Arc<AtomicU64>,
    /// A chunk was handed out just now: let it be looked at before there is another.
    rest: bool,
}

impl Stream for Gate {
    type Item = Result<Bytes, axum::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rest) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let left = self.headers_left.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Some(Err(HeadersTooLong.into())));
        }
        let chunk = match Pin::new(&mut self.body).poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => chunk,
            other => return other.map_err(Into::into),
        };
        if left != u64::MAX {
            let left = left.saturating_sub(chunk.len() as u64);
            self.headers_left.store(left, Ordering::Relaxed);
        }
        self.rest = true;
        Poll::Ready(Some(Ok(chunk)))
    }
}
