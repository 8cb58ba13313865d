//! Every route, and the layers in their order with reasons.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Query, Request, State},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use http::{HeaderValue, Method, StatusCode, Uri};
use mediamesh_mesh::admin;
use mediamesh_transcode::runtime;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tower::{ServiceBuilder, ServiceExt as _, util::option_layer};
use tower_http::{
    CompressionLevel,
    compression::CompressionLayer,
    cors::{AllowHeaders, AllowOrigin, Any, CorsLayer},
};

use crate::{
    Options, Shared,
    bytes::{by_image, download, signed, upload},
    console, error_pages, grpc,
    layer::{
        auth, compress, conditional, deadline, log, metadata,
        metrics::{self, HttpMetrics},
        origin::{self, Origins},
        request_id, rescue, security,
        shed::{self, Slots},
        trace,
    },
    problem, session, transcode,
};

pub(crate) fn build(shared: &Arc<Shared>, check_hosts: bool) -> Router {
    let health = shared.deps.health.clone();
    let not_found = shared.answers.clone();
    let origins = Origins {
        shared: Arc::clone(shared),
        check_hosts,
    };
    let layers = ServiceBuilder::new()
        // first, so that everything below can name the request
        .layer(from_fn(request_id::apply))
        // outside of everything that answers by itself: who speaks gRPC gets a status
        .layer(from_fn(grpc::status::apply))
        // before whatever can fail, so that its failure is in the trace
        .layer(from_fn(trace::apply))
        // sees the final status, of a rescued panic too
        .layer(from_fn_with_state(
            HttpMetrics::new(&shared.deps.metrics),
            metrics::apply,
        ))
        // sees what the metrics see, and the whole of both bodies
        .layer(option_layer(
            shared
                .log
                .is_some()
                .then(|| from_fn_with_state(Arc::clone(shared), log::apply)),
        ))
        // outside of everything that answers by itself: errors carry the headers too
        .layer(from_fn(security::apply))
        // answers preflights, which have no credentials and no route
        .layer(option_layer(cors(&shared.options)))
        // a foreign page must cost nothing
        .layer(from_fn_with_state(origins, origin::apply))
        // around all code that could panic, inside of what must see the 500
        .layer(from_fn_with_state(Arc::clone(shared), rescue::apply))
        // before anything that calls the mesh: a stranger's head must not break a shared connection
        .layer(from_fn_with_state(Arc::clone(shared), metadata::apply))
        // error answers are small, so only handlers are inside
        .layer(from_fn(compress::outside))
        .layer(
            CompressionLayer::new()
                // an answer is sent once: a few percent of size are not worth the time
                .quality(CompressionLevel::Fastest)
                .compress_when(compress::LargeText {
                    min_bytes: shared.options.compression_min_bytes,
                }),
        )
        .layer(from_fn(compress::inside));
    // what the edge answers by itself
    let own = admin::router(
        shared.deps.metrics.clone(),
        health.clone(),
        shared.deps.registry.clone(),
        shared.deps.faults.clone(),
    )
    .merge(
        Router::new()
            .route("/api/health", get(admin::serve_health))
            .with_state(health),
    )
    .merge(console::router())
    .layer(from_fn_with_state(Arc::clone(shared), auth::apply));
    api(shared)
        .merge(own)
        .merge(error_pages::router(shared))
        .method_not_allowed_fallback({
            let shared = Arc::clone(shared);
            move |request| method_not_allowed(shared, request)
        })
        .fallback(move |request| runtime::not_found(not_found, request))
        .layer(layers)
}

/// The routes that lead into the mesh: bounded in number and time. Probes are not, they must get
/// through exactly when the rest does not.
fn api(shared: &Arc<Shared>) -> Router {
    let generated = transcode::router(&shared.deps, &shared.answers);
    let streaming = Router::new()
        .route("/api/search", get(old_search))
        .with_state(generated.clone());
    let by_hand = Router::new()
        .route("/v1/mediaItems", post(upload::upload))
        .route("/v1/mediaItems/{id}/content", get(download::content))
        .route(
            "/v1/mediaItems/{id}/renditions/{name}",
            get(download::rendition),
        )
        .route("/v1/uploads/{token}", put(signed::put))
        .route("/v1/signed/{token}", get(signed::get))
        .route("/v1/mediaItems:searchByImage", post(by_image::search))
        .with_state(Arc::clone(shared));
    let layers = ServiceBuilder::new()
        // before any work: a refusal must be cheap
        .layer(from_fn_with_state(Slots::new(shared), shed::apply))
        // around body and handler: both take of the client's time
        .layer(from_fn_with_state(Arc::clone(shared), deadline::apply))
        // inside of the bounds: finding out who calls may take a call
        .layer(from_fn_with_state(Arc::clone(shared), auth::apply))
        // inside of the compression, which changes the bytes that the ETag is made of
        .layer(from_fn_with_state(Arc::clone(shared), conditional::apply))
        // files are larger than axum's limit; ours are in the handlers
        .layer(DefaultBodyLimit::disable());
    generated
        .merge(streaming)
        .merge(by_hand)
        .merge(session::routes::router(shared))
        .merge(grpc::router(shared))
        .layer(layers)
}

/// `GET /api/search`: old clients ask for a stream with `?stream=true`.
async fn old_search(State(generated): State<Router>, mut request: Request) -> Response {
    let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    if let Ok(Query(query)) = query
        && query
            .iter()
            .any(|(name, value)| name == "stream" && value == "true")
    {
        *request.uri_mut() = stream_uri(&query);
    }
    generated.oneshot(request).await.into_response()
}

/// The streaming method wraps the search in a field of its own.
fn stream_uri(query: &[(String, String)]) -> Uri {
    let mut path = String::from("/v1/mediaItems:streamSearch");
    let mut separator = '?';
    for (name, value) in query.iter().filter(|(name, _)| name != "stream") {
        let prefix = if name == "alt" { "" } else { "search." };
        let name = utf8_percent_encode(name, UNESCAPED);
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        path.push_str(&format!("{separator}{prefix}{name}={value}"));
        separator = '&';
    }
    path.parse().expect("percent-encoded text is a URI")
}

/// Field paths have dots and underscores.
const UNESCAPED: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_');

async fn method_not_allowed(shared: Arc<Shared>, request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        // the router adds `Allow`
        return StatusCode::NO_CONTENT.into_response();
    }
    let (parts, _) = request.into_parts();
    let problem = problem::method_not_allowed(&parts.method, parts.uri.path());
    shared.answers.answer(problem, &parts)
}

/// Off unless origins are configured.
fn cors(options: &Options) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = options
        .cors_origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods(Any)
            // the wildcard does not stand for `authorization` (Fetch standard, 4.9)
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers(Any)
    })
}
