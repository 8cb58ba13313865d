//! A panic is a 500, not a broken connection.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use futures::FutureExt as _;
use http::request::Parts;

use crate::{Shared, problem};

/// Catches panics of everything inside; the panic hook has logged the cause.
pub(crate) async fn apply(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let head = head(&parts);
    let request = Request::from_parts(parts, body);
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(path = head.uri.path(), "handler panicked");
            shared.answers.answer(problem::internal(), &head)
        }
    }
}

/// What an error answer needs of a request that is gone by then.
fn head(parts: &Parts) -> Parts {
    let mut head = http::Request::new(Body::empty()).into_parts().0;
    head.method = parts.method.clone();
    head.uri = parts.uri.clone();
    if let Some(trace_id) = parts.extensions.get::<super::trace::TraceId>() {
        head.extensions.insert(trace_id.clone());
    }
    head
}
