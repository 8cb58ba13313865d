//! A request's body without trailers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

/// Ends a body with its data: gRPC has no trailers of requests, and what a stranger puts there would
/// go on into the mesh.
#[derive(Debug)]
pub(super) struct DataOnly<B>(pub(super) B);

impl<B: Body + Unpin> Body for DataOnly<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.0)
            .poll_frame(cx)
            .map(|frame| frame.filter(|frame| frame.as_ref().map_or(true, Frame::is_data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::body::Bytes;
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn data_goes_on_and_trailers_stay() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-own", "1".repeat(100).parse().unwrap());
        let body =
            Full::new(Bytes::from_static(b"data")).with_trailers(async move { Some(Ok(trailers)) });
        let read = DataOnly(Box::pin(body)).collect().await.unwrap();
        assert!(read.trailers().is_none());
        assert_eq!(read.to_bytes(), "data");
    }
}
