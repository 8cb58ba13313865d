//! Puts generated servers, health and reflection behind one server stack.

use std::convert::Infallible;
use std::sync::Arc;

use mediamesh_telemetry::{HealthRegistry, Metrics};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tower::{Layer as _, Service};

use super::health::Open;
use super::introspection;
use super::limits::Limiters;
use super::routes::Routes;
use super::stack::ServerStack;
use crate::identity::Authenticator;
use crate::{BoxService, Policy, Request};

/// Why a server could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A descriptor set is not one.
    #[error("descriptor sets could not be served by reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// What a server needs from its process.
#[derive(Clone)]
pub struct ServerDeps {
    /// Deadlines and limits.
    pub policy: Policy,
    /// Where calls are counted.
    pub metrics: Metrics,
    /// What `grpc.health.v1` answers from.
    pub health: HealthRegistry,
    /// Who finds out who calls.
    pub authenticator: Arc<dyn Authenticator>,
}

/// Collects generated servers; several services may share one stack, limits stay per service.
pub struct ServerBuilder {
    deps: ServerDeps,
    routes: RoutesBuilder,
    services: Vec<String>,
    descriptors: Vec<&'static [u8]>,
}

impl ServerBuilder {
    /// Returns a builder with no services.
    pub fn new(deps: ServerDeps) -> Self {
        Self {
            deps,
            routes: RoutesBuilder::default(),
            services: vec![],
            descriptors: vec![],
        }
    }

    /// Adds a generated server, e.g. `MediaServiceServer::new(imp)`.
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<Request, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.services.push(S::NAME.to_owned());
        self.routes.add_service(service);
        self
    }

    /// Adds an encoded `FileDescriptorSet` for reflection; raw bytes, because decoding loses
    /// extensions such as `google.api.http`.
    #[must_use]
    pub fn descriptors(mut self, encoded: &'static [u8]) -> Self {
        self.descriptors.push(encoded);
        self
    }

    /// Adds health and reflection and wraps everything in the server stack.
    ///
    /// Errors: a descriptor set that does not parse.
    pub fn build(mut self) -> Result<Routes, BuildError> {
        introspection::add_to(
            &mut self.routes,
            self.deps.health.clone(),
            self.services,
            &self.descriptors,
            Open::new(true),
        )?;
        let handlers = self.routes.routes().prepare();
        let drain_limit = self.deps.policy.drain_limit();
        let health = self.deps.health.clone();
        let limiters = Limiters::new(&self.deps.policy, &self.deps.metrics);
        let stack: BoxService = ServerStack::new(self.deps, limiters.clone()).layer(handlers);
        Ok(Routes::new(stack, drain_limit, health, limiters))
    }
}
