//! Which answers are compressed: text over a size (S0-32), negotiated (S0-33).
//!
//! The same address may answer long today and short tomorrow, so every text says that it varies,
//! and so does the 304 in its place.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body;
use tower_http::compression::predicate::Predicate;

/// Request header that turns compression off, whatever `Accept-Encoding` says.
const X_NO_COMPRESSION: HeaderName = HeaderName::from_static("x-no-compression");
/// Response header with the size before compression, in bytes (S0-32).
const X_UNCOMPRESSED_SIZE: HeaderName = HeaderName::from_static("x-uncompressed-size");

/// Media types worth compressing; images, videos and archives are compressed already.
const COMPRESSIBLE: [&str; 8] = [
    "application/json",
    "application/problem+json",
    "application/openmetrics-text",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
];

/// Size before compression, in bytes: a response extension.
#[derive(Clone, Copy)]
struct UncompressedSize(u64);

/// Says yes to text over the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LargeText {
    pub(crate) min_bytes: u64,
}

impl Predicate for LargeText {
    fn should_compress<B: Body>(&self, response: &http::Response<B>) -> bool {
        let large = response
            .body()
            .size_hint()
            .exact()
            .is_some_and(|size| size > self.min_bytes);
        large && is_text(response.headers()) && !has_strong_etag(response.headers())
    }
}

fn is_text(headers: &HeaderMap) -> bool {
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    media_type.is_some_and(|value| {
        COMPRESSIBLE.contains(&value.split(';').next().unwrap_or_default().trim())
    })
}

/// A strong ETag promises these very bytes, and ranges count in them.
fn has_strong_etag(headers: &HeaderMap) -> bool {
    headers
        .get(header::ETAG)
        .is_some_and(|etag| !etag.as_bytes().starts_with(b"W/"))
}

/// Outside the compression: lets a client opt out, tells the size before, and what it varies by.
pub(crate) async fn outside(mut request: Request, next: Next) -> Response {
    if request.headers().contains_key(X_NO_COMPRESSION) {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    let mut response = next.run(request).await;
    if response.headers().contains_key(header::CONTENT_ENCODING)
        && let Some(UncompressedSize(size)) = response.extensions().get().copied()
    {
        response
            .headers_mut()
            .insert(X_UNCOMPRESSED_SIZE, HeaderValue::from(size));
    }
    let text = response.status() == StatusCode::NOT_MODIFIED || is_text(response.headers());
    if text && !has_strong_etag(response.headers()) {
        vary(response.headers_mut());
    }
    response
}

/// Adds `Accept-Encoding`, unless the compression did.
fn vary(headers: &mut HeaderMap) {
    let named = headers.get_all(header::VARY).iter().any(|value| {
        let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
        text.contains(header::ACCEPT_ENCODING.as_str())
    });
    if !named {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Inside the compression: notes the size before.
pub(crate) async fn inside(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(size) = response.body().size_hint().exact() {
        response.extensions_mut().insert(UncompressedSize(size));
    }
    response
}
