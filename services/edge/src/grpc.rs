//! Plain gRPC and gRPC-Web on the same port as REST: every method that clients may call, health and
//! reflection.
//!
//! Messages are not read here: frames go to the service's channel and its answer comes back, trailers
//! included. What the edge holds REST to holds here too, since the layers are the same.
//!
//! - `admit`: which requests are gRPC at all
//! - `data_only`: a body without trailers
//! - `headers`: what of a request's head goes on into the mesh
//! - `status`: errors of the edge in gRPC's terms

pub(crate) mod admit;
mod data_only;
pub(crate) mod headers;
pub(crate) mod status;

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, middleware::from_fn_with_state};
use mediamesh_mesh::{
    MethodTable, ServiceName, identity::access::AccessTable, server::introspection,
};
use mediamesh_proto::{FILE_DESCRIPTOR_SET, common::v1::Access};
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, Service};

use crate::Shared;
use data_only::DataOnly;

/// Methods of health and reflection; their descriptors are not part of the contract.
const INTROSPECTION: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// One route per method, so that metrics and traces name it; every other path is unknown.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    let mut services = Vec::new();
    for path in public() {
        let service = path.trim_start_matches('/').split('/').next();
        let service = service.unwrap_or_default();
        if !services.iter().any(|known| known == service) {
            services.push(service.to_owned());
        }
        let channel = match ServiceName::from_grpc_service(service) {
            Some(ServiceName::Search) => shared.deps.search.clone(),
            Some(ServiceName::Embedding) => shared.deps.embedding.clone(),
            Some(ServiceName::Cache) => shared.deps.cache.clone(),
            _ => shared.deps.media.clone(),
        };
        router = router.route_service(&path, GrpcWebLayer::new().layer(Forward(channel)));
    }
    let introspection = introspection(shared.deps.health.clone(), services, &[FILE_DESCRIPTOR_SET])
        .expect("the contract's descriptors are encoded by our own build");
    for path in INTROSPECTION {
        let service = GrpcWebLayer::new().layer(Forward(introspection.clone()));
        router = router.route_service(path, service);
    }
    router.layer(from_fn_with_state(Arc::clone(shared), admit::apply))
}

/// Paths of the methods that clients may call: all but those the mesh keeps to itself.
fn public() -> Vec<String> {
    let access = AccessTable::of_contract();
    MethodTable::of_contract()
        .iter()
        .map(|(path, _)| path.to_owned())
        .filter(|path| access.access(path) != Access::Mesh)
        .collect()
}

/// Passes a call on into the mesh with only that of its head which belongs there.
#[derive(Clone)]
struct Forward<S>(S);

impl<S> Service<mediamesh_mesh::Request> for Forward<S>
where
    S: Service<mediamesh_mesh::Request, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: mediamesh_mesh::Request) -> S::Future {
        let request = headers::inward(request);
        self.0.call(request.map(|body| Body::new(DataOnly(body))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_call_what_is_theirs_and_nothing_of_the_mesh() {
        let public = public();
        for theirs in [
            "/mediamesh.search.v1.SearchService/SearchMedia",
            "/mediamesh.search.v1.SearchService/SearchByImage",
            "/mediamesh.media.v1.MediaService/UploadMedia",
            "/mediamesh.media.v1.MediaService/DownloadMedia",
            "/mediamesh.media.v1.JobService/GetJob",
            "/mediamesh.embedding.v1.EmbeddingService/EmbedTexts",
            "/mediamesh.cache.v1.CacheService/GetCacheStats",
        ] {
            assert!(public.iter().any(|path| path == theirs), "{theirs}");
        }
        for ours in [
            "/mediamesh.search.v1.SearchService/IndexMedia",
            "/mediamesh.cache.v1.CacheService/SetEntry",
            "/mediamesh.cache.v1.CacheService/InvalidateEntries",
        ] {
            assert!(!public.iter().any(|path| path == ours), "{ours}");
        }
    }
}
