//! Downloads: info first, then chunks.

use std::sync::Arc;

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use mediamesh_proto::media::v1::{
    DownloadMediaInfo, DownloadMediaRequest, DownloadMediaResponse,
    download_media_response::Payload,
};
use tonic::{Request, Response, Status};

use crate::{convert::request, error::Error, service::Service};

/// Largest chunk of an answer, as the contract says.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) async fn download(
    service: &Arc<Service>,
    request: Request<DownloadMediaRequest>,
) -> Result<Response<BoxStream<'static, Result<DownloadMediaResponse, Status>>>, Status> {
    let tenant = request::tenant(&request)?;
    let open = service
        .download(tenant, request::download(request.into_inner())?)
        .await?;
    let info = DownloadMediaInfo {
        content_type: open.content_type,
        size_bytes: open.size_bytes,
        sha256: hex::encode(open.sha256),
        file_name: open.file_name,
        range_offset: open.range.start.cast_signed(),
        range_length: (open.range.end - open.range.start).cast_signed(),
    };
    let chunks = open.bytes.flat_map(|read| match read {
        Ok(bytes) => stream::iter(split(bytes))
            .map(|chunk| Ok(message(Payload::Chunk(chunk))))
            .boxed(),
        Err(error) => stream::iter([Err(Status::from(Error::from(error)))]).boxed(),
    });
    let first = stream::iter([Ok(message(Payload::Info(info)))]);
    Ok(Response::new(first.chain(chunks).boxed()))
}

fn message(payload: Payload) -> DownloadMediaResponse {
    DownloadMediaResponse {
        payload: Some(payload),
    }
}

/// Cuts bytes into chunks without copying them.
fn split(bytes: Bytes) -> impl Iterator<Item = Bytes> {
    let len = bytes.len();
    (0..len)
        .step_by(CHUNK_BYTES)
        .map(move |start| bytes.slice(start..len.min(start + CHUNK_BYTES)))
}
