//! Every request has an id that client and log share.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderName, HeaderValue};
use uuid::Uuid;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Room for any sensible id (a UUID has 36), too little to fill a log with.
const MAX_LEN: usize = 128;

/// Keeps the client's id if it is harmless in a log, else makes one; answers it.
pub(crate) async fn apply(mut request: Request, next: Next) -> Response {
    let id = match request.headers().get(X_REQUEST_ID) {
        Some(id) if is_valid(id.as_bytes()) => id.clone(),
        _ => {
            let id = HeaderValue::try_from(Uuid::now_v7().to_string())
                .expect("hexadecimal digits and hyphens are a header value");
            request.headers_mut().insert(X_REQUEST_ID, id.clone());
            id
        }
    };
    let mut response = next.run(request).await;
    response.headers_mut().insert(X_REQUEST_ID, id);
    response
}

fn is_valid(id: &[u8]) -> bool {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    (1..=MAX_LEN).contains(&id.len()) && id.iter().all(harmless)
}
