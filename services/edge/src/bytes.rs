//! Uploads, downloads and search by image, streamed in constant memory.
//!
//! - [`feed`]: a client-streaming call fed from a request body
//! - [`upload`]: one file as the raw body
//! - [`form`]: several files as `multipart/form-data`
//! - [`parts`]: the parts of a form, with a limit on their headers
//! - [`by_image`]: search by an uploaded image
//! - [`download`]: originals and renditions, with conditions and ranges
//! - [`range`]: the `Range` header
//! - [`signed`]: addresses that let others put one file or get one
//! - [`disposition`]: the `Content-Disposition` header, and which types browsers may show

pub(crate) mod by_image;
pub(crate) mod disposition;
pub(crate) mod download;
pub(crate) mod feed;
pub(crate) mod form;
pub(crate) mod parts;
pub(crate) mod range;
pub(crate) mod signed;
pub(crate) mod upload;

use http::{HeaderMap, Uri, header};
use mediamesh_transcode::runtime::Problem;

use crate::problem;

/// The media type without parameters, in lower case; empty when there is none.
fn media_type(headers: &HeaderMap) -> String {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default()
}

/// The query's names and values, decoded, in order.
fn query(uri: &Uri) -> Result<Vec<(String, String)>, Box<Problem>> {
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map(|query| query.0)
        .map_err(|error| problem::invalid("query", error.to_string()).into())
}

/// Reads `true` or `false`; a name alone is `true`.
fn boolean(name: &str, value: &str) -> Result<bool, Box<Problem>> {
    match value {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(problem::invalid(name, format!("{value:?} is not one of true, false")).into()),
    }
}
