//! The console: files of the binary.

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use rust_embed::{Embed, EmbeddedFile};

use crate::{
    OPENAPI, cache_table,
    layer::conditional::{Conditions, weak_etag},
    problem,
};

#[derive(Embed)]
#[folder = "console/"]
struct Files;

/// The page, its files and the description of the interface.
pub(crate) fn router() -> Router {
    let openapi_etag = weak_etag(OPENAPI.as_bytes());
    let openapi = move |headers: HeaderMap| async move {
        document(&headers, "application/json", &openapi_etag, OPENAPI)
    };
    Router::new()
        .route(
            "/",
            get(|headers: HeaderMap| async move { file(&headers, "index.html", "/") }),
        )
        .route("/console/{file}", get(asset))
        .route("/openapi.json", get(openapi))
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("/console/{name}");
    file(&headers, &name, &path)
}

fn file(headers: &HeaderMap, name: &str, path: &str) -> Response {
    let Some(EmbeddedFile { data, metadata }) = Files::get(name) else {
        return problem::not_found(path).instance(path).into_response();
    };
    // weak, because it may travel compressed
    let etag = format!("W/\"{}\"", hex::encode(&metadata.sha256_hash()[..16]));
    document(headers, content_type(name), &etag, data.into_owned())
}

fn document(
    headers: &HeaderMap,
    content_type: &'static str,
    etag: &str,
    body: impl IntoResponse,
) -> Response {
    let head = [
        (header::ETAG, etag.to_owned()),
        (header::CACHE_CONTROL, cache_table::ASSET.to_owned()),
    ];
    if Conditions::read(headers).knows(etag) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// Browsers refuse modules and styles of a wrong type.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
