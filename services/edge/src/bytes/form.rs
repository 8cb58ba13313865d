//! Several files as `multipart/form-data`.
//!
//! One part at a time is read and streamed on; what is kept are the results. A file that is
//! refused does not stop the files after it; a form that breaks off does.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, multipart::Field},
    response::{IntoResponse, Response},
};
use http::request::Parts;
use mediamesh_proto::media::v1::{UploadMediaMetadata, UploadMediaResponse};
use mediamesh_transcode::runtime::Problem;
use serde::Serialize;

use super::{
    boolean, feed,
    parts::{Parts as Form, skip},
    upload::store,
};
use crate::{Shared, problem};

/// Longest text field, in bytes: four times the longest caption.
pub(super) const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Most text fields of one form: twice the most tags of an item.
const MAX_FIELDS: usize = 128;

#[derive(Serialize)]
struct Results {
    results: Vec<FileResult>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileResult {
    file_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<UploadMediaResponse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Box<Problem>>,
}

/// `POST /v1/mediaItems` with a form.
pub(super) async fn upload(shared: Arc<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts.clone(), body);
    let mut form = match Form::of(request, &shared.options).await {
        Ok(form) => form,
        Err(problem) => return shared.answers.answer(*problem, &parts),
    };
    match files(&shared, &parts, &mut form).await {
        Ok(results) => Json(Results { results }).into_response(),
        Err(problem) => feed::refuse(&shared, &parts, *problem, &mut form.into_body()).await,
    }
}

async fn files(
    shared: &Shared,
    parts: &Parts,
    form: &mut Form,
) -> Result<Vec<FileResult>, Box<Problem>> {
    let mut metadata = UploadMediaMetadata::default();
    let mut results = Vec::new();
    let mut fields = 0;
    while let Some(mut field) = form.next().await? {
        let Some(file_name) = field.file_name().map(base_name) else {
            let name = field.name().unwrap_or_default();
            if !results.is_empty() {
                let rule = "field comes after a file; fields are for the files behind them";
                return Err(problem::invalid(name, rule).into());
            }
            fields += 1;
            if fields > MAX_FIELDS {
                let rule = format!("form has more fields than the limit of {MAX_FIELDS}");
                return Err(problem::invalid(name, rule).into());
            }
            set(&mut metadata, &mut field, shared).await?;
            continue;
        };
        // what a browser sends for a file input in which nothing was chosen
        if file_name.is_empty() {
            skip(&mut field, &shared.options).await?;
            continue;
        }
        let metadata = UploadMediaMetadata {
            display_name: file_name.clone(),
            ..metadata.clone()
        };
        let (upload, error) = match store(shared, &parts.headers, metadata, &mut field).await {
            Ok(stored) => (Some(stored), None),
            Err(feed::Broken::File(problem)) => {
                (None, Some(Box::new(shared.answers.finish(*problem, parts))))
            }
            Err(feed::Broken::Body(problem)) => return Err(problem),
        };
        // a service may answer before it has read all
        skip(&mut field, &shared.options).await?;
        results.push(FileResult {
            file_name,
            upload,
            error,
        });
    }
    if results.is_empty() {
        return Err(problem::invalid("file", "form has no part with a file name").into());
    }
    Ok(results)
}

async fn set(
    metadata: &mut UploadMediaMetadata,
    field: &mut Field<'_>,
    shared: &Shared,
) -> Result<(), Box<Problem>> {
    let name = field.name().unwrap_or_default().to_owned();
    let value = text(&name, field, shared).await?;
    match name.as_str() {
        "folder" => metadata.folder = value,
        "tags" => metadata.tags.push(value),
        "caption" => metadata.caption = value,
        "background" => metadata.background = boolean(&name, &value)?,
        _ => {
            return Err(problem::invalid(
                &name,
                "unknown field; known are folder, tags, caption, background, \
                 and parts with a file name",
            )
            .into());
        }
    }
    Ok(())
}

/// Reads a text field; it is small, so its time is that of one silence.
pub(super) async fn text(
    name: &str,
    field: &mut Field<'_>,
    shared: &Shared,
) -> Result<String, Box<Problem>> {
    tokio::time::timeout(shared.options.idle_timeout(), whole(name, field))
        .await
        .unwrap_or_else(|_| Err(Problem::late_body().into()))
}

async fn whole(name: &str, field: &mut Field<'_>) -> Result<String, Box<Problem>> {
    let mut bytes = Vec::new();
    while let Some(part) = field
        .chunk()
        .await
        .map_err(|error| problem::unreadable_body(&error))?
    {
        bytes.extend_from_slice(&part);
        if bytes.len() > MAX_TEXT_BYTES {
            let rule = format!("field is over the limit of {MAX_TEXT_BYTES} bytes");
            return Err(problem::invalid(name, rule).into());
        }
    }
    String::from_utf8(bytes).map_err(|_| problem::invalid(name, "field is not UTF-8").into())
}

/// Browsers send the path of a file in a chosen folder, old ones the path on the disk.
fn base_name(name: &str) -> String {
    name.rsplit(['/', '\\'])
        .next()
        .unwrap_or_default()
        .to_owned()
}
