//! Which requests to a method's path are gRPC.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, Method, StatusCode, Version, header};
use mediamesh_transcode::runtime::{Problem, problem::reason};
use tonic::Code;

use crate::{Shared, problem};

/// Media types of plain gRPC.
const PLAIN: [&str; 2] = ["application/grpc", "application/grpc+proto"];
/// Media types of gRPC-Web; the `text` ones carry base64.
const WEB: [&str; 4] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];

/// Lets gRPC pass, and says what is wrong with everything else.
pub(super) async fn apply(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    match objection(&request) {
        None => next.run(request).await,
        Some(problem) => {
            let (parts, _) = request.into_parts();
            shared.answers.answer(problem, &parts)
        }
    }
}

fn objection(request: &Request) -> Option<Problem> {
    let given = media_type(request.headers());
    let plain = PLAIN.contains(&given);
    if !plain && !WEB.contains(&given) {
        let detail = format!(
            "media type {given:?} is not served here; gRPC needs {} or {}",
            PLAIN[0], WEB[1]
        );
        let reason = reason::UNSUPPORTED_MEDIA_TYPE;
        return Some(Problem::new(Code::InvalidArgument, reason, detail));
    }
    if request.method() != Method::POST {
        let mut problem = problem::method_not_allowed(request.method(), request.uri().path());
        problem.allow = Some(Method::POST.to_string());
        return Some(problem);
    }
    if plain && request.version() < Version::HTTP_2 {
        let detail = "plain gRPC needs HTTP/2; over HTTP/1.1 use gRPC-Web";
        let mut problem = Problem::new(Code::Unimplemented, reason::UNIMPLEMENTED, detail);
        problem.status = StatusCode::HTTP_VERSION_NOT_SUPPORTED.as_u16();
        return Some(problem);
    }
    None
}

/// The media type of a request, without parameters; empty if it has none.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok());
    text.unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
}

/// Whether a request speaks any kind of gRPC.
pub(crate) fn is_grpc(media_type: &str) -> bool {
    let rest = media_type.strip_prefix(PLAIN[0]);
    // `application/grpc`, `application/grpc+json`, `application/grpc-web-text`
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', '-']))
}
