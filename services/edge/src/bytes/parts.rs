//! The parts of a form, with a limit on what lies between their contents.
//!
//! The multipart reader keeps everything up to the end of a part's headers in memory, however much
//! that is, and takes all that has arrived at once. Between it and the body stands a [`Gate`]: it
//! hands out a chunk at a time and breaks off when headers do not end.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::{FromRequest as _, Multipart, Request, multipart::Field},
};
use futures::Stream;
use mediamesh_transcode::runtime::Problem;

use crate::problem;

/// Most bytes before a part's content: boundary, headers and what stands before the first
/// boundary. Browsers send about 200.
pub(super) const MAX_HEADER_BYTES: u64 = 16 * 1024;

/// The parts of a form, one after another.
pub(super) struct Parts {
    form: Multipart,
    headers_left: Arc<AtomicU64>,
}

impl Parts {
    /// Reads the beginning of a form.
    ///
    /// Errors: no form, or one without a boundary.
    pub(super) async fn of(request: Request) -> Result<Self, Box<Problem>> {
        let headers_left = Arc::new(AtomicU64::new(u64::MAX));
        let gate = |body: Body| {
            Body::from_stream(Gate {
                body: body.into_data_stream(),
                headers_left: Arc::clone(&headers_left),
                rest: false,
            })
        };
        let form = Multipart::from_request(request.map(gate), &())
            .await
            .map_err(|error| problem::invalid("body", error.body_text()))?;
        Ok(Self { form, headers_left })
    }

    /// The next part; the content of the one before must have been read or [`skip`]ped.
    ///
    /// Errors: a body that breaks off, is malformed, or has more than [`MAX_HEADER_BYTES`] of
    /// headers.
    pub(super) async fn next(&mut self) -> Result<Option<Field<'_>>, Box<Problem>> {
        self.headers_left.store(MAX_HEADER_BYTES, Ordering::Relaxed);
        let field = self.form.next_field().await;
        self.headers_left.store(u64::MAX, Ordering::Relaxed);
        field.map_err(|error| match over_limit(&error) {
            true => problem::invalid(
                "body",
                format!("headers of a part are over the limit of {MAX_HEADER_BYTES} bytes"),
            )
            .into(),
            false => problem::unreadable_body(&error).into(),
        })
    }
}

/// Reads the rest of a part and throws it away.
///
/// Errors: a body that breaks off.
pub(super) async fn skip(field: &mut Field<'_>) -> Result<(), Box<Problem>> {
    while let Some(_unread) = field
        .chunk()
        .await
        .map_err(|error| problem::unreadable_body(&error))?
    {}
    Ok(())
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

struct Gate {
    body: BodyDataStream,
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
