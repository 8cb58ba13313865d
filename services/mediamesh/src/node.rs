//! Services of this process, wired together: the same whether all run here or some.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use mediamesh_inference::{LoadedModel, ModelStore};
use mediamesh_mesh::{
    Authenticator, Channel, Opening, Policy, Registry, Routes, ServerBuilder, ServerDeps,
    ServiceName,
    admin::{self, Guard},
    fault::Faults,
    identity::lookup::KeyCache,
    tls::Tls,
};
use mediamesh_near::NearCache;
use mediamesh_proto::{FILE_DESCRIPTOR_SET, page_token::PageTokens};
use mediamesh_telemetry::{HealthRegistry, Metrics};

use crate::{
    config::Config, data_dir::DataDir, gate::Gate, layout::Layout, storage::Backend, stores::Stores,
};

mod database_metrics;
mod storage_watch;

/// What is said when no model is installed.
pub(crate) const HINT: &str = "Words search names, folders, tags, captions and camera data; for semantic search run \
     `mediamesh models pull openai/clip-vit-base-patch32` and start again.";

/// What is said when the model reads words only.
pub(crate) const TEXT_ONLY_HINT: &str = "Words find names, tags and descriptions by meaning; to search pictures by words run \
     `mediamesh models pull openai/clip-vit-base-patch32` and start again.";

/// What a process has before anything slow: enough to answer probes, and to refuse the rest.
pub(crate) struct Frame<'a> {
    parts: Parts<'a>,
    layout: &'a Layout,
    deps: ServerDeps,
    /// The gRPC address.
    pub(crate) opening: Opening,
    pub(crate) edge: Option<mediamesh_edge::Edge>,
    /// Who may see the pages of operators.
    pub(crate) guard: Guard,
}

/// The services of one process.
pub(crate) struct Node {
    pub(crate) registry: Registry,
    pub(crate) health: HealthRegistry,
    /// All gRPC services of this process behind one server stack.
    pub(crate) routes: Routes,
    /// Those of them that are called from here.
    pub(crate) here: Vec<ServiceName>,
    pub(crate) opening: Opening,
    pub(crate) worker: Option<mediamesh_media::Worker>,
    pub(crate) search: Option<mediamesh_search::Search>,
}

struct Parts<'a> {
    config: &'a Config,
    dir: &'a DataDir,
    registry: Registry,
    metrics: Metrics,
    health: HealthRegistry,
    page_tokens: PageTokens,
    presign_tokens: PageTokens,
    near_cache: NearCache,
    gate: Gate,
    edge_authenticator: Arc<dyn Authenticator>,
    keys: Option<KeyCache>,
    faults: Faults,
}

impl<'a> Frame<'a> {
    /// Makes what is there at once; nothing is served or opened yet.
    ///
    /// Errors: certificates or a secret that cannot be read, an endpoint that does not parse.
    pub(crate) fn new(config: &'a Config, dir: &'a DataDir, layout: &'a Layout) -> Result<Self> {
        let metrics = Metrics::new();
        let policy = Policy::from_options(&config.mesh);
        let gate = Gate::new(&config.identity, &dir.secret()?);
        let tls = Tls::open(&config.mesh.tls)?;
        if let Some(tls) = &tls {
            tokio::spawn(tls.clone().follow());
        }
        let registry = Registry::new(policy.clone(), &metrics)
            .with_credentials(gate.credentials())
            .with_tls(tls.as_ref().map(Tls::client));
        let (authenticator, edge_authenticator, keys) =
            gate.authenticators(registry.channel(ServiceName::Media));
        let cache = registry.channel(ServiceName::Cache);
        // the service's own memory is here already
        let near_cache = match layout.has(ServiceName::Cache) {
            true => NearCache::without_memory(cache),
            false => NearCache::new(cache, &config.near_cache, &metrics),
        };
        // From what all processes have, or the next page could be asked of a replica that knows nothing of it.
        let secret = dir.secret()?;
        let tokens = |of: &str| PageTokens::rotated(config.identity.secrets(&secret, of));
        let health = HealthRegistry::new();
        let parts = Parts {
            config,
            dir,
            registry,
            metrics: metrics.clone(),
            health: health.clone(),
            page_tokens: tokens("page tokens"),
            presign_tokens: tokens("signed addresses"),
            near_cache,
            gate,
            edge_authenticator,
            keys,
            faults: policy.faults(),
        };
        for (name, endpoints) in &layout.peers {
            parts.registry.register_remote(*name, endpoints)?;
        }
        let guard = Guard::new(&config.admin, Arc::clone(&parts.edge_authenticator));
        let edge = layout
            .has(ServiceName::Edge)
            .then(|| parts.edge(guard.clone()));
        let deps = ServerDeps {
            policy,
            metrics,
            health,
            authenticator,
        };
        let opening = Opening::new(&deps, &layout.here, FILE_DESCRIPTOR_SET)?
            .with_tls(tls.as_ref().map(Tls::server));
        Ok(Self {
            parts,
            layout,
            deps,
            opening,
            edge,
            guard,
        })
    }

    pub(crate) fn health(&self) -> HealthRegistry {
        self.parts.health.clone()
    }

    pub(crate) fn registry(&self) -> Registry {
        self.parts.registry.clone()
    }

    /// `/metrics`, `/health` and `/admin`, for a process without an edge.
    pub(crate) fn pages(&self) -> axum::Router {
        let parts = &self.parts;
        admin::router(
            parts.metrics.clone(),
            parts.health.clone(),
            parts.registry.clone(),
            parts.faults.clone(),
        )
    }

    /// Builds the services, however long that takes; nobody may call them yet.
    ///
    /// Errors: a database, model or folder that cannot be opened.
    pub(crate) async fn build(self) -> Result<Node> {
        let Self {
            parts,
            layout,
            deps,
            opening,
            ..
        } = self;
        let mut server = ServerBuilder::new(deps).descriptors(FILE_DESCRIPTOR_SET);
        if layout.has(ServiceName::Cache) {
            let cache = parts.cache()?;
            server = server
                .add_service(cache.server())
                .add_service(cache.session_server());
        }
        if layout.has(ServiceName::Embedding) {
            server = server.add_service(parts.embedding().await?.server());
        }
        let (mut worker, mut search) = (None, None);
        if layout.has(ServiceName::Media) || layout.has(ServiceName::Search) || layout.works {
            let stores = parts.stores().await?;
            if layout.has(ServiceName::Search) {
                let service = parts.search(stores.clone());
                server = server.add_service(service.server());
                search = Some(service);
            }
            if layout.has(ServiceName::Media) || layout.works {
                let sole = stores.sole;
                let media = parts.media(stores).await?;
                if layout.has(ServiceName::Media) {
                    parts.health.serving("media");
                    server = server
                        .add_service(media.media_server)
                        .add_service(media.job_server)
                        .add_service(media.key_server)
                        .add_service(media.user_server)
                        .add_service(media.request_log_server)
                        .add_service(media.presign_server);
                    parts.gate.look_up_here(media.keys);
                }
                worker = layout.works.then_some(match sole {
                    true => media.worker.sole(),
                    false => media.worker,
                });
            }
        }
        let routes = server.build()?;
        let called = |name: &ServiceName| *name != ServiceName::Edge;
        Ok(Node {
            registry: parts.registry,
            health: parts.health,
            routes,
            here: layout.here.iter().copied().filter(called).collect(),
            opening,
            worker,
            search,
        })
    }
}

impl Parts<'_> {
    fn channel(&self, name: ServiceName) -> Channel {
        self.registry.channel(name)
    }

    fn cache(&self) -> Result<mediamesh_cache::Cache> {
        self.health.serving("cache");
        Ok(mediamesh_cache::build(
            self.config.cache.clone(),
            mediamesh_cache::Deps {
                metrics: self.metrics.clone(),
                health: self.health.clone(),
                session_dir: Some(self.dir.sessions()),
                page_tokens: self.page_tokens.clone(),
            },
        )?)
    }

    async fn embedding(&self) -> Result<mediamesh_embedding::Embedding> {
        let model = self.model().await?;
        match &model {
            Some(model) => {
                tracing::info!(
                    model = model.spec.id,
                    engine = model.report.engine.as_str(),
                    "semantic search is on"
                );
                self.health.set(
                    "embedding",
                    mediamesh_telemetry::health::HealthStatus::Serving,
                    format!("{} on {}", model.spec.id, model.report.engine.as_str()),
                );
            }
            None => {
                tracing::info!("no model is installed. {HINT}");
                self.health.serving("embedding");
            }
        }
        let deps = mediamesh_embedding::Deps {
            cache: self.near_cache.clone(),
            metrics: self.metrics.clone(),
            model,
            hint: HINT.to_owned(),
            text_only_hint: TEXT_ONLY_HINT.to_owned(),
        };
        Ok(mediamesh_embedding::build(
            self.config.embedding.clone(),
            deps,
        ))
    }

    /// The model in use, loaded. One that does not load costs semantic search, not the start.
    async fn model(&self) -> Result<Option<LoadedModel>> {
        let dir = self.dir.models();
        let options = self.config.models.engine_options();
        let load = tokio::task::spawn_blocking(move || -> Result<Option<LoadedModel>> {
            let Some(installed) = ModelStore::open(dir)?.active()? else {
                return Ok(None);
            };
            match mediamesh_inference::load(&installed, &options) {
                Ok(model) => Ok(Some(model)),
                Err(error) => {
                    let cause = anyhow::Error::new(error);
                    tracing::error!(
                        model = installed.id,
                        "the model in use does not load: {cause:#}"
                    );
                    Ok(None)
                }
            }
        });
        load.await?.context("cannot read the folder of models")
    }

    async fn stores(&self) -> Result<Stores> {
        let observers = database_metrics::observers(&self.metrics);
        let stores = Stores::open(&self.config.database, self.dir, Some(observers)).await?;
        database_metrics::watch_pools(&self.metrics, stores.pools.clone());
        if let Some(replica) = stores.replica.clone() {
            database_metrics::watch_replica(&self.metrics, replica);
        }
        self.health.serving("database");
        Ok(stores)
    }

    fn search(&self, stores: Stores) -> mediamesh_search::Search {
        let deps = mediamesh_search::Deps {
            store: stores.search,
            history: stores.history,
            vectors: stores.vectors,
            index_dir: self.dir.vectors(),
            embedding: self.channel(ServiceName::Embedding),
            cache: self.near_cache.clone(),
            page_tokens: self.page_tokens.clone(),
            metrics: self.metrics.clone(),
        };
        mediamesh_search::build(self.config.search.clone(), deps)
    }

    async fn media(&self, stores: Stores) -> Result<mediamesh_media::Media> {
        let blobs = self.config.storage.open(self.dir).await?;
        if self.config.storage.backend == Backend::S3 {
            storage_watch::watch(blobs.clone(), &self.metrics, self.health.clone());
        }
        let deps = mediamesh_media::Deps {
            media_store: stores.media,
            job_store: stores.jobs,
            key_store: stores.keys,
            integrity_store: stores.integrity,
            search_store: stores.search,
            request_log: stores.request_log,
            blobs,
            embedding: self.channel(ServiceName::Embedding),
            search: self.channel(ServiceName::Search),
            cache: self.near_cache.clone(),
            metrics: self.metrics.clone(),
            page_tokens: self.page_tokens.clone(),
            presign_tokens: self.presign_tokens.clone(),
        };
        Ok(mediamesh_media::build(self.config.media.clone(), deps)?)
    }

    fn edge(&self, guard: Guard) -> mediamesh_edge::Edge {
        self.health.serving("edge");
        let deps = mediamesh_edge::Deps {
            media: self.channel(ServiceName::Media),
            search: self.channel(ServiceName::Search),
            embedding: self.channel(ServiceName::Embedding),
            cache: self.channel(ServiceName::Cache),
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            registry: self.registry.clone(),
            authenticator: Arc::clone(&self.edge_authenticator),
            keys: self.keys.clone(),
            guard,
            faults: self.faults.clone(),
        };
        mediamesh_edge::build(self.config.edge.clone(), deps)
    }
}
