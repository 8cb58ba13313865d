//! Health and reflection by themselves: what every gRPC address answers beside its services.

use mediamesh_telemetry::HealthRegistry;
use tonic::service::RoutesBuilder;
use tonic_health::pb::health_server::HealthServer;

use super::builder::BuildError;
use super::health::{HealthService, Open};
use crate::BoxService;

/// Adds `grpc.health.v1` and reflection of `descriptors` to `routes`; `open` says whether calls are let in.
///
/// Errors: a descriptor set that does not parse.
pub(super) fn add_to(
    routes: &mut RoutesBuilder,
    health: HealthRegistry,
    services: Vec<String>,
    descriptors: &[&'static [u8]],
    open: Open,
) -> Result<(), BuildError> {
    let health = HealthService::new(health, services, open);
    routes.add_service(HealthServer::new(health));
    routes.add_service(reflection(descriptors).build_v1()?);
    // Tools of a few years ago only speak v1alpha.
    routes.add_service(reflection(descriptors).build_v1alpha()?);
    Ok(())
}

/// Returns health and reflection without any layer, for an address that is not a server of the mesh.
///
/// `services` are the gRPC service names that health knows beside the components of the process.
/// Errors: a descriptor set that does not parse.
pub fn introspection(
    health: HealthRegistry,
    services: Vec<String>,
    descriptors: &[&'static [u8]],
) -> Result<BoxService, BuildError> {
    alone(health, services, descriptors, Open::new(true))
}

/// As [`introspection`]; `open` says whether calls are let in.
pub(super) fn alone(
    health: HealthRegistry,
    services: Vec<String>,
    descriptors: &[&'static [u8]],
    open: Open,
) -> Result<BoxService, BuildError> {
    let mut routes = RoutesBuilder::default();
    add_to(&mut routes, health, services, descriptors, open)?;
    Ok(BoxService::new(routes.routes().prepare()))
}

fn reflection<'b>(descriptors: &[&'b [u8]]) -> tonic_reflection::server::Builder<'b> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    descriptors.iter().fold(builder, |builder, set| {
        builder.register_encoded_file_descriptor_set(set)
    })
}
