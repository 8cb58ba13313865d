//! A mesh of the media service and two fakes.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{TryStreamExt as _, stream};
use mediamesh_blob::BlobStore;
use mediamesh_media::{Deps, Options, Worker, build};
use mediamesh_mesh::{
    Channel, LOCAL_TENANT_ID, LocalAuthenticator, MethodTable, Policy, PolicyOptions, Registry,
    ServerBuilder, ServerDeps, ServiceName,
};
use mediamesh_near::NearCache;
use mediamesh_proto::{
    ErrorReason, TenantId,
    embedding::v1::embedding_service_server::EmbeddingServiceServer,
    media::v1::{
        GetMediaItemRequest, MediaItem, UploadMediaMetadata, UploadMediaRequest,
        UploadMediaResponse, job_service_client::JobServiceClient, media_item::State,
        media_service_client::MediaServiceClient, upload_media_request::Payload,
    },
    page_token::PageTokens,
    search::v1::search_service_server::SearchServiceServer,
    status::reason_of,
};
use mediamesh_store::{Database, DatabaseOptions, sqlite::SqliteStore};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::fakes::{FakeEmbedding, FakeSearch, Seen, model};

pub const TENANT: TenantId = TenantId(LOCAL_TENANT_ID);

pub struct Rig {
    pub media: MediaServiceClient<Channel>,
    pub jobs: JobServiceClient<Channel>,
    pub store: SqliteStore,
    pub blobs: BlobStore,
    pub seen: Arc<Seen>,
    pub metrics: Metrics,
    pub worker: Option<Worker>,
    pub folder: tempfile::TempDir,
    stop: CancellationToken,
}

impl Rig {
    /// Servers only; jobs wait.
    pub async fn new(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(DatabaseOptions::at(folder.path().join("db")))
            .await
            .unwrap();
        let store = SqliteStore::new(database);
        let blobs = BlobStore::local(folder.path().join("blobs")).unwrap();
        let metrics = Metrics::new();
        let policy = Policy::new(&PolicyOptions::default(), &MethodTable::of_contract());
        let registry = Registry::new(policy.clone(), &metrics);
        let seen = Arc::new(Seen::default());
        seen.models.lock().push(model("builtin/visual"));
        let deps = Deps {
            media_store: Arc::new(store.clone()),
            job_store: Arc::new(store.clone()),
            key_store: Arc::new(store.clone()),
            integrity_store: Arc::new(store.clone()),
            search_store: Arc::new(store.clone()),
            request_log: Arc::new(store.clone()),
            blobs: blobs.clone(),
            embedding: registry.channel(ServiceName::Embedding),
            search: registry.channel(ServiceName::Search),
            cache: NearCache::without_memory(registry.channel(ServiceName::Cache)),
            metrics: metrics.clone(),
            page_tokens: PageTokens::new(b"test"),
            presign_tokens: PageTokens::new(b"presign test"),
        };
        let built = build(options, deps).unwrap();
        let server = || {
            ServerBuilder::new(ServerDeps {
                policy: policy.clone(),
                metrics: metrics.clone(),
                health: HealthRegistry::default(),
                authenticator: Arc::new(LocalAuthenticator),
            })
        };
        let media = server()
            .add_service(built.media_server)
            .add_service(built.job_server);
        registry.register_local(ServiceName::Media, media.build().unwrap());
        let embedding = EmbeddingServiceServer::new(FakeEmbedding(Arc::clone(&seen)));
        registry.register_local(
            ServiceName::Embedding,
            server().add_service(embedding).build().unwrap(),
        );
        let search =
            SearchServiceServer::new(FakeSearch(Arc::clone(&seen), Arc::new(store.clone())));
        registry.register_local(
            ServiceName::Search,
            server().add_service(search).build().unwrap(),
        );
        Self {
            media: MediaServiceClient::new(registry.channel(ServiceName::Media)),
            jobs: JobServiceClient::new(registry.channel(ServiceName::Media)),
            store,
            blobs,
            seen,
            metrics,
            worker: Some(built.worker),
            folder,
            stop: CancellationToken::new(),
        }
    }

    /// Servers and a running worker.
    pub async fn working(options: Options) -> Self {
        let mut rig = Self::new(options).await;
        rig.start();
        rig
    }

    pub fn start(&mut self) {
        let worker = self.worker.take().unwrap();
        tokio::spawn(worker.run(self.stop.clone().cancelled_owned()));
    }

    pub async fn upload(
        &self,
        name: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<UploadMediaResponse, Status> {
        let metadata = UploadMediaMetadata {
            display_name: name.to_owned(),
            ..UploadMediaMetadata::default()
        };
        self.upload_with(metadata, bytes).await
    }

    pub async fn upload_with(
        &self,
        metadata: UploadMediaMetadata,
        bytes: impl Into<Bytes>,
    ) -> Result<UploadMediaResponse, Status> {
        let messages = messages(metadata, bytes.into());
        Ok(self
            .media
            .clone()
            .upload_media(stream::iter(messages))
            .await?
            .into_inner())
    }

    pub async fn get(&self, id: &str) -> Result<MediaItem, Status> {
        let request = GetMediaItemRequest {
            media_item_id: id.to_owned(),
        };
        Ok(self
            .media
            .clone()
            .get_media_item(request)
            .await?
            .into_inner()
            .media_item
            .unwrap())
    }

    /// Waits until an item is ready or failed.
    pub async fn settled(&self, id: &str) -> MediaItem {
        let mut item = self.get(id).await.unwrap();
        for _ in 0..1_000 {
            if matches!(item.state(), State::Ready | State::Failed) {
                return item;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            item = self.get(id).await.unwrap();
        }
        panic!("item stays {:?}", item.state());
    }

    /// Waits until a condition holds.
    pub async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        for _ in 0..1_000 {
            if condition().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never: {what}");
    }

    /// Keys of all published objects.
    pub async fn objects(&self) -> Vec<String> {
        let listed: Vec<_> = self.blobs.list("").try_collect().await.unwrap();
        listed.into_iter().map(|object| object.key).collect()
    }

    /// Files in the blob folder, half-written ones included.
    pub fn files(&self) -> usize {
        fn count(folder: PathBuf) -> usize {
            let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
            entries
                .map(|entry| {
                    if entry.path().is_dir() {
                        count(entry.path())
                    } else {
                        1
                    }
                })
                .sum()
        }
        count(self.folder.path().join("blobs"))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn messages(metadata: UploadMediaMetadata, bytes: Bytes) -> Vec<UploadMediaRequest> {
    let mut messages = vec![UploadMediaRequest {
        payload: Some(Payload::Metadata(metadata)),
    }];
    let starts = (0..bytes.len()).step_by(64 * 1024);
    messages.extend(starts.map(|start| {
        let chunk = bytes.slice(start..bytes.len().min(start + 64 * 1024));
        UploadMediaRequest {
            payload: Some(Payload::Chunk(chunk)),
        }
    }));
    messages
}

/// Small times, so that retries and leases fit into a test.
pub fn quick() -> Options {
    let mut options = Options::default();
    options.worker.backoff_millis = 20;
    options.worker.max_poll_millis = 50;
    options.worker.lease_millis = 3_000;
    options.worker.heartbeat_millis = 100;
    options.worker.rescue_interval_secs = 1;
    options.worker.models_interval_secs = 1;
    options
}

pub fn photo(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../libs/imaging/tests/data");
    std::fs::read(PathBuf::from(path).join(name)).unwrap()
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>, reason: ErrorReason) -> Status {
    let status = result.unwrap_err();
    assert_eq!(reason_of(&status), Some(reason), "{status:?}");
    status
}
