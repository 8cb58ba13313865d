//! Waits until an answer can no longer turn into a failure that a retry would hide.
//!
//! The head of a response says OK before the message has come, and a peer may die in between. A
//! unary response is read to its end, which costs nothing: generated clients do so anyway. Of a
//! stream the first message is awaited; after it nothing is repeated.
//!
//! A server reads its unary answers to their end too, so that nobody above has to wait for it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tonic::{Code, Status, body::Body};

use crate::Response;
use crate::body::{Ended, code, head_code};
use crate::method::MethodKind;
use crate::policy::defaults::MAX_MESSAGE_BYTES;

/// Of a message on the wire: a flag and its length.
const PREFIX_BYTES: usize = 5;

/// The answer broke off: with the body's error, or without its trailers.
#[derive(Debug)]
pub(crate) struct Broke(pub(crate) Option<Status>);

/// Returns the response when it is settled.
///
/// Errors: the connection was lost before it was.
pub(crate) async fn settle(response: Response, kind: MethodKind) -> Result<Response, Broke> {
    if head_code(&response).is_some() {
        return Ok(response);
    }
    let (mut head, mut body) = response.into_parts();
    let mut frames = VecDeque::new();
    let one_message = matches!(kind, MethodKind::Unary | MethodKind::ClientStream);
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|status| Broke(Some(status)))?;
        let Some(trailers) = frame.trailers_ref() else {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            frames.push_back(frame);
            // More than a message may have: the decoder above refuses it without all of it.
            if one_message && bytes <= MAX_MESSAGE_BYTES + PREFIX_BYTES {
                continue;
            }
            return Ok(restore(head, frames, Some(body)));
        };
        if frames.is_empty() {
            // A failure with its status after the head: as if it had come in the head, so that
            // everyone above finds it in one place.
            head.headers.extend(trailers.clone());
            return Ok(Response::from_parts(head, Body::empty()));
        }
        let code = code(trailers).unwrap_or(Code::Unknown);
        head.extensions.insert(Ended { code, bytes });
        frames.push_back(frame);
        return Ok(restore(head, frames, None));
    }
    // The end of the body without trailers: the stream was cut.
    Err(Broke(None))
}

/// Returns a body of what is known whole. It tells no length: a `content-length` beside the one that
/// is in the message would be bytes for nothing.
pub(crate) fn whole(data: Bytes) -> Body {
    Body::new(Settled {
        frames: VecDeque::from([Frame::data(data)]),
        rest: None,
    })
}

fn restore(
    head: http::response::Parts,
    frames: VecDeque<Frame<Bytes>>,
    rest: Option<Body>,
) -> Response {
    Response::from_parts(head, Body::new(Settled { frames, rest }))
}

/// Frames that have come, then the rest.
struct Settled {
    frames: VecDeque<Frame<Bytes>>,
    rest: Option<Body>,
}

impl http_body::Body for Settled {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
            && self
                .rest
                .as_ref()
                .is_none_or(http_body::Body::is_end_stream)
    }

    // Never exact: who forwards the answer would make it a `content-length`, and cut off what follows
    // the last byte, the trailers.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::stream::{self, StreamExt as _};
    use http::HeaderMap;
    use http_body_util::StreamBody;

    use super::*;

    type Item = Result<Frame<Bytes>, Status>;

    fn data(bytes: usize) -> Item {
        Ok(Frame::data(Bytes::from(vec![7; bytes])))
    }

    fn trailers(code: &'static str) -> Item {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", code.parse().unwrap());
        headers.insert("x-kept", "yes".parse().unwrap());
        Ok(Frame::trailers(headers))
    }

    fn response(frames: Vec<Item>) -> Response {
        Response::new(Body::new(StreamBody::new(stream::iter(frames))))
    }

    #[tokio::test]
    async fn an_answer_of_one_message_is_whole_and_says_how_it_ended() {
        let answer = response(vec![data(10), data(5), trailers("0")]);
        let settled = settle(answer, MethodKind::Unary).await.unwrap();
        let ended = Ended::of(&settled).unwrap();
        assert_eq!((ended.code, ended.bytes), (Code::Ok, 15));
        let whole = settled.into_body().collect().await.unwrap();
        assert_eq!(whole.trailers().unwrap()["x-kept"], "yes");
        assert_eq!(whole.to_bytes().len(), 15);
    }

    #[tokio::test]
    async fn a_failure_after_the_head_is_as_one_in_the_head() {
        let settled = settle(response(vec![trailers("5")]), MethodKind::Unary).await;
        let settled = settled.unwrap();
        assert_eq!(head_code(&settled), Some(Code::NotFound));
        assert_eq!(settled.headers()["x-kept"], "yes");
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_none() {
        let cut = settle(response(vec![data(10)]), MethodKind::Unary).await;
        assert!(matches!(cut, Err(Broke(None))));
        let failed = vec![data(10), Err(Status::data_loss("x"))];
        let failed = settle(response(failed), MethodKind::Unary).await;
        assert!(matches!(failed, Err(Broke(Some(status))) if status.code() == Code::DataLoss));
    }

    #[tokio::test]
    async fn more_than_a_message_may_have_is_not_kept_but_handed_on() {
        let parts = 3 + MAX_MESSAGE_BYTES / (1 << 20);
        let frames = (0..parts).map(|_| data(1 << 20)).chain([trailers("0")]);
        let settled = settle(response(frames.collect()), MethodKind::Unary).await;
        let settled = settled.unwrap();
        assert!(Ended::of(&settled).is_none());
        let whole = settled.into_body().collect().await.unwrap();
        assert_eq!(whole.to_bytes().len(), parts << 20);
    }

    #[tokio::test]
    async fn of_a_stream_only_the_first_message_is_awaited() {
        let endless = stream::iter([data(10)]).chain(stream::pending());
        let answer = Response::new(Body::new(StreamBody::new(Box::pin(endless))));
        let settled = settle(answer, MethodKind::ServerStream).await.unwrap();
        assert!(Ended::of(&settled).is_none());
        let first = settled.into_body().frame().await.unwrap().unwrap();
        assert_eq!(first.data_ref().unwrap().len(), 10);
    }
}
