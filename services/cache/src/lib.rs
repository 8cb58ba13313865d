//! The cache service: bytes with a time to live, tags, negative entries and single flight.
//!
//! - [`options`]: settings and their defaults
//! - `grpc`: the generated trait; converts in, calls, converts out
//! - `convert`: requests to entries with all validation, entries to messages
//! - [`tier`]: where entries live: the [`CacheTier`] seam and the words it speaks
//! - `memory`: the tier in this process's memory
//! - `tags`: which keys of a tenant carry a tag
//! - `leases`: who fills a missing key, and who waits for that
//! - `service`: one function per operation
//! - `metrics`: every metric of the crate

mod convert;
mod grpc;
mod leases;
mod memory;
mod metrics;
pub mod options;
mod service;
mod tags;
pub mod tier;

use std::sync::Arc;

use mediamesh_mesh::MAX_MESSAGE_BYTES;
use mediamesh_proto::cache::v1::cache_service_server::{CacheService, CacheServiceServer};
use mediamesh_telemetry::Metrics;

pub use options::Options;
pub use tier::CacheTier;

/// What the service needs from its process.
pub struct Deps {
    /// Where metrics are registered.
    pub metrics: Metrics,
}

/// The service, ready to be added to a server.
#[derive(Clone)]
pub struct Cache {
    service: Arc<service::Service>,
}

/// Builds the service over a tier in this process's memory.
#[must_use]
pub fn build(options: Options, deps: Deps) -> Cache {
    let metrics = metrics::CacheMetrics::new(&deps.metrics);
    let memory = memory::MemoryTier::new(options.max_bytes, metrics.clone());
    Cache {
        service: Arc::new(service::Service::new(options, Arc::new(memory), metrics)),
    }
}

impl Cache {
    /// The generated server.
    #[must_use]
    pub fn server(&self) -> CacheServiceServer<impl CacheService> {
        CacheServiceServer::new(grpc::Grpc {
            service: Arc::clone(&self.service),
        })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}
