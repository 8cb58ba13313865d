//! An address that answers before its services are there.
//!
//! A process loads models and indexes for seconds or minutes. Meanwhile its port is bound, and whoever
//! asks is told so: `grpc.health.v1` says UNKNOWN, which a client of the mesh takes for a peer that is not
//! there yet, reflection answers, and every other call is refused as one that was not started. From
//! [`Opening::open`] on the services answer, on the connections that are there already too.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mediamesh_telemetry::HealthRegistry;
use tokio::net::TcpListener;
use tower::Service;

use super::builder::{BuildError, ServerDeps};
use super::health::Open;
use super::introspection;
use super::routes::{Routes, ServeError, listen};
use super::stack::before_handlers;
use crate::policy::is_unlimited;
use crate::tls::ServerTls;
use crate::{BoxService, MethodTable, Request, Response, ServiceName, status};

/// See the module; clones share what they open.
#[derive(Clone)]
pub struct Opening {
    door: Door,
    drain_limit: Duration,
    health: HealthRegistry,
    tls: Option<ServerTls>,
}

impl Opening {
    /// Returns an address at which `services` will answer.
    ///
    /// Errors: a descriptor set that does not parse.
    pub fn new(
        deps: &ServerDeps,
        services: &[ServiceName],
        descriptors: &'static [u8],
    ) -> Result<Self, BuildError> {
        let ServerDeps {
            policy,
            metrics,
            health,
            ..
        } = deps;
        let contract = MethodTable::of_contract();
        let mut names: Vec<_> = contract
            .iter()
            .map(|(path, _)| crate::method::split_path(path).0)
            .filter(|name| {
                ServiceName::from_grpc_service(name).is_some_and(|name| services.contains(&name))
            })
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        names.dedup();
        let open = Open::new(false);
        let answers = introspection::alone(health.clone(), names, &[descriptors], open.clone())?;
        let outside = before_handlers(policy, metrics, Outside(answers));
        Ok(Self {
            door: Door {
                sides: Arc::new(Sides {
                    outside,
                    open,
                    inside: OnceLock::new(),
                }),
                ready: None,
            },
            drain_limit: policy.drain_limit(),
            health: health.clone(),
            tls: None,
        })
    }

    /// Lets only those in over TCP who prove to belong to the mesh.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<ServerTls>) -> Self {
        self.tls = tls;
        self
    }

    /// Lets calls in to `routes` from now on.
    pub fn open(&self, routes: &Routes) {
        // A second time changes nothing.
        let _ = self.door.sides.inside.set(routes.local().clone());
        self.door.sides.open.open();
    }

    /// Serves as [`Routes::serve`] does.
    ///
    /// Errors: the transport could not be set up; a bad connection is no error.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let drain = (self.drain_limit, self.health);
        listen(listener, self.door, self.tls, drain, shutdown).await
    }
}

/// Health and reflection; all else is refused.
#[derive(Clone)]
struct Outside(BoxService);

impl Service<Request> for Outside {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match is_unlimited(request.uri().path()) {
            true => self.0.call(request),
            false => std::future::ready(Ok(status::starting_up("the process").into_http())).boxed(),
        }
    }
}

/// What connections lead to; cloned for each request.
#[derive(Clone)]
struct Door {
    sides: Arc<Sides>,
    /// The side this copy is ready to call.
    ready: Option<BoxService>,
}

struct Sides {
    outside: BoxService,
    /// What health goes by.
    open: Open,
    inside: OnceLock<BoxService>,
}

impl Service<Request> for Door {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        let sides = &self.sides;
        let side = sides.inside.get().unwrap_or(&sides.outside);
        self.ready.insert(side.clone()).poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match &mut self.ready {
            Some(side) => side.call(request),
            None => std::future::ready(Ok(status::starting_up("the process").into_http())).boxed(),
        }
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening")
            .field("opened", &self.door.sides.inside.get().is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mediamesh_proto::status::reason_of;
    use mediamesh_proto::{ErrorReason, FILE_DESCRIPTOR_SET};
    use mediamesh_telemetry::Metrics;
    use tonic::{Code, Status};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{LocalAuthenticator, Policy, ServerBuilder};

    const SEARCH: &str = "mediamesh.search.v1.SearchService";

    async fn health(door: &Door, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(door.clone()).check(request).await?;
        Ok(answer.into_inner().status())
    }

    async fn call(door: &mut Door) -> Status {
        let request = http::Request::post(format!("/{SEARCH}/SearchMedia"));
        let request = request.body(tonic::body::Body::empty()).unwrap();
        let response = door.ready().await.unwrap().call(request).await.unwrap();
        Status::from_header_map(response.headers()).unwrap()
    }

    #[tokio::test]
    async fn calls_are_refused_as_not_started_until_it_is_open_and_health_is_never_silent() {
        let (metrics, registry) = (Metrics::new(), HealthRegistry::new());
        let deps = ServerDeps {
            policy: Policy::default(),
            metrics: metrics.clone(),
            health: registry.clone(),
            authenticator: Arc::new(LocalAuthenticator),
        };
        let services = [ServiceName::Search];
        let opening = Opening::new(&deps, &services, FILE_DESCRIPTOR_SET).unwrap();
        // a connection made before, and one made after
        let mut early = opening.door.clone();
        let refused = call(&mut early).await;
        assert_eq!(refused.code(), Code::Unavailable);
        assert_eq!(
            reason_of(&refused),
            Some(ErrorReason::StartingUp),
            "{refused:?}"
        );
        let counted = format!(
            r#"mediamesh_rpc_duration_seconds_count{{service="{SEARCH}",method="SearchMedia",side="server",code="UNAVAILABLE"}} 1"#
        );
        assert!(metrics.encode().contains(&counted), "{}", metrics.encode());
        // built, and behind a closed door
        registry.serving("search");
        for name in ["", SEARCH, "search"] {
            assert_eq!(health(&early, name).await.unwrap(), ServingStatus::Unknown);
        }
        let watched = HealthCheckRequest {
            service: "search".to_owned(),
        };
        let watched = HealthClient::new(early.clone()).watch(watched).await;
        let mut watched = watched.unwrap().into_inner();
        let mut next = async || watched.message().await.unwrap().unwrap().status();
        assert_eq!(next().await, ServingStatus::Unknown);
        let elsewhere = health(&early, "mediamesh.media.v1.MediaService").await;
        assert_eq!(elsewhere.unwrap_err().code(), Code::NotFound);

        opening.open(&ServerBuilder::new(deps).build().unwrap());
        // not ready yet, but whoever waits for this service waits no longer
        let named = health(&early, "search").await.unwrap();
        assert_eq!(named, ServingStatus::Serving);
        registry.set_started();
        assert_eq!(next().await, ServingStatus::Serving);
        for door in [&mut early, &mut opening.door.clone()] {
            // nothing is behind it here, and that is said by the services' own router
            assert_eq!(call(door).await.code(), Code::Unimplemented);
            assert_eq!(health(door, "").await.unwrap(), ServingStatus::Serving);
        }
    }
}
