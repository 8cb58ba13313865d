//! A service over memory, Redis or a cluster, called directly or through the mesh.

use std::sync::Arc;

use mediamesh_cache::{Cache, Deps, Options, RedisOptions, build};
use mediamesh_mesh::{
    Authentication, Authenticator, Caller, Channel, Identity, Policy, Registry, ServerBuilder,
    ServerDeps, ServiceName,
    identity::{Proof, Scopes},
};
use mediamesh_proto::{
    TenantId,
    cache::v1::{
        BatchGetEntriesRequest, BatchGetEntriesResponse, BatchSetEntriesRequest,
        BatchSetEntriesResponse, CountSearchesRequest, CountSearchesResponse, GetCacheStatsRequest,
        GetCacheStatsResponse, GetEntryRequest, GetEntryResponse, InvalidateEntriesRequest,
        InvalidateEntriesResponse, ListPopularSearchesRequest, ListPopularSearchesResponse,
        ReleaseLeaseRequest, ReleaseLeaseResponse, SetEntryRequest, SetEntryResponse,
        WatchInvalidationsRequest, WatchInvalidationsResponse,
        cache_service_client::CacheServiceClient, cache_service_server::CacheService,
    },
};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use tonic::{Request, Response, Status, Streaming};

/// Metadata that names the tenant, for the authenticator of these tests.
const TENANT: &str = "x-test-tenant";

/// A service and what it says of itself.
pub(crate) struct Subject {
    pub(crate) cache: Cache,
    pub(crate) metrics: Metrics,
    pub(crate) health: HealthRegistry,
}

impl Subject {
    pub(crate) fn new(redis: RedisOptions) -> Self {
        // TLS needs a provider, as `main` installs it
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = Options {
            redis,
            ..Options::default()
        };
        let (metrics, health) = (Metrics::new(), HealthRegistry::new());
        let deps = Deps {
            metrics: metrics.clone(),
            health: health.clone(),
            session_dir: None,
            page_tokens: mediamesh_proto::page_token::PageTokens::new(b"test"),
        };
        Self {
            cache: build(options, deps).unwrap(),
            metrics,
            health,
        }
    }

    /// A service in memory only.
    pub(crate) fn memory() -> Self {
        Self::new(RedisOptions::default())
    }

    /// A service whose Redis is in use.
    pub(crate) async fn connected(redis: RedisOptions) -> Self {
        let subject = Self::new(redis);
        subject.is_connected(true).await;
        subject
    }

    /// Waits until Redis is in use, or is not any more.
    pub(crate) async fn is_connected(&self, connected: bool) {
        let line = format!("mediamesh_cache_redis_connected {}\n", u8::from(connected));
        let wait = async {
            while !self.metrics.encode().contains(&line) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("connected is not {connected}: {:?}", self.detail()));
    }

    /// What health says of the cache.
    pub(crate) fn detail(&self) -> String {
        let state = self.health.snapshot();
        let component = state.components.get("cache");
        component.map_or_else(String::new, |component| component.detail.clone())
    }

    /// The implementation itself.
    pub(crate) fn direct(&self) -> impl CacheService + use<> {
        self.cache.handler()
    }

    /// The service behind the server stack of the mesh.
    pub(crate) fn through_the_mesh(&self) -> Remote {
        let registry = Registry::new(Policy::default(), &self.metrics);
        let deps = ServerDeps {
            policy: Policy::default(),
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            authenticator: Arc::new(ByTenant),
        };
        let routes = ServerBuilder::new(deps)
            .add_service(self.cache.server())
            .build()
            .unwrap();
        registry.register_local(ServiceName::Cache, routes);
        let client = CacheServiceClient::new(registry.channel(ServiceName::Cache));
        Remote(client.max_decoding_message_size(mediamesh_mesh::MAX_MESSAGE_BYTES))
    }
}

/// Settings of a Redis, with a prefix of its own.
pub(crate) fn redis(urls: Vec<String>, cluster: bool) -> RedisOptions {
    RedisOptions {
        urls,
        cluster,
        prefix: format!("test-{}:", uuid::Uuid::new_v4().simple()),
        ..RedisOptions::default()
    }
}

/// A tenant.
pub(crate) fn tenant(number: u8) -> TenantId {
    format!("00000000-0000-7000-8000-0000000000{number:02}")
        .parse()
        .unwrap()
}

/// A request by a tenant.
pub(crate) fn by<T>(tenant: TenantId, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = tenant.to_string().parse().unwrap();
    request.metadata_mut().insert(TENANT, value);
    request.extensions_mut().insert(identity(tenant));
    request
}

fn identity(tenant: TenantId) -> Identity {
    Identity {
        tenant_id: tenant.0,
        subject: "test".to_owned(),
        scopes: Scopes::all(),
    }
}

/// Believes what the metadata says.
struct ByTenant;

impl Authenticator for ByTenant {
    fn authenticate(&self, headers: &http::HeaderMap) -> Authentication {
        let tenant = headers[TENANT].to_str().unwrap().parse().unwrap();
        Authentication::Done(Ok(Caller::new(identity(tenant), Proof::Token)))
    }
}

/// The service as its clients see it.
pub(crate) struct Remote(CacheServiceClient<Channel>);

macro_rules! forward {
    ($($method:ident: $request:ident -> $response:ident),+ $(,)?) => {
        #[tonic::async_trait]
        impl CacheService for Remote {
            type WatchInvalidationsStream = Streaming<WatchInvalidationsResponse>;

            async fn watch_invalidations(
                &self,
                request: Request<WatchInvalidationsRequest>,
            ) -> Result<Response<Self::WatchInvalidationsStream>, Status> {
                self.0.clone().watch_invalidations(request).await
            }

            $(async fn $method(
                &self,
                request: Request<$request>,
            ) -> Result<Response<$response>, Status> {
                self.0.clone().$method(request).await
            })+
        }
    };
}

forward! {
    get_entry: GetEntryRequest -> GetEntryResponse,
    batch_get_entries: BatchGetEntriesRequest -> BatchGetEntriesResponse,
    set_entry: SetEntryRequest -> SetEntryResponse,
    batch_set_entries: BatchSetEntriesRequest -> BatchSetEntriesResponse,
    release_lease: ReleaseLeaseRequest -> ReleaseLeaseResponse,
    invalidate_entries: InvalidateEntriesRequest -> InvalidateEntriesResponse,
    count_searches: CountSearchesRequest -> CountSearchesResponse,
    list_popular_searches: ListPopularSearchesRequest -> ListPopularSearchesResponse,
    get_cache_stats: GetCacheStatsRequest -> GetCacheStatsResponse,
}
