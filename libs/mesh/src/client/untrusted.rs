//! Takes out of a peer's answer what generated clients cannot bear, and says what they would not.
//!
//! tonic panics on a `grpc-status-details-bin` that is no base64; a foreign server, or a proxy that mends
//! headers, must not be able to do that to us.

use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;

use super::verdict::{Broken, how};
use crate::{Response, status};

static DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// As tonic reads it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the answer of `service` with details that can be read, or none.
pub(crate) fn checked(response: http::Response<Incoming>, service: &'static str) -> Response {
    let mut response = response.map(|body| Body::new(Checked { body, service }));
    check(response.headers_mut());
    response
}

fn check(headers: &mut HeaderMap) {
    if let Some(details) = headers.get(&DETAILS)
        && BASE64.decode(details).is_err()
    {
        tracing::warn!("an answer has grpc-status-details-bin that is no base64");
        headers.remove(&DETAILS);
    }
}

struct Checked {
    body: Incoming,
    service: &'static str,
}

/// What to say of a body that broke off: tonic calls a lost connection UNKNOWN.
fn broke(error: hyper::Error, service: &'static str) -> Status {
    tracing::debug!(
        error = &error as &dyn std::error::Error,
        "an answer broke off"
    );
    match how(&error) {
        Broken::Reset => Status::from_error(Box::new(error)),
        _ => status::unreachable(service),
    }
}

impl http_body::Body for Checked {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let service = self.service;
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let mut polled = polled.map_err(|error| broke(error, service));
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            check(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tonic::Status;

    use super::*;

    fn with(details: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static("13"));
        headers.insert(&DETAILS, HeaderValue::from_static(details));
        headers
    }

    #[test]
    fn details_that_tonic_would_panic_on_are_taken_out() {
        for bad in ["!", "a", "YQ=!", "=="] {
            let mut headers = with(bad);
            check(&mut headers);
            assert!(Status::from_header_map(&headers).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn details_stay_with_padding_or_without() {
        for good in ["YQ", "YQ=="] {
            let mut headers = with(good);
            check(&mut headers);
            let status = Status::from_header_map(&headers);
            assert_eq!(status.map(|it| it.details().to_vec()), Some(b"a".to_vec()));
        }
    }
}
