//! The generated JSON routes and their hooks.

use http::{HeaderMap, request::Parts};
use mediamesh_mesh::{MAX_MESSAGE_BYTES, ServiceName};
use mediamesh_transcode::runtime;
use tonic::metadata::{MetadataKey, MetadataValue};

use crate::{
    Deps, Options,
    layer::trace::{TraceId, without_secret},
};

/// Written by the build script.
#[allow(clippy::all, missing_docs, unreachable_pub)]
mod routes {
    include!(concat!(env!("OUT_DIR"), "/routes.rs"));
}

/// The OpenAPI 3.1 document of every route, generated and hand-written.
pub const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// Request headers that become metadata. Trace context is not one of them: the mesh writes its own
/// span there.
pub(crate) const FORWARDED: [&str; 3] = ["authorization", "x-request-id", "accept-language"];

/// The one path with a generated and a hand-written method: the generated 405 does not know that.
const UPLOAD_PATH: &str = "/v1/mediaItems";

pub(crate) fn router(deps: &Deps, answers: &runtime::Options) -> axum::Router {
    let mut clients =
        routes::Clients::new(|service| match ServiceName::from_grpc_service(service) {
            Some(ServiceName::Search) => deps.search.clone(),
            Some(ServiceName::Embedding) => deps.embedding.clone(),
            Some(ServiceName::Cache) => deps.cache.clone(),
            _ => deps.media.clone(),
        });
    macro_rules! raise {
        ($($client:ident),*) => {$(
            clients.$client = clients.$client.max_decoding_message_size(MAX_MESSAGE_BYTES);
        )*};
    }
    raise!(
        media_service,
        job_service,
        api_key_service,
        user_service,
        request_log_service,
        presign_service,
        search_service,
        embedding_service,
        cache_service,
        session_service
    );
    routes::routes(clients, answers.clone())
}

/// Limits of JSON bodies, and what happens to every error answer.
pub(crate) fn answers(options: &Options) -> runtime::Options {
    runtime::Options::default()
        .body_limit_bytes(options.max_json_bytes)
        // a small body: its time is that of one silence
        .body_timeout(options.idle_timeout())
        .by_hand("POST", UPLOAD_PATH)
        .problem(|problem, parts| {
            let path = parts.uri.path();
            if problem.status >= 500 {
                tracing::warn!(
                    method = %parts.method,
                    path = without_secret(path),
                    status = problem.status,
                    reason = problem.reason,
                    detail = problem.detail,
                    "request failed"
                );
            }
            let problem = problem.instance(path);
            match parts.extensions.get::<TraceId>() {
                Some(TraceId(id)) => problem.trace_id(id.clone()),
                None => problem,
            }
        })
}

/// Wraps a message with the caller's identity: the request hook of the generated handlers.
pub(crate) fn request<T>(parts: &Parts, message: T) -> tonic::Request<T> {
    with_identity(&parts.headers, message)
}

pub(crate) fn with_identity<T>(headers: &HeaderMap, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    for name in FORWARDED {
        for value in headers.get_all(name) {
            // metadata cannot carry what is not printable ASCII
            if let Ok(value) = MetadataValue::try_from(value.as_bytes()) {
                request
                    .metadata_mut()
                    .append(MetadataKey::from_static(name), value);
            }
        }
    }
    request
}
