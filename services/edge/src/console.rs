//! The console: files of the binary.

use axum::{
    Extension, Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rust_embed::{Embed, EmbeddedFile};

use crate::{
    OPENAPI, cache_table,
    layer::conditional::{Conditions, weak_etag},
    problem,
    session::lookup::Current,
};

/// Where people log in; the page is also shown in place of any other that they may not see yet.
pub(crate) const LOG_IN: &str = "/login";
const LOG_IN_FILE: &str = "login.html";

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
        .route("/", get(index))
        .route(
            LOG_IN,
            get(|headers: HeaderMap| async move { file(&headers, LOG_IN_FILE, LOG_IN) }),
        )
        .route("/console/{file}", get(asset))
        .route("/openapi.json", get(openapi))
}

/// The page. It is told whether it is opened with a session, whose cookie its scripts cannot see.
async fn index(session: Option<Extension<Current>>, headers: HeaderMap) -> Response {
    let page = Files::get("index.html").and_then(|file| String::from_utf8(file.data.into()).ok());
    let Some(page) = page else {
        return problem::not_found("/").instance("/").into_response();
    };
    let page = match session {
        Some(_) => page.replacen("<body>", "<body data-session>", 1),
        None => page,
    };
    let etag = weak_etag(page.as_bytes());
    document(&headers, content_type("index.html"), &etag, page)
}

/// Whether a person's browser is on its way to a page, rather than a program or a page's script.
///
/// Source: W3C, "Fetch Metadata Request Headers"; browsers do not send them to plain HTTP elsewhere than
/// on their own host, but say that they prefer HTML.
pub(crate) fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    *method == Method::GET
        && match text("sec-fetch-mode") {
            Some(mode) => mode == "navigate",
            None => text("accept").is_some_and(|accept| accept.starts_with("text/html")),
        }
}

/// The page that asks for a key, in place of one that needs it.
pub(crate) fn log_in_first() -> Response {
    // without the conditions of the request: they are about another page
    let mut response = file(&HeaderMap::new(), LOG_IN_FILE, LOG_IN);
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().remove(header::ETAG);
    let value = HeaderValue::from_static(cache_table::NO_STORE);
    response.headers_mut().insert(header::CACHE_CONTROL, value);
    response
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
