//! Time-outs, and answers that begin and never go on: what they say of a server.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tonic::Code;

use crate::fleet::Fleet;

/// What the health service says of one that is serving.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// A server that is well, as far as its health goes, and stalls in every other answer.
async fn stalling() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(tcp));
        }
    });
    address
}

async fn serve(tcp: tokio::net::TcpStream) {
    let mut connection = h2::server::handshake(tcp).await.unwrap();
    let mut open = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let head = http::Response::builder()
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let mut body = respond.send_response(head, false).unwrap();
        match request.uri().path().starts_with("/grpc.health.") {
            true => {
                body.send_data(Bytes::from_static(SERVING), false).unwrap();
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                body.send_trailers(trailers).unwrap();
            }
            false => open.push((request, body)),
        }
    }
}

#[tokio::test]
async fn an_answer_that_stalls_after_its_head_is_counted_and_held_against_its_server() {
    let fleet = Fleet::start(1).await;
    fleet.at([stalling().await, stalling().await]);
    let calls = (0..60).map(|_| fleet.read_within(Duration::from_millis(800)));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap_err().code(), Code::DeadlineExceeded);
    }
    let timed_out =
        fleet.metric(r#"mediamesh_mesh_attempts_total{service="media",code="DEADLINE_EXCEEDED"}"#);
    assert!(timed_out >= 60.0, "{timed_out} of 60 were counted");
    let state = serde_json::to_value(fleet.registry.snapshot()).unwrap();
    let endpoints = state[0]["endpoints"].as_array().unwrap();
    assert!(
        endpoints.iter().any(|one| one["breaker"] != "closed"),
        "{state}"
    );
}

#[tokio::test]
async fn time_outs_of_calls_with_little_time_eject_nobody() {
    let fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    for replica in &fleet.replicas {
        replica.conduct.fail(Code::DeadlineExceeded, 100);
    }
    for _ in 0..100 {
        let status = fleet.write().await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    let state = serde_json::to_value(fleet.registry.snapshot()).unwrap();
    for endpoint in state[0]["endpoints"].as_array().unwrap() {
        assert_eq!(endpoint["breaker"], "closed", "{state}");
    }
}

#[tokio::test]
async fn time_outs_after_a_long_silence_do() {
    let fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    let slow = &fleet.replicas[0].conduct;
    slow.delay_ms.store(300, Ordering::SeqCst);
    slow.fail(Code::DeadlineExceeded, 100);
    let calls = (0..200).map(|_| fleet.write());
    futures::future::join_all(calls).await;
    let state = serde_json::to_value(fleet.registry.snapshot()).unwrap();
    let breaker = |endpoint: &serde_json::Value| endpoint["breaker"].clone();
    let endpoints = state[0]["endpoints"].as_array().unwrap();
    assert!(
        endpoints.iter().any(|one| breaker(one) != "closed"),
        "{state}"
    );
}
