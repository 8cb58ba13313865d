//! A service over memory, Redis or a cluster, called directly or through the mesh.

use std::{path::PathBuf, sync::Arc, time::Duration};

use mediamesh_cache::{Cache, Deps, Options, RedisOptions, SessionOptions, build};
use mediamesh_mesh::{
    Authentication, Authenticator, Caller, Channel, Identity, Policy, Registry, ServerBuilder,
    ServerDeps, ServiceName,
    identity::{Proof, Scopes},
};
use mediamesh_proto::{
    cache::v1::{
        CreateSessionRequest, CreateSessionResponse, DeleteSessionRequest, DeleteSessionResponse,
        GetSessionRequest, GetSessionResponse, ListSessionsRequest, ListSessionsResponse,
        ResolveSessionRequest, ResolveSessionResponse, RevokeSessionsRequest,
        RevokeSessionsResponse, SweepSessionsRequest, SweepSessionsResponse, UpdateSessionRequest,
        UpdateSessionResponse, session_service_client::SessionServiceClient,
        session_service_server::SessionService,
    },
    page_token::PageTokens,
};
use mediamesh_telemetry::{HealthRegistry, HealthStatus, Metrics};
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// Metadata that says who calls, for the authenticator of these tests.
const CALLER: &str = "x-test-caller";
/// Most sessions of one user in these tests.
pub(crate) const MOST: usize = 32;

/// A service and what it says of itself.
pub(crate) struct Subject {
    pub(crate) cache: Cache,
    pub(crate) metrics: Metrics,
    health: HealthRegistry,
}

impl Subject {
    pub(crate) fn new(redis: RedisOptions, sessions: SessionOptions, dir: Option<PathBuf>) -> Self {
        let options = Options {
            redis,
            sessions,
            ..Options::default()
        };
        assert_eq!(options.validate(), Vec::<String>::new());
        let (metrics, health) = (Metrics::new(), HealthRegistry::new());
        let deps = Deps {
            metrics: metrics.clone(),
            health: health.clone(),
            session_dir: dir,
            page_tokens: PageTokens::new(b"test"),
        };
        Self {
            cache: build(options, deps).unwrap(),
            metrics,
            health,
        }
    }

    pub(crate) fn memory() -> Self {
        Self::new(RedisOptions::default(), options(), None)
    }

    /// A service whose Redis is in use.
    pub(crate) async fn connected(redis: RedisOptions, sessions: SessionOptions) -> Self {
        let subject = Self::new(redis, sessions, None);
        subject.is_connected(true).await;
        subject
    }

    /// Waits until Redis is in use, or is not any more.
    pub(crate) async fn is_connected(&self, connected: bool) {
        self.shows("mediamesh_cache_redis_connected", u8::from(connected))
            .await;
    }

    /// Waits until a metric without labels has a value.
    pub(crate) async fn shows(&self, metric: &str, value: u8) {
        let line = format!("{metric} {value}\n");
        let wait = async {
            while !self.metrics.encode().contains(&line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("{metric} is not {value}"));
    }

    /// What a component says of itself.
    pub(crate) fn health(&self, component: &str) -> &'static str {
        match self.health.snapshot().components[component].status {
            HealthStatus::Serving => "serving",
            HealthStatus::Degraded => "degraded",
            HealthStatus::NotServing => "not serving",
        }
    }

    /// The implementation itself.
    pub(crate) fn direct(&self) -> impl SessionService + use<> {
        self.cache.session_handler()
    }

    /// The service behind the server stack of the mesh.
    pub(crate) fn through_the_mesh(&self) -> Remote {
        let metrics = Metrics::new();
        let registry = Registry::new(Policy::default(), &metrics);
        let deps = ServerDeps {
            policy: Policy::default(),
            metrics,
            health: HealthRegistry::new(),
            authenticator: Arc::new(AsTold),
        };
        let routes = ServerBuilder::new(deps)
            .add_service(self.cache.session_server())
            .build()
            .unwrap();
        registry.register_local(ServiceName::Cache, routes);
        Remote(SessionServiceClient::new(
            registry.channel(ServiceName::Cache),
        ))
    }
}

pub(crate) fn options() -> SessionOptions {
    SessionOptions {
        max_per_user: MOST,
        ..SessionOptions::default()
    }
}

/// Settings of a Redis, with a prefix of its own.
pub(crate) fn redis(urls: Vec<String>, cluster: bool) -> RedisOptions {
    RedisOptions {
        urls,
        cluster,
        prefix: format!("test-{}:", Uuid::new_v4().simple()),
        ..RedisOptions::default()
    }
}

/// Who calls.
#[derive(Clone)]
pub(crate) struct By(pub(crate) Identity);

impl By {
    /// The holder of an API key of a tenant of its own.
    pub(crate) fn somebody() -> Self {
        Self::of(Uuid::now_v7())
    }

    /// The holder of an API key.
    pub(crate) fn of(tenant_id: Uuid) -> Self {
        Self(Identity {
            tenant_id,
            subject: format!("key:{}", Uuid::now_v7()),
            scopes: Scopes::parse("write"),
        })
    }

    /// Another of the same tenant.
    pub(crate) fn other(&self) -> Self {
        Self::of(self.0.tenant_id)
    }

    pub(crate) fn with_scopes(mut self, scopes: &str) -> Self {
        self.0.scopes = Scopes::parse(scopes);
        self
    }

    pub(crate) fn named(mut self, subject: &str) -> Self {
        subject.clone_into(&mut self.0.subject);
        self
    }

    /// A request by it.
    pub(crate) fn asks<T>(&self, message: T) -> Request<T> {
        let Identity {
            tenant_id,
            subject,
            scopes,
        } = &self.0;
        let mut request = Request::new(message);
        let value = format!("{tenant_id}|{subject}|{scopes}").parse().unwrap();
        request.metadata_mut().insert(CALLER, value);
        request.extensions_mut().insert(self.0.clone());
        request
    }
}

/// Believes what the metadata says.
struct AsTold;

impl Authenticator for AsTold {
    fn authenticate(&self, headers: &http::HeaderMap) -> Authentication {
        let mut parts = headers[CALLER].to_str().unwrap().split('|');
        let identity = Identity {
            tenant_id: parts.next().unwrap().parse().unwrap(),
            subject: parts.next().unwrap().to_owned(),
            scopes: Scopes::parse(parts.next().unwrap()),
        };
        Authentication::Done(Ok(Caller::new(identity, Proof::Token)))
    }
}

/// The service as its clients see it.
pub(crate) struct Remote(SessionServiceClient<Channel>);

macro_rules! forward {
    ($($method:ident: $request:ident -> $response:ident),+ $(,)?) => {
        #[tonic::async_trait]
        impl SessionService for Remote {
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
    create_session: CreateSessionRequest -> CreateSessionResponse,
    get_session: GetSessionRequest -> GetSessionResponse,
    update_session: UpdateSessionRequest -> UpdateSessionResponse,
    delete_session: DeleteSessionRequest -> DeleteSessionResponse,
    list_sessions: ListSessionsRequest -> ListSessionsResponse,
    revoke_sessions: RevokeSessionsRequest -> RevokeSessionsResponse,
    sweep_sessions: SweepSessionsRequest -> SweepSessionsResponse,
    resolve_session: ResolveSessionRequest -> ResolveSessionResponse,
}
