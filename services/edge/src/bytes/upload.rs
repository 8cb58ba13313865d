//! One file as the raw body.

use std::sync::Arc;

use axum::{
    Json,
    body::BodyDataStream,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use futures::Stream;
use http::{HeaderMap, StatusCode, header, request::Parts};
use mediamesh_proto::media::v1::{
    UploadMediaMetadata, UploadMediaRequest, UploadMediaResponse, upload_media_request::Payload,
};
use mediamesh_transcode::runtime::{FieldError, Problem, problem::reason::UNSUPPORTED_MEDIA_TYPE};
use tonic::Code;

use super::{boolean, feed, form, media_type, query};
use crate::{Shared, problem, transcode};

const X_CONTENT_SHA256: &str = "x-content-sha256";

/// `POST /v1/mediaItems`.
pub(crate) async fn upload(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if media_type(request.headers()) == "multipart/form-data" {
        return form::upload(shared, request).await;
    }
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    match raw(&shared, &parts, &mut body).await {
        Ok(response) => response,
        Err(problem) => feed::refuse(&shared, &parts, *problem, &mut body).await,
    }
}

async fn raw(
    shared: &Shared,
    parts: &Parts,
    body: &mut BodyDataStream,
) -> Result<Response, Box<Problem>> {
    let metadata = metadata(shared, parts)?;
    let stored = store(shared, &parts.headers, metadata, body)
        .await
        .map_err(feed::Broken::into_problem)?;
    let status = if stored.duplicate_of.is_empty() {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let id = stored
        .media_item
        .as_ref()
        .map(|item| item.id.as_str())
        .unwrap_or_default();
    let location = format!("/v1/mediaItems/{id}");
    Ok((status, [(header::LOCATION, location)], Json(stored)).into_response())
}

/// Streams one file into the media service.
pub(super) async fn store<E: std::error::Error + 'static>(
    shared: &Shared,
    headers: &HeaderMap,
    metadata: UploadMediaMetadata,
    body: &mut (impl Stream<Item = Result<axum::body::Bytes, E>> + Unpin),
) -> Result<UploadMediaResponse, feed::Broken> {
    let (feed, messages) = feed::feed();
    let mut client = shared.media();
    let call = client.upload_media(transcode::with_identity(headers, Box::pin(messages)));
    let head = UploadMediaRequest {
        payload: Some(Payload::Metadata(metadata)),
    };
    let feeding = feed.send(head, body, shared.options.max_upload_bytes, |chunk| {
        UploadMediaRequest {
            payload: Some(Payload::Chunk(chunk)),
        }
    });
    feed::drive(call, feeding)
        .await
        .map_err(in_words_of_the_caller)
}

/// Names fields of the message as the parameters, form fields and headers that they came in.
fn in_words_of_the_caller(mut broken: feed::Broken) -> feed::Broken {
    let (feed::Broken::Body(problem) | feed::Broken::File(problem)) = &mut broken;
    let name = |text: &mut String| {
        if let Some(rest) = text.strip_prefix("metadata.") {
            *text = match rest.strip_prefix("sha256") {
                Some(rest) => format!("X-Content-SHA256{rest}"),
                None => rest.to_owned(),
            };
        }
    };
    name(&mut problem.detail);
    problem
        .errors
        .iter_mut()
        .for_each(|error| name(&mut error.field));
    broken
}

fn metadata(shared: &Shared, parts: &Parts) -> Result<UploadMediaMetadata, Box<Problem>> {
    let media_type = media_type(&parts.headers);
    if media_type == "application/json" {
        let detail = "content type is application/json; the file itself is expected";
        return Err(
            Problem::new(Code::InvalidArgument, UNSUPPORTED_MEDIA_TYPE, detail)
                .with("contentType", media_type)
                .into(),
        );
    }
    let mut metadata = UploadMediaMetadata::default();
    let mut errors = Vec::new();
    for (name, value) in query(&parts.uri)? {
        match name.as_str() {
            "displayName" | "display_name" => metadata.display_name = value,
            "folder" => metadata.folder = value,
            "tags" => metadata.tags.push(value),
            "caption" => metadata.caption = value,
            "background" => match boolean(&name, &value) {
                Ok(background) => metadata.background = background,
                Err(problem) => errors.extend(problem.errors),
            },
            _ => errors.push(FieldError {
                field: name,
                description: "unknown query parameter".to_owned(),
            }),
        }
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors).into());
    }
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    if let Some(hash) = header(X_CONTENT_SHA256) {
        metadata.sha256 = hash.to_ascii_lowercase();
    }
    let announced: Option<u64> =
        header(header::CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
    if let Some(size) = announced {
        let limit = shared.options.max_upload_bytes;
        if size > limit {
            return Err(problem::too_large(limit, Some(size)).into());
        }
        metadata.size_bytes = i64::try_from(size).unwrap_or(i64::MAX);
    }
    Ok(metadata)
}
