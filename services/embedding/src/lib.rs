//! The embedding service: texts and images to vectors, through models in this process.
//!
//! - [`options`]: settings and their defaults
//! - `grpc`: the generated trait; converts in, calls, converts out
//! - `convert`: requests to inputs with all validation, vectors to messages
//! - `input`: a text or an image, its content hash, and decoding once when it is needed
//! - `models`: the models that are loaded, and what they read
//! - `service`: one request: cache, then flights, then cache
//! - `flight`: identical work in flight is done once
//! - `pool`: the threads that run models; queries before bulk work, images in batches
//! - `vector_cache`: the cache service as this one sees it
//! - `metrics`, `error`

mod convert;
mod error;
mod flight;
mod grpc;
mod input;
mod metrics;
mod models;
pub mod options;
mod pool;
mod service;
mod vector_cache;

use std::sync::Arc;

use mediamesh_inference::LoadedModel;
use mediamesh_mesh::MAX_MESSAGE_BYTES;
use mediamesh_near::NearCache;
use mediamesh_proto::embedding::v1::embedding_service_server::{
    EmbeddingService, EmbeddingServiceServer,
};
use mediamesh_telemetry::Metrics;

pub use error::Error;
pub use options::Options;

/// What the service needs from its process.
pub struct Deps {
    /// The cache service.
    pub cache: NearCache,
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// The model beside the built-in descriptor.
    pub model: Option<LoadedModel>,
    /// One sentence that says how to get semantic search; told when no model reads text.
    pub hint: String,
    /// One sentence that says how to search pictures by words; told when the model reads text only.
    pub text_only_hint: String,
}

/// The service, ready to be added to a server.
#[derive(Clone)]
pub struct Embedding {
    service: Arc<service::Service>,
}

/// Builds the service and starts the threads that run its models.
#[must_use]
pub fn build(options: Options, deps: Deps) -> Embedding {
    let metrics = metrics::EmbeddingMetrics::new(&deps.metrics);
    let pool = pool::Pool::start(pool::Settings::from(&options), metrics.clone());
    let service = service::Service {
        models: models::Models::new(deps.model, deps.hint, deps.text_only_hint),
        cache: vector_cache::VectorCache::new(deps.cache, &options, metrics.clone()),
        flights: flight::Flights::new(pool, metrics),
        decoding: Arc::new(tokio::sync::Semaphore::new(options.workers())),
        options,
    };
    Embedding {
        service: Arc::new(service),
    }
}

impl Embedding {
    /// The generated server.
    #[must_use]
    pub fn server(&self) -> EmbeddingServiceServer<impl EmbeddingService> {
        EmbeddingServiceServer::new(grpc::Grpc {
            service: Arc::clone(&self.service),
        })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}
