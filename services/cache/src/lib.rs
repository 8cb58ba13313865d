//! The cache service: bytes with a time to live, tags, negative entries and single flight; and
//! sessions.
//!
//! - [`options`]: settings and their defaults
//! - `grpc`: the generated trait; converts in, calls, converts out
//! - `convert`: requests to entries with all validation, entries to messages
//! - `service`: one function per operation
//! - `leases`: who fills a missing key, and who waits for that
//! - `popular`: what is searched for most, in Redis or in memory
//! - `tiers`: memory first, Redis behind it; memory itself is `mediamesh_near`
//! - [`redis`]: the second tier, shared by all processes, and the feed between them
//! - [`sessions`]: who is logged in
//! - `metrics`: every metric of the crate

mod convert;
mod grpc;
mod leases;
mod metrics;
pub mod options;
mod popular;
pub mod redis;
mod service;
pub mod sessions;
mod tiers;

use std::{path::PathBuf, sync::Arc};

use mediamesh_mesh::MAX_MESSAGE_BYTES;
use mediamesh_near::Memory;
use mediamesh_proto::{
    cache::v1::{
        cache_service_server::{CacheService, CacheServiceServer},
        session_service_server::{SessionService, SessionServiceServer},
    },
    page_token::PageTokens,
};
use mediamesh_telemetry::{HealthRegistry, Metrics};

pub use options::{Options, RedisOptions, SessionOptions};
pub use sessions::SessionRedisOptions;

/// What the service needs from its process.
pub struct Deps {
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// Where it says how its Redis is; streams end when the process goes down.
    pub health: HealthRegistry,
    /// Folder of the file of sessions, where no Redis keeps them; absent = they end with the process.
    pub session_dir: Option<PathBuf>,
    /// Seals page tokens.
    pub page_tokens: PageTokens,
}

/// Why the service cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Settings that cannot be used.
    #[error("cache.redis cannot be used")]
    Redis(#[source] ::redis::RedisError),
    /// Settings that cannot be used.
    #[error("cache.sessions.redis cannot be used")]
    SessionRedis(#[source] ::redis::RedisError),
    /// A folder that cannot be used.
    #[error("sessions cannot be kept")]
    Sessions(#[from] sessions::OpenError),
}

/// The service, ready to be added to a server.
#[derive(Clone)]
pub struct Cache {
    service: Arc<service::Service>,
    sessions: sessions::Sessions,
    page_tokens: PageTokens,
    health: HealthRegistry,
}

/// Builds the service: memory, and behind it the Redis that is configured, if one is.
///
/// Errors: the settings of Redis, or the file of sessions, cannot be used. A Redis that is away is no
/// error. Must run inside a tokio runtime.
/// Blocking: reads the file of sessions.
pub fn build(options: Options, deps: Deps) -> Result<Cache, BuildError> {
    let metrics = metrics::CacheMetrics::new(&deps.metrics);
    let memory = Memory::new(
        options.max_bytes,
        options.redis.max_memory_age(),
        metrics.memory.clone(),
    );
    let settings = options.redis.clone();
    let session_options = Arc::new(options.sessions.clone());
    let mut session_store = None;
    let service = match settings.enabled() {
        false => {
            let popular = popular::Popular::new(None, metrics.search_counts_lost.clone());
            service::Service::new(options, tiers::Tiers::new(memory, None), popular, metrics)
        }
        true => {
            let connector = redis::Connector::new(&settings).map_err(BuildError::Redis)?;
            let redis_metrics = redis::RedisMetrics::new(&deps.metrics);
            let redis = redis::Redis::new(redis::Role::Cache, settings, redis_metrics);
            let (feed, queue) = redis::FeedWriter::new(redis.options.timeout());
            let shared = tiers::Shared {
                redis: Arc::clone(&redis),
                feed,
            };
            let tiers = tiers::Tiers::new(memory, Some(shared));
            let lost = metrics.search_counts_lost.clone();
            let popular = popular::Popular::new(Some(Arc::clone(&redis)), lost);
            let service = service::Service::new(options, tiers, popular, metrics);
            session_store = Some(sessions::Store::Redis(Arc::clone(&redis)));
            connect(&service, redis, connector, queue, deps.health.clone());
            service
        }
    };
    let own = session_options.redis.connection();
    if own.enabled() {
        let connector = redis::Connector::new(&own).map_err(BuildError::SessionRedis)?;
        let redis_metrics = redis::RedisMetrics::of_sessions(&deps.metrics);
        let redis = redis::Redis::new(redis::Role::Sessions, own, redis_metrics);
        session_store = Some(sessions::Store::Redis(Arc::clone(&redis)));
        service.run(redis::keep(redis, connector, deps.health.clone()));
    }
    let store = match (session_store, &deps.session_dir) {
        (Some(store), _) => store,
        (None, Some(folder)) => {
            let most = session_options.max_in_memory;
            let memory = match sessions::Memory::open(folder, most) {
                // the cache itself takes any number of processes
                Err(error @ sessions::OpenError::Held { .. }) => {
                    tracing::warn!(%error, "sessions of this process end with it");
                    sessions::Memory::new(most)
                }
                opened => opened?,
            };
            sessions::Store::Memory(memory)
        }
        (None, None) => {
            sessions::Store::Memory(sessions::Memory::new(session_options.max_in_memory))
        }
    };
    let sessions = sessions::Sessions {
        options: session_options,
        store,
        metrics: sessions::SessionMetrics::new(&deps.metrics),
    };
    service.run(sessions::sweep(sessions.clone()));
    Ok(Cache {
        service,
        sessions,
        page_tokens: deps.page_tokens,
        health: deps.health,
    })
}

/// Starts what keeps a service and its Redis together.
fn connect(
    service: &Arc<service::Service>,
    redis: Arc<redis::Redis>,
    connector: redis::Connector,
    queue: redis::FeedQueue,
    health: HealthRegistry,
) {
    // a process leaves out its own changes when it reads the feed
    let origin = uuid::Uuid::new_v4().simple().to_string();
    let (told, mut heard) = tokio::sync::mpsc::channel(256);
    service.run(redis::write_feed(Arc::clone(&redis), origin.clone(), queue));
    service.run(redis::read_feed(
        Arc::clone(&redis),
        connector.clone(),
        origin,
        told,
    ));
    service.run(redis::keep(redis, connector, health));
    // the service owns the task, so the task must not own the service
    let listener = Arc::downgrade(service);
    service.run(async move {
        while let Some(told) = heard.recv().await {
            let Some(service) = listener.upgrade() else {
                return;
            };
            service.hear(told).await;
        }
    });
}

impl Cache {
    /// The implementation itself, to be called without a channel.
    #[must_use]
    pub fn handler(&self) -> impl CacheService + use<> {
        grpc::Grpc {
            service: Arc::clone(&self.service),
            health: self.health.clone(),
        }
    }

    /// The generated server.
    #[must_use]
    pub fn server(&self) -> CacheServiceServer<impl CacheService + use<>> {
        CacheServiceServer::new(self.handler()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
    /// The implementation of sessions itself, to be called without a channel.
    #[must_use]
    pub fn session_handler(&self) -> impl SessionService + use<> {
        sessions::Grpc {
            sessions: self.sessions.clone(),
            page_tokens: self.page_tokens.clone(),
        }
    }

    /// The generated server of sessions.
    #[must_use]
    pub fn session_server(&self) -> SessionServiceServer<impl SessionService + use<>> {
        SessionServiceServer::new(self.session_handler())
    }
}
