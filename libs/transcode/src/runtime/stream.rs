//! Server streams as NDJSON or SSE.
//!
//! States: *head* (nothing sent; an early failure is still an ordinary error answer), *running*
//! (one record per message, pulled only when the client has room), *over*. The end is always
//! visible: NDJSON closes after the last record or after `{"error":{...}}`; SSE sends
//! `event: end` or `event: error`. Dropping the body cancels the call.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{header, request::Parts};
use serde::Serialize;
use tonic::{Code, Status};

use super::{FieldError, Options, Problem, params, problem::reason};

/// How long headers wait for the first message, so that a call that fails at once is answered
/// with its own HTTP status. Longer would delay the `open` event of a quiet stream.
const HEAD_WAIT: Duration = Duration::from_millis(50);

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Ndjson,
    Sse,
}

impl Format {
    /// Chooses by `?alt=`, then by `Accept`, else NDJSON.
    pub(crate) fn negotiate(parts: &Parts) -> Result<Self, Box<Problem>> {
        match params::alt(&parts.uri).as_deref() {
            Some("ndjson") => return Ok(Self::Ndjson),
            Some("sse") => return Ok(Self::Sse),
            Some(other) => {
                return Err(Problem::invalid(vec![FieldError {
                    field: "alt".to_owned(),
                    description: format!("{other:?} is not one of ndjson, sse"),
                }])
                .into());
            }
            None => {}
        }
        let accepts_events = parts
            .headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.to_ascii_lowercase().contains("text/event-stream"));
        Ok(if accepts_events {
            Self::Sse
        } else {
            Self::Ndjson
        })
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Sse => "text/event-stream",
        }
    }

    fn record(self, value: &impl Serialize) -> Result<Bytes, serde_json::Error> {
        let mut line = match self {
            Self::Ndjson => Vec::with_capacity(256),
            Self::Sse => b"data: ".to_vec(),
        };
        serde_json::to_writer(&mut line, value)?;
        line.extend_from_slice(match self {
            Self::Ndjson => b"\n",
            Self::Sse => b"\n\n",
        });
        Ok(line.into())
    }

    fn error(self, problem: &Problem) -> Bytes {
        let json = serde_json::to_string(problem).expect("strings and numbers always serialise");
        Bytes::from(match self {
            Self::Ndjson => format!("{{\"error\":{json}}}\n"),
            Self::Sse => format!("event: error\ndata: {json}\n\n"),
        })
    }

    fn end(self) -> Option<Bytes> {
        match self {
            Self::Ndjson => None,
            Self::Sse => Some(Bytes::from_static(b"event: end\ndata: {}\n\n")),
        }
    }
}

/// A stream in its *running* state.
struct Running<S, R, V> {
    first: Option<Option<Result<R, Status>>>,
    messages: S,
    pick: fn(R) -> V,
    format: Format,
    parts: Parts,
    options: Options,
}

/// Returns the body of a stream of messages.
///
/// Errors: the problem of a stream that fails before its first message.
pub(crate) async fn body<S, R, V>(
    mut messages: S,
    pick: fn(R) -> V,
    format: Format,
    parts: Parts,
    options: Options,
) -> Result<Body, (Problem, Parts)>
where
    S: Stream<Item = Result<R, Status>> + Send + Unpin + 'static,
    R: Send + 'static,
    V: Serialize + 'static,
{
    let first = tokio::time::timeout(HEAD_WAIT, messages.next()).await.ok();
    if let Some(Some(Err(status))) = &first {
        return Err((Problem::from_status(status), parts));
    }
    let running = Running {
        first,
        messages,
        pick,
        format,
        parts,
        options,
    };
    let records = stream::unfold(Some(running), |state| async {
        let (record, state) = step(state?).await;
        Some((Ok::<_, std::convert::Infallible>(record?), state))
    });
    Ok(Body::from_stream(records))
}

/// Returns the next record, if there is one, and the state unless that was the last.
async fn step<S, R, V>(mut running: Running<S, R, V>) -> (Option<Bytes>, Option<Running<S, R, V>>)
where
    S: Stream<Item = Result<R, Status>> + Send + Unpin,
    V: Serialize,
{
    let format = running.format;
    let next = match running.first.take() {
        Some(first) => first,
        None if format == Format::Sse => {
            let wait = running.options.keep_alive;
            match tokio::time::timeout(wait, running.messages.next()).await {
                Ok(next) => next,
                Err(_) => return (Some(Bytes::from_static(b": keep-alive\n\n")), Some(running)),
            }
        }
        None => running.messages.next().await,
    };
    let problem = match next {
        Some(Ok(message)) => match format.record(&(running.pick)(message)) {
            Ok(record) => return (Some(record), Some(running)),
            Err(error) => Problem::new(
                Code::Internal,
                reason::INTERNAL,
                format!("record cannot be written as JSON: {error}"),
            ),
        },
        Some(Err(status)) => Problem::from_status(&status),
        None => return (format.end(), None),
    };
    let problem = running.options.finish(problem, &running.parts);
    (Some(format.error(&problem)), None)
}

/// Returns the body of a stream of plain bytes; an error ends it abnormally.
pub(crate) fn bytes<S, R, D>(head: Bytes, messages: S, pick: fn(R) -> (String, D)) -> Body
where
    S: Stream<Item = Result<R, Status>> + Send + 'static,
    R: 'static,
    D: Into<Bytes> + 'static,
{
    let rest = messages.map(move |message| message.map(|message| pick(message).1.into()));
    Body::from_stream(stream::once(async { Ok(head) }).chain(rest))
}
