//! A worker of the media service on a store, without the services it calls.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use mediamesh_blob::BlobStore;
use mediamesh_media::{Deps, Options, Worker, build};
use mediamesh_mesh::{MethodTable, Policy, PolicyOptions, Registry, ServiceName};
use mediamesh_near::NearCache;
use mediamesh_proto::{MediaItemId, TenantId, page_token::PageTokens};
use mediamesh_store::{
    IntegrityStore, JobStore, KeyStore, MediaStore, RequestLogStore, SearchStore,
    job::{JobKind, NewJob},
    media::{Kind, NewMediaItem, State},
};
use mediamesh_telemetry::Metrics;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const TENANT: TenantId = TenantId(Uuid::from_u128(1));

pub(crate) trait Stores:
    MediaStore + JobStore + KeyStore + IntegrityStore + SearchStore + RequestLogStore + Clone + 'static
{
}

impl<S> Stores for S where
    S: MediaStore
        + JobStore
        + KeyStore
        + IntegrityStore
        + SearchStore
        + RequestLogStore
        + Clone
        + 'static
{
}

pub(crate) struct Rig {
    worker: Option<Worker>,
    running: Option<JoinHandle<std::io::Result<()>>>,
    stop: CancellationToken,
    metrics: Metrics,
    blobs: BlobStore,
    folder: tempfile::TempDir,
}

impl Rig {
    pub(crate) fn new<S: Stores>(store: S, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobStore::local(folder.path().to_owned()).unwrap();
        let metrics = Metrics::new();
        let policy = Policy::new(&PolicyOptions::default(), &MethodTable::of_contract());
        let registry = Registry::new(policy, &metrics);
        let deps = Deps {
            media_store: Arc::new(store.clone()),
            job_store: Arc::new(store.clone()),
            key_store: Arc::new(store.clone()),
            integrity_store: Arc::new(store.clone()),
            search_store: Arc::new(store.clone()),
            request_log: Arc::new(store),
            blobs: blobs.clone(),
            embedding: registry.channel(ServiceName::Embedding),
            search: registry.channel(ServiceName::Search),
            cache: NearCache::without_memory(registry.channel(ServiceName::Cache)),
            metrics: metrics.clone(),
            page_tokens: PageTokens::new(b"bench"),
            presign_tokens: PageTokens::new(b"bench"),
        };
        Self {
            worker: Some(build(options, deps).unwrap().worker),
            running: None,
            stop: CancellationToken::new(),
            metrics,
            blobs,
            folder,
        }
    }

    pub(crate) fn start(&mut self) {
        let worker = self.worker.take().unwrap();
        let stop = self.stop.clone().cancelled_owned();
        self.running = Some(tokio::spawn(worker.run(stop)));
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        self.running.take().unwrap().await.unwrap().unwrap();
    }

    /// Sum of a counter over those of its labels that hold a text.
    fn counted(&self, name: &str, label: &str) -> u64 {
        let text = self.metrics.encode();
        let lines = text.lines().filter(|line| {
            line.starts_with(&format!("mediamesh_media_{name}")) && line.contains(label)
        });
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Jobs that do nothing and are done.
    pub(crate) fn succeeded(&self) -> u64 {
        self.counted("jobs_total{kind=\"delete_blobs\"", "succeeded")
    }

    pub(crate) fn rescued(&self) -> u64 {
        self.counted("jobs_rescued_total", "")
    }

    pub(crate) fn lost(&self) -> u64 {
        self.counted("jobs_total{", "lease_lost")
    }

    /// Stores a file of a byte; returns its key and its path.
    pub(crate) async fn file(&self, number: usize) -> (String, PathBuf) {
        let key = format!("t/renditions/{number}");
        let byte = Bytes::from_static(b"0");
        self.blobs.put(&key, byte).await.unwrap();
        let path = self.folder.path().join(&key);
        assert!(path.try_exists().unwrap(), "{}", path.display());
        (key, path)
    }

    /// Stores pictures, each with a job that decodes it.
    pub(crate) async fn items(
        &self,
        store: &impl Stores,
        picture: Vec<u8>,
        count: u8,
    ) -> Vec<MediaItemId> {
        let mut ids = Vec::new();
        let picture = Bytes::from(picture);
        for number in 0..count {
            let id = MediaItemId::generate();
            let key = format!("t/originals/{id}");
            self.blobs.put(&key, picture.clone()).await.unwrap();
            let item = NewMediaItem {
                tenant_id: TENANT,
                id,
                kind: Kind::Image,
                display_name: format!("{number}.jpg"),
                folder: String::new(),
                tags: Vec::new(),
                caption: String::new(),
                content_type: "image/jpeg".to_owned(),
                size_bytes: i64::try_from(picture.len()).unwrap(),
                sha256: [number; 32],
                blob_key: key,
                uploader: None,
            };
            let job = NewJob {
                media_item_id: Some(id),
                ..NewJob::new(TENANT, JobKind::ProcessMedia)
            };
            store.insert_item(item, job).await.unwrap();
            ids.push(id);
        }
        ids
    }

    /// How many of these are ready.
    pub(crate) async fn ready(&self, store: &impl Stores, ids: &[MediaItemId]) -> usize {
        let items = store.get_items(TENANT, ids).await.unwrap();
        items
            .iter()
            .filter(|item| item.state == State::Ready)
            .count()
    }
}
