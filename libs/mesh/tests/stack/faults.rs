//! Every fault over a real connection, seen by a client that forgives nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use mediamesh_mesh::{FaultKind, FaultOptions, FaultRule, PolicyOptions, ServiceName, fault};
use tokio::time::Instant;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceExt as _;

use crate::direct::{Direct, serve};

fn rule(kind: FaultKind) -> FaultRule {
    FaultRule {
        service: Some(ServiceName::Media),
        kind,
        ..Default::default()
    }
}

async fn with(rules: Vec<FaultRule>) -> Direct {
    let faults = FaultOptions { seed: 1, rules };
    let options = PolicyOptions {
        faults,
        ..Default::default()
    };
    serve(&options).await
}

fn handled(direct: &Direct) -> usize {
    direct.echo.dropped.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_delayed_call_is_answered_late() {
    let direct = with(vec![FaultRule {
        delay_ms: 200,
        ..rule(FaultKind::Delay)
    }])
    .await;
    let started = Instant::now();
    direct.call("tenant", 0).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200));
    // The deadline is above the fault: a call does not wait longer than it may.
    let started = Instant::now();
    let limit = Duration::from_millis(50);
    direct.call_within("tenant", 0, limit).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_millis(190));
}

#[tokio::test]
async fn a_status_comes_without_the_handler() {
    let direct = with(vec![FaultRule {
        code: "RESOURCE_EXHAUSTED".into(),
        ..rule(FaultKind::Status)
    }])
    .await;
    let status = direct.call("tenant", 0).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(handled(&direct), 0);
}

#[tokio::test]
async fn a_dropped_call_is_not_answered() {
    let direct = with(vec![rule(FaultKind::Drop)]).await;
    let call = direct.call("tenant", 0);
    let given_up = tokio::time::timeout(Duration::from_millis(300), call).await;
    assert!(given_up.is_err(), "{given_up:?}");
    assert_eq!(handled(&direct), 0);
}

#[tokio::test]
async fn a_reset_breaks_the_stream_and_not_the_connection() {
    let direct = with(vec![rule(FaultKind::Reset)]).await;
    let status = direct.call("tenant", 0).await.unwrap_err();
    // The client made this status: the server sent none.
    assert!(status.message().contains("h2 protocol error"), "{status:?}");
    assert_eq!(handled(&direct), 0);
    direct
        .policy
        .faults()
        .replace(FaultOptions::default())
        .unwrap();
    direct.call("tenant", 0).await.unwrap();
}

#[tokio::test]
async fn the_rate_is_a_share_of_the_calls() {
    let direct = with(vec![FaultRule {
        rate: 0.5,
        ..rule(FaultKind::Status)
    }])
    .await;
    let mut failed = 0;
    for _ in 0..200 {
        failed += usize::from(direct.call("tenant", 0).await.is_err());
    }
    assert!((80..=120).contains(&failed), "{failed} of 200");
    assert_eq!(handled(&direct), 200 - failed);
}

#[tokio::test]
async fn health_is_spared_unless_it_is_named() {
    let mut every = rule(FaultKind::Status);
    every.service = None;
    let direct = with(vec![every.clone()]).await;
    direct.call("tenant", 0).await.unwrap_err();
    let mut health = HealthClient::new(direct.channel.clone());
    health.check(HealthCheckRequest::default()).await.unwrap();
    every.method = Some("grpc.health.v1.Health/Check".into());
    let faults = FaultOptions {
        seed: 1,
        rules: vec![every],
    };
    direct.policy.faults().replace(faults).unwrap();
    health
        .check(HealthCheckRequest::default())
        .await
        .unwrap_err();
}

#[tokio::test]
async fn faults_change_while_the_server_runs() {
    let direct = with(vec![]).await;
    direct.call("tenant", 0).await.unwrap();
    let admin = fault::router(direct.policy.faults());
    let ask = |method: Method, body: &str| {
        let request = http::Request::builder()
            .method(method)
            .uri("/admin/faults")
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_owned()))
            .unwrap();
        let admin = admin.clone();
        async move {
            let response = admin.oneshot(request).await.unwrap();
            let status = response.status();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }
    };
    let rules = r#"{"rules": [{"service": "media", "kind": "status", "code": "ABORTED"}]}"#;
    let (status, body) = ask(Method::POST, rules).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let status = direct.call("tenant", 0).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    let (_, body) = ask(Method::GET, "").await;
    assert!(body.contains("ABORTED"), "{body}");
    let (status, body) = ask(Method::POST, r#"{"rules": [{"rate": 7}]}"#).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("rules[0].rate is 7"), "{body}");
    direct
        .call("tenant", 0)
        .await
        .expect_err("the old ones stay");
    let (status, _) = ask(Method::DELETE, "").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    direct.call("tenant", 0).await.unwrap();
}
