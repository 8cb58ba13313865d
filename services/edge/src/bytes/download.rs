//! Originals and renditions, with conditions and ranges.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Request, State},
    response::Response,
};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use mediamesh_proto::media::v1::{
    DownloadMediaInfo, DownloadMediaRequest, DownloadMediaResponse,
    download_media_response::Payload,
};
use mediamesh_transcode::runtime::{Problem, condition};
use tonic::Streaming;

use super::{boolean, disposition, query, range::Range};
use crate::{Shared, cache_table, layer::conditional::Conditions, problem, transcode};

/// Bytes of users are shown, never run: not even if a type slips through.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; sandbox";

/// Least hash digits in `v`; the media service writes 12.
const MIN_VERSION_DIGITS: usize = 8;

/// What is asked for.
pub(super) struct Object {
    pub(super) media_item_id: String,
    /// Empty for the original.
    pub(super) rendition: String,
}

/// `GET /v1/mediaItems/{id}/content`.
pub(crate) async fn content(
    State(shared): State<Arc<Shared>>,
    Path(media_item_id): Path<String>,
    request: Request,
) -> Response {
    answer(
        &shared,
        request,
        Object {
            media_item_id,
            rendition: String::new(),
        },
    )
    .await
}

/// `GET /v1/mediaItems/{id}/renditions/{name}`.
pub(crate) async fn rendition(
    State(shared): State<Arc<Shared>>,
    Path((media_item_id, rendition)): Path<(String, String)>,
    request: Request,
) -> Response {
    answer(
        &shared,
        request,
        Object {
            media_item_id,
            rendition,
        },
    )
    .await
}

pub(super) async fn answer(shared: &Shared, request: Request, object: Object) -> Response {
    let (parts, _) = request.into_parts();
    let problem = match download(shared, &parts, &object).await {
        Ok(response) => return response,
        Err(problem) => problem,
    };
    let size = problem
        .metadata
        .get("sizeBytes")
        .map(|size| format!("bytes */{size}"));
    let mut response = shared.answers.answer(*problem, &parts);
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE
        && let Some(value) = size.and_then(|size| HeaderValue::try_from(size).ok())
    {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

async fn download(
    shared: &Shared,
    parts: &Parts,
    object: &Object,
) -> Result<Response, Box<Problem>> {
    let asked = Asked::read(parts)?;
    // a range needs the size first, and HEAD nothing else: one byte is asked for and not taken
    let peek = u64::from(asked.range.is_some() || asked.head);
    let (mut info, mut bytes) = open(shared, parts, object, (0, peek)).await?;
    let etag = format!("\"{}\"", info.sha256);
    let conditions = Conditions::read(&parts.headers);
    if conditions.fails(&etag) {
        return Err(condition::mismatch("If-Match does not name these bytes").into());
    }
    if conditions.knows(&etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        validators(response.headers_mut(), &info, &asked)?;
        return Ok(response);
    }
    let mut status = StatusCode::OK;
    if let Some(range) = asked.range {
        let size = size(&info);
        if asked.if_range.as_ref().is_none_or(|tag| *tag == etag) {
            let Some(wanted) = range.resolve(size) else {
                return Err(problem::range_not_satisfiable(size).into());
            };
            let known = info.sha256.clone();
            (info, bytes) = open(shared, parts, object, wanted).await?;
            status = StatusCode::PARTIAL_CONTENT;
            // replaced between the two calls: parts of two bodies must not be joined
            if info.sha256 != known {
                (info, bytes) = open(shared, parts, object, (0, 0)).await?;
                status = StatusCode::OK;
            }
        } else {
            (info, bytes) = open(shared, parts, object, (0, 0)).await?;
        }
    }
    let body = if asked.head {
        Body::empty()
    } else {
        body(bytes)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    describe(response.headers_mut(), &info, &asked, status)?;
    Ok(response)
}

/// What the request says about the answer.
struct Asked {
    head: bool,
    attachment: bool,
    /// `v`: beginning of the hash of the bytes.
    version: Option<String>,
    range: Option<Range>,
    if_range: Option<String>,
}

impl Asked {
    fn read(parts: &Parts) -> Result<Self, Box<Problem>> {
        let mut asked = Self {
            head: parts.method == Method::HEAD,
            attachment: false,
            version: None,
            range: None,
            if_range: None,
        };
        for (name, value) in query(&parts.uri)? {
            match name.as_str() {
                "download" => asked.attachment = boolean(&name, &value)?,
                "v" => asked.version = Some(value),
                _ => return Err(problem::invalid(&name, "unknown query parameter").into()),
            }
        }
        if !asked.head {
            asked.range = parts.headers.get(header::RANGE).and_then(Range::parse);
            // a date never matches: there is no Last-Modified to compare it with
            asked.if_range = parts
                .headers
                .get(header::IF_RANGE)
                .map(|value| value.to_str().unwrap_or_default().to_owned());
        }
        Ok(asked)
    }
}

/// Starts a download of `length` bytes from `offset`; a length of 0 means to the end.
async fn open(
    shared: &Shared,
    parts: &Parts,
    object: &Object,
    (offset, length): (u64, u64),
) -> Result<(DownloadMediaInfo, Streaming<DownloadMediaResponse>), Box<Problem>> {
    let request = DownloadMediaRequest {
        media_item_id: object.media_item_id.clone(),
        rendition: object.rendition.clone(),
        read_offset: i64::try_from(offset).unwrap_or(i64::MAX),
        read_limit: i64::try_from(length).unwrap_or(i64::MAX),
    };
    let request = transcode::with_identity(&parts.headers, request);
    let opened = async {
        let mut messages = shared.media().download_media(request).await?.into_inner();
        let first = messages.message().await?;
        Ok::<_, tonic::Status>((first, messages))
    };
    let (first, messages) = opened
        .await
        .map_err(|status| Problem::from_status(&status))?;
    match first.and_then(|message| message.payload) {
        Some(Payload::Info(info)) => Ok((info, messages)),
        _ => Err(problem::bad_answer("download does not start with its description").into()),
    }
}

/// An error in the middle breaks the connection: a short body must not look complete.
fn body(messages: Streaming<DownloadMediaResponse>) -> Body {
    let chunks = messages.filter_map(|message| {
        futures::future::ready(match message.map(|message| message.payload) {
            Ok(Some(Payload::Chunk(chunk))) => Some(Ok(chunk)),
            Ok(_) => None,
            Err(status) => Some(Err(status)),
        })
    });
    Body::from_stream(stream::StreamExt::boxed(chunks))
}

fn describe(
    headers: &mut HeaderMap,
    info: &DownloadMediaInfo,
    asked: &Asked,
    status: StatusCode,
) -> Result<(), Box<Problem>> {
    validators(headers, info, asked)?;
    let shown = disposition::may_be_shown(&info.content_type);
    let content_type = if shown {
        info.content_type.as_str()
    } else {
        "application/octet-stream"
    };
    let disposition = disposition::value(asked.attachment || !shown, &info.file_name);
    let mut length = size(info);
    if status == StatusCode::PARTIAL_CONTENT {
        let first = u64::try_from(info.range_offset).unwrap_or_default();
        let size = length;
        length = u64::try_from(info.range_length).unwrap_or_default();
        let range = format!("bytes {first}-{}/{size}", first + length.saturating_sub(1));
        headers.insert(header::CONTENT_RANGE, value(range)?);
    }
    headers.insert(header::CONTENT_TYPE, value(content_type.to_owned())?);
    headers.insert(header::CONTENT_DISPOSITION, value(disposition)?);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    );
    Ok(())
}

fn validators(
    headers: &mut HeaderMap,
    info: &DownloadMediaInfo,
    asked: &Asked,
) -> Result<(), Box<Problem>> {
    let cache = match &asked.version {
        None => cache_table::BYTES,
        Some(version) if is_version(version, &info.sha256) => cache_table::VERSIONED_BYTES,
        // an old link: these are not the bytes it was made for
        Some(_) => cache_table::REVALIDATE,
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::ETAG, value(format!("\"{}\"", info.sha256))?);
    Ok(())
}

/// Returns whether `v` names these bytes: it is the beginning of their hash, long enough that other
/// bytes do not have it.
fn is_version(version: &str, sha256: &str) -> bool {
    version.len() >= MIN_VERSION_DIGITS && sha256.starts_with(version)
}

fn size(info: &DownloadMediaInfo) -> u64 {
    u64::try_from(info.size_bytes).unwrap_or_default()
}

fn value(text: String) -> Result<HeaderValue, Box<Problem>> {
    HeaderValue::try_from(text)
        .map_err(|_| problem::bad_answer("download is described in no header's characters").into())
}
