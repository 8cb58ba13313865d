//! The HTTP edge: routes generated from the protos, byte streams by hand, gRPC, the console.
//!
//! - [`options`]: settings and their defaults
//! - `router`: every route, and the layers in their order with reasons
//! - `transcode`: the generated JSON routes and their hooks
//! - `grpc`: plain gRPC and gRPC-Web on the same port, passed on as they are
//! - `bytes`: uploads, downloads and search by image, streamed
//! - `session`: cookies of browsers that are logged in
//! - `layer`: one file per middleware
//! - `cache_table`: Cache-Control by route, the one table
//! - `problem`: errors the edge itself makes
//! - `console`, `error_pages`: what people see
//! - `request_log`: requests that ended, told to the media service
//! - `serve`: connections, from accept to drain

mod bytes;
mod cache_table;
mod console;
mod error_pages;
mod grpc;
mod layer;
pub mod options;
mod problem;
mod request_log;
mod router;
mod serve;
mod session;
mod transcode;

use std::sync::Arc;

use mediamesh_mesh::{
    Authenticator, Channel, MAX_MESSAGE_BYTES, Registry, admin::Guard, fault::Faults,
    identity::lookup::KeyCache,
};
use mediamesh_proto::{
    media::v1::media_service_client::MediaServiceClient,
    search::v1::search_service_client::SearchServiceClient,
};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use mediamesh_transcode::runtime;
use prometheus_client::metrics::counter::Counter;

pub use options::Options;
pub use request_log::RequestLogOptions;
pub use session::options::SessionCookieOptions;
pub use transcode::OPENAPI;

use self::request_log::RequestLog;

/// What the edge needs from its process.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The media service.
    pub media: Channel,
    /// The search service.
    pub search: Channel,
    /// The embedding service.
    pub embedding: Channel,
    /// The cache service.
    pub cache: Channel,
    /// Where metrics are registered, and what `/metrics` shows.
    pub metrics: Metrics,
    /// What `/health` answers from.
    pub health: HealthRegistry,
    /// What `/admin/mesh` shows.
    pub registry: Registry,
    /// Who finds out who calls.
    pub authenticator: Arc<dyn Authenticator>,
    /// The API keys that sessions are opened with; `None` where none are asked for.
    pub keys: Option<KeyCache>,
    /// Who may see `/metrics` and `/admin`.
    pub guard: Guard,
    /// What `/admin/faults` changes, in builds that can inject faults.
    pub faults: Faults,
}

/// The edge, ready to be served; clones share everything.
#[derive(Clone, Debug)]
pub struct Edge {
    shared: Arc<Shared>,
}

/// What handlers work with.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) deps: Deps,
    /// Body limit and the hook every error passes through.
    pub(crate) answers: runtime::Options,
    /// `mediamesh_edge_csrf_rejected_total`: requests with a cookie that were refused as forged.
    pub(crate) csrf_rejected: Counter,
    /// Where requests are noted, if they are.
    pub(crate) log: Option<RequestLog>,
}

/// Builds the edge.
#[must_use]
pub fn build(options: Options, deps: Deps) -> Edge {
    let answers = transcode::answers(&options);
    let csrf_rejected = deps.metrics.register(
        "edge_csrf_rejected",
        "Requests with a session's cookie that were refused as forged",
        Counter::default(),
    );
    let log = RequestLog::new(&options.request_log, &deps.metrics);
    let shared = Shared {
        log,
        options,
        deps,
        answers,
        csrf_rejected,
    };
    Edge {
        shared: Arc::new(shared),
    }
}

impl Edge {
    /// Every route behind every layer; hosts other than loopback names must be configured.
    pub fn router(&self) -> axum::Router {
        router::build(&self.shared, true)
    }
}

impl Shared {
    pub(crate) fn media(&self) -> MediaServiceClient<Channel> {
        MediaServiceClient::new(self.deps.media.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn search(&self) -> SearchServiceClient<Channel> {
        SearchServiceClient::new(self.deps.search.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}
