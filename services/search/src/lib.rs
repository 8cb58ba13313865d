//! The search service: finds media items by words, by example, or by both.
//!
//! - [`options`]: settings and their defaults
//! - `grpc`: the generated trait; converts in, calls, converts out
//! - `convert`: requests to [`query::Query`] with all validation, hits to messages
//! - [`query`]: what is asked, in domain terms
//! - `service`: one search from cache look-up to hydrated hits
//! - `retrieve`: the ranked lists of one search: full text and vectors
//! - `fusion`: reciprocal rank fusion of the lists
//! - `spaces`: the vector indexes, kept level with their change logs
//! - `matching`: the items that a filter lets through
//! - `embedder`: the embedding service as search sees it
//! - `result_cache`: the cache service as search sees it
//! - `patience`: how long a search waits for either
//! - `wording`: what counts as the same search
//! - `past`: what was searched for, by whom and how often; `suggest`: completions from it
//! - `restore`: what was popular is known again after a restart
//! - `warm`: popular searches are answered before they are asked
//! - `metrics`, `error`

mod convert;
mod embedder;
mod error;
mod fusion;
mod grpc;
mod matching;
mod metrics;
pub mod options;
mod past;
mod patience;
pub mod query;
mod restore;
mod result_cache;
mod retrieve;
mod service;
mod spaces;
mod suggest;
mod warm;
mod wording;

use std::{path::PathBuf, sync::Arc};

use futures::FutureExt as _;
use mediamesh_mesh::Channel;
use mediamesh_near::NearCache;
use mediamesh_proto::{
    page_token::PageTokens, search::v1::search_service_server::SearchServiceServer,
};
use mediamesh_store::{HistoryStore, SearchStore, VectorStore};
use mediamesh_telemetry::Metrics;
use tokio::sync::Semaphore;

pub use error::Error;
pub use options::Options;

/// What the service needs from its process.
pub struct Deps {
    /// Rows.
    pub store: Arc<dyn SearchStore>,
    /// What users searched for.
    pub history: Arc<dyn HistoryStore>,
    /// Searches vectors, where the database does; else indexes in this process do.
    pub vectors: Option<Arc<dyn VectorStore>>,
    /// Where snapshots of the vector indexes lie.
    pub index_dir: PathBuf,
    /// The embedding service.
    pub embedding: Channel,
    /// The cache service.
    pub cache: NearCache,
    /// Seals page tokens.
    pub page_tokens: PageTokens,
    /// Where metrics are registered.
    pub metrics: Metrics,
}

/// The service, ready to be added to a server.
#[derive(Clone)]
pub struct Search {
    service: Arc<service::Service>,
}

/// Builds the service. Indexes are opened by [`Search::open_indexes`].
#[must_use]
pub fn build(options: Options, deps: Deps) -> Search {
    let metrics = metrics::SearchMetrics::new(&deps.metrics);
    let service = service::Service {
        spaces: spaces::Spaces::new(
            Arc::clone(&deps.store),
            deps.vectors,
            deps.index_dir,
            options.removed_vectors(),
        ),
        matching: matching::MatchingSets::new(
            Arc::clone(&deps.store),
            options.max_matching_sets_bytes,
        ),
        store: deps.store,
        embedder: embedder::Embedder::new(deps.embedding),
        decoding: Arc::new(Semaphore::new(
            std::thread::available_parallelism().map_or(2, usize::from),
        )),
        past: Arc::new(past::Past::new(
            &options,
            deps.history,
            deps.cache.clone(),
            metrics.history_lost.clone(),
        )),
        tenants: warm::Tenants::default(),
        cache: result_cache::ResultCache::new(deps.cache, options.cache_ttl()),
        page_tokens: deps.page_tokens,
        metrics,
        options,
    };
    Search {
        service: Arc::new(service),
    }
}

impl Search {
    /// The generated server.
    #[must_use]
    pub fn server(
        &self,
    ) -> SearchServiceServer<impl mediamesh_proto::search::v1::search_service_server::SearchService>
    {
        SearchServiceServer::new(grpc::Grpc {
            service: Arc::clone(&self.service),
        })
    }

    /// Opens every index of the database from its snapshot and reads what came after it.
    ///
    /// Errors: the database or a data directory that cannot be read; a torn snapshot is no error,
    /// it is rebuilt from the rows.
    pub async fn open_indexes(&self) -> Result<(), Error> {
        self.service.spaces.open_all().await
    }

    /// Writes snapshots of the indexes that changed, so that the next start is quick; where the
    /// database searches, has it build the indexes that are missing.
    pub async fn snapshot_indexes(&self) {
        self.service.spaces.tend(std::future::pending()).await;
    }

    /// Does what no call waits for until `shutdown`: snapshots, the history of users, and answers to
    /// popular searches. What is noted or changed then is written once more.
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let shutdown = shutdown.shared();
        tokio::join!(
            self.keep_snapshots(shutdown.clone()),
            self.service.past.run(shutdown.clone()),
            self.service.keep_warm(shutdown),
        );
    }

    async fn keep_snapshots(&self, shutdown: impl Future<Output = ()>) {
        let every = self.service.options.snapshot_interval();
        tokio::pin!(shutdown);
        let mut stopped = false;
        while !stopped {
            tokio::select! {
                () = &mut shutdown => break,
                () = tokio::time::sleep(every) => {}
            }
            let stop = async {
                (&mut shutdown).await;
                stopped = true;
            };
            self.service.spaces.tend(stop).await;
        }
        // what the database builds waits for the next start
        self.service.spaces.save().await;
    }
}
