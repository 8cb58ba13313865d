//! A client-streaming call fed from a request body.
//!
//! The body is read only as fast as the service takes it: a bounded channel lies between. When the
//! client goes away the call is dropped, which cancels it; its stream never ends as if all had
//! been sent, because a short file must not be stored as a whole one.

use std::{future::pending, pin::pin, time::Duration};

use axum::{body::Bytes, response::Response};
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Version, header, request::Parts};
use mediamesh_transcode::runtime::Problem;
use tokio::sync::mpsc;
use tonic::Status;

use crate::{Shared, problem};

/// Largest chunk of one message, in bytes: what the protos allow.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// Messages between body and call: 256 KiB keep both sides busy without filling memory.
const QUEUE_MESSAGES: usize = 4;

/// Most that is read and thrown away after a refusal, in bytes, and for how long.
const DISCARD_BYTES: usize = 4 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Answers a problem while the client may still be sending.
pub(super) async fn refuse<E>(
    shared: &Shared,
    parts: &Parts,
    problem: Problem,
    body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
) -> Response {
    let ended = discard(body).await;
    let mut response = shared.answers.answer(problem, parts);
    if !ended && parts.version < Version::HTTP_2 {
        // Said aloud, so that no client sends its next request into a closing connection.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

/// Reads on for a moment after a refusal: a client that is still sending would otherwise find its
/// connection reset before it has read the answer. Source: RFC 9112, section 9.6.
///
/// Returns whether the body ended; if not, the connection cannot be used again.
async fn discard<E>(body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin)) -> bool {
    let drain = async {
        let mut left = DISCARD_BYTES;
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return false;
            }
        }
        true
    };
    // Whoever sends more, or more slowly, gets the reset.
    tokio::time::timeout(DISCARD_TIME, drain)
        .await
        .unwrap_or(false)
}

enum Piece<M> {
    Message(M),
    End,
}

/// The sending end of a call's stream.
pub(crate) struct Feed<M> {
    sender: mpsc::Sender<Piece<M>>,
}

/// Why a body was not sent to its end.
pub(crate) enum Broken {
    /// The body itself cannot be read any further.
    Body(Box<Problem>),
    /// Only what was being sent is at fault.
    File(Box<Problem>),
}

/// Returns both ends of a call's stream.
pub(crate) fn feed<M>() -> (Feed<M>, impl Stream<Item = M>) {
    let (sender, receiver) = mpsc::channel(QUEUE_MESSAGES);
    let messages = stream::unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Some(Piece::Message(message)) => Some((message, receiver)),
            Some(Piece::End) => None,
            // the sender is gone before the end: whoever reads this is about to be cancelled
            None => pending().await,
        }
    });
    (Feed { sender }, messages)
}

impl<M> Feed<M> {
    /// Sends `head`, then `body` in chunks, then the end.
    ///
    /// Stops without error when nobody listens any more: the call has its answer then.
    /// Errors: a body that breaks off, or is over `limit` bytes.
    pub(crate) async fn send<E: std::error::Error + 'static>(
        &self,
        head: M,
        body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
        limit: u64,
        wrap: fn(Bytes) -> M,
    ) -> Result<(), Broken> {
        if self.sender.send(Piece::Message(head)).await.is_err() {
            return Ok(());
        }
        let mut sent = 0_u64;
        while let Some(part) = body.next().await {
            let mut part =
                part.map_err(|error| Broken::Body(problem::unreadable_body(&error).into()))?;
            sent += part.len() as u64;
            if sent > limit {
                return Err(Broken::File(problem::too_large(limit, None).into()));
            }
            while !part.is_empty() {
                let chunk = part.split_to(part.len().min(CHUNK_BYTES));
                if self.sender.send(Piece::Message(wrap(chunk))).await.is_err() {
                    return Ok(());
                }
            }
        }
        // no receiver means no need
        self.sender.send(Piece::End).await.ok();
        Ok(())
    }
}

/// Runs a call and what feeds it; the call is dropped, so cancelled, when feeding breaks.
///
/// A service that answers before the end, with a refusal, is heard at once.
pub(crate) async fn drive<R>(
    call: impl Future<Output = Result<tonic::Response<R>, Status>>,
    feeding: impl Future<Output = Result<(), Broken>>,
) -> Result<R, Broken> {
    let mut call = pin!(call);
    let mut feeding = pin!(feeding);
    let answer = tokio::select! {
        biased;
        answer = &mut call => answer,
        fed = &mut feeding => {
            fed?;
            call.await
        }
    };
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| Broken::File(Problem::from_status(&status).into()))
}

impl Broken {
    /// The problem, whatever it is about.
    pub(crate) fn into_problem(self) -> Box<Problem> {
        match self {
            Self::Body(problem) | Self::File(problem) => problem,
        }
    }
}
