//! The servers and the worker, made from what they need.

use std::{sync::Arc, time::Duration};

use mediamesh_blob::BlobStore;
use mediamesh_mesh::{Channel, MAX_MESSAGE_BYTES};
use mediamesh_near::NearCache;
use mediamesh_proto::{
    media::v1::{
        api_key_service_server::ApiKeyServiceServer, job_service_server::JobServiceServer,
        media_service_server::MediaServiceServer, presign_service_server::PresignServiceServer,
        request_log_service_server::RequestLogServiceServer,
        user_service_server::UserServiceServer,
    },
    page_token::PageTokens,
};
use mediamesh_store::{
    IntegrityStore, JobStore, KeyStore, MediaStore, RequestLogStore, SearchStore,
};
use mediamesh_telemetry::Metrics;

use crate::{
    grpc::{ApiKeyGrpc, JobGrpc, MediaGrpc, PresignGrpc, RequestLogGrpc, UserGrpc},
    jobs::Worker,
    keys::Keys,
    metrics::MediaMetrics,
    options::{InvalidOptions, Options},
    presign::Presign,
    service::{Service, Watchers},
    users::Users,
};

/// What the media service needs of others.
pub struct Deps {
    /// Items and renditions.
    pub media_store: Arc<dyn MediaStore>,
    /// The queue.
    pub job_store: Arc<dyn JobStore>,
    /// API keys.
    pub key_store: Arc<dyn KeyStore>,
    /// Tells which items lack vectors.
    pub search_store: Arc<dyn SearchStore>,
    /// What should be stored.
    pub integrity_store: Arc<dyn IntegrityStore>,
    /// The log of requests.
    pub request_log: Arc<dyn RequestLogStore>,
    /// Bytes.
    pub blobs: BlobStore,
    /// Way to the embedding service.
    pub embedding: Channel,
    /// Way to the search service.
    pub search: Channel,
    /// The cache service.
    pub cache: NearCache,
    /// Where metrics go.
    pub metrics: Metrics,
    /// Seals page tokens.
    pub page_tokens: PageTokens,
    /// Seals signed addresses; every media process has the same secrets.
    pub presign_tokens: PageTokens,
}

/// The media service.
pub struct Media {
    /// Serves items.
    pub media_server: MediaServiceServer<MediaGrpc>,
    /// Serves jobs.
    pub job_server: JobServiceServer<JobGrpc>,
    /// Serves API keys.
    pub key_server: ApiKeyServiceServer<ApiKeyGrpc>,
    /// Serves users.
    pub user_server: UserServiceServer<UserGrpc>,
    /// Serves the log of requests.
    pub request_log_server: RequestLogServiceServer<RequestLogGrpc>,
    /// Serves addresses for one file.
    pub presign_server: PresignServiceServer<PresignGrpc>,
    /// Keys without gRPC, for the gate of the process.
    pub keys: Keys,
    /// Does the work; run it in the worker role, or beside the servers.
    pub worker: Worker,
}

/// Builds the servers and the worker; nothing runs yet.
///
/// Errors: every fault of the options at once.
pub fn build(options: Options, deps: Deps) -> Result<Media, InvalidOptions> {
    options.validate()?;
    let metrics = MediaMetrics::register(&deps.metrics);
    let options = Arc::new(options);
    let service = Arc::new(Service {
        options: Arc::clone(&options),
        media: Arc::clone(&deps.media_store),
        jobs: Arc::clone(&deps.job_store),
        blobs: deps.blobs.clone(),
        page_tokens: deps.page_tokens.clone(),
        metrics: metrics.clone(),
        watchers: Watchers::default(),
    });
    let media_server = MediaServiceServer::new(MediaGrpc(Arc::clone(&service)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let presign = Presign::new(Arc::clone(&service), deps.presign_tokens.clone());
    let job_server = JobServiceServer::new(JobGrpc(service));
    let keys = Keys::new(Arc::clone(&deps.key_store));
    let key_server = ApiKeyServiceServer::new(ApiKeyGrpc {
        keys: keys.clone(),
        page_tokens: deps.page_tokens.clone(),
    });
    let ttl = Duration::from_secs(options.user_stats_ttl_secs);
    let users = Users::new(Arc::clone(&deps.media_store), deps.cache.clone(), ttl);
    let request_log = RequestLogGrpc(Arc::clone(&deps.request_log));
    let worker = Worker::new(options, deps, metrics);
    Ok(Media {
        media_server,
        job_server,
        key_server,
        presign_server: PresignServiceServer::new(PresignGrpc(Arc::new(presign))),
        request_log_server: RequestLogServiceServer::new(request_log),
        user_server: UserServiceServer::new(UserGrpc(users)),
        keys,
        worker,
    })
}
