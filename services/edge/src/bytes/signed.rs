//! Addresses of ours that let whoever has them put one file or get one, without credentials.
//!
//! The media service signed them and judges them; what they allow is in their last part.

use std::sync::Arc;

use axum::{
    body::BodyDataStream,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use mediamesh_mesh::{
    Identity, MAX_MESSAGE_BYTES,
    identity::{self, Scope, Scopes, authenticator::X_API_KEY},
};
use mediamesh_proto::media::v1::{
    PutUploadHead, PutUploadRequest, ResolveDownloadUrlRequest,
    presign_service_client::PresignServiceClient, put_upload_request::Payload,
};
use mediamesh_transcode::runtime::Problem;

use super::{download, feed};
use crate::{Shared, problem};

fn client(shared: &Shared) -> PresignServiceClient<mediamesh_mesh::Channel> {
    PresignServiceClient::new(shared.deps.media.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// `PUT /v1/uploads/{token}`.
pub(crate) async fn put(
    State(shared): State<Arc<Shared>>,
    Path(token): Path<String>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    match store(&shared, &parts, token, &mut body).await {
        Ok(()) => StatusCode::CREATED.into_response(),
        Err(problem) => feed::refuse(&shared, &parts, *problem, &mut body).await,
    }
}

async fn store(
    shared: &Shared,
    parts: &Parts,
    token: String,
    body: &mut BodyDataStream,
) -> Result<(), Box<Problem>> {
    let text = |name: header::HeaderName| {
        let value = parts.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let size: Option<i64> = text(header::CONTENT_LENGTH).parse().ok();
    let limit = shared.options.max_upload_bytes;
    if let Some(size) = size.and_then(|size| u64::try_from(size).ok())
        && size > limit
    {
        return Err(problem::too_large(limit, Some(size)).into());
    }
    let head = PutUploadHead {
        token,
        size_bytes: size,
        content_type: text(header::CONTENT_TYPE).to_owned(),
    };
    let (feed, messages) = feed::feed();
    let mut client = client(shared);
    // nobody's credentials go along: the address is all there is
    let call = client.put_upload(tonic::Request::new(Box::pin(messages)));
    let head = PutUploadRequest {
        payload: Some(Payload::Head(head)),
    };
    let feeding = feed.send(head, body, limit, |chunk| PutUploadRequest {
        payload: Some(Payload::Chunk(chunk)),
    });
    let stored = feed::drive(call, feeding).await;
    stored.map(drop).map_err(feed::Broken::into_problem)
}

/// `GET /v1/signed/{token}`.
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    Path(token): Path<String>,
    mut request: Request,
) -> Response {
    // nobody's credentials go along, or they would be asked for as well
    for name in ["authorization", "cookie", X_API_KEY] {
        request.headers_mut().remove(name);
    }
    let asked = ResolveDownloadUrlRequest { token };
    let resolved = match client(&shared).resolve_download_url(asked).await {
        Ok(resolved) => resolved.into_inner(),
        Err(status) => {
            let (parts, _) = request.into_parts();
            return shared.answers.answer(Problem::from_status(&status), &parts);
        }
    };
    let reader = Identity {
        tenant_id: resolved.tenant_id.parse().unwrap_or_default(),
        subject: "signed address".to_owned(),
        scopes: Scopes::from_iter([Scope::Read]),
    };
    let object = download::Object {
        media_item_id: resolved.media_item_id,
        rendition: resolved.rendition,
    };
    let answer = download::answer(&shared, request, object);
    let mut response = identity::scope(reader, answer).await;
    // a cache between would go on answering when the address holds no more
    let no_store = HeaderValue::from_static("private, no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}
