//! Health over gRPC and HTTP, and reflection.

use std::time::Duration;

use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use mediamesh_mesh::{Policy, admin};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tower::ServiceExt as _;

use crate::echo::SERVICE;
use crate::mesh::{BOTH, Mesh, Via, limits, start, start_with};

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.into(),
    }
}

#[tokio::test]
async fn grpc_health_follows_the_registry() {
    for via in BOTH {
        let mesh = start(via).await;
        let mut client = HealthClient::new(mesh.channel.clone());
        let mut watch = client.watch(of(SERVICE)).await.unwrap().into_inner();
        let mut seen = vec![watch.next().await.unwrap().unwrap().status()];
        assert_eq!(
            client.check(of("")).await.unwrap().into_inner().status(),
            ServingStatus::NotServing
        );
        mesh.health.set_started();
        seen.push(watch.next().await.unwrap().unwrap().status());
        assert_eq!(
            client.check(of("")).await.unwrap().into_inner().status(),
            ServingStatus::Serving
        );
        mesh.health.not_serving("store", "disk full");
        seen.push(watch.next().await.unwrap().unwrap().status());
        assert_eq!(
            client
                .check(of("store"))
                .await
                .unwrap()
                .into_inner()
                .status(),
            ServingStatus::NotServing
        );
        assert_eq!(
            seen,
            [
                ServingStatus::NotServing,
                ServingStatus::Serving,
                ServingStatus::NotServing
            ],
            "{via:?}"
        );
        assert_eq!(
            client.check(of("nobody")).await.unwrap_err().code(),
            Code::NotFound
        );
        mesh.health.set_draining();
        let end = tokio::time::timeout(Duration::from_secs(2), watch.next()).await;
        assert!(
            end.expect("a watcher must not hold up the drain").is_none(),
            "{via:?}"
        );
    }
}

#[tokio::test]
async fn probes_get_through_when_the_service_is_full() {
    let mesh = start_with(Via::Tcp, limits(1, 1)).await;
    let full = tokio::spawn({
        let channel = mesh.channel.clone();
        async move { crate::echo::stream(channel, "endless", None).await }
    });
    let running = || mesh.echo.running.load(std::sync::atomic::Ordering::SeqCst) == 1;
    crate::mesh::eventually("the service is full", running).await;
    HealthClient::new(mesh.channel.clone())
        .check(of(""))
        .await
        .unwrap();
    full.abort();
}

async fn reflect(mesh: &Mesh, ask: MessageRequest) -> ServerReflectionResponse {
    let mut client = ServerReflectionClient::new(mesh.channel.clone());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(ask),
    };
    let requests = futures::stream::iter([request]);
    let mut answers = client
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    answers.next().await.unwrap().unwrap()
}

#[tokio::test]
async fn reflection_lists_and_describes_the_services() {
    for via in BOTH {
        let mesh = start(via).await;
        let answer = reflect(&mesh, MessageRequest::ListServices(String::new())).await;
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("{via:?}: {answer:?}");
        };
        let names: Vec<_> = list
            .service
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        assert!(
            names.contains(&SERVICE) && names.contains(&"grpc.health.v1.Health"),
            "{names:?}"
        );
        let answer = reflect(&mesh, MessageRequest::FileContainingSymbol(SERVICE.into())).await;
        assert!(
            matches!(
                answer.message_response,
                Some(MessageResponse::FileDescriptorResponse(_))
            ),
            "{via:?}: {answer:?}"
        );
    }
}

async fn get(mesh: &Mesh, path: &str) -> (u16, String, String) {
    let router = admin::router(
        mesh.metrics.clone(),
        mesh.health.clone(),
        mesh.registry.clone(),
        Policy::default().faults(),
    );
    let request = http::Request::get(path)
        .body(axum::body::Body::empty())
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let kind = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn http_health_and_metrics_answer() {
    let mesh = start(Via::Local).await;
    assert_eq!(get(&mesh, "/health/live").await.0, 200);
    assert_eq!(get(&mesh, "/health/ready").await.0, 503);
    assert_eq!(get(&mesh, "/health/startup").await.0, 503);
    mesh.health.set_started();
    mesh.health.degraded("embedding", "no model installed");
    assert_eq!(get(&mesh, "/health/ready").await.0, 200);
    assert_eq!(get(&mesh, "/health").await.2, r#"{"status":"degraded"}"#);
    let (status, _, body) = get(&mesh, "/health?detailed=true").await;
    assert_eq!(status, 200);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body["components"]["embedding"]["detail"],
        "no model installed"
    );
    mesh.health.not_serving("store", "disk full");
    assert_eq!(get(&mesh, "/health").await.0, 503);
    mesh.call("tenant", 0).await.unwrap();
    let (status, kind, body) = get(&mesh, "/metrics").await;
    assert_eq!(
        (status, kind.as_str()),
        (200, mediamesh_telemetry::metrics::CONTENT_TYPE)
    );
    assert!(
        body.contains("mediamesh_rpc_duration_seconds_bucket{"),
        "{body}"
    );
}
