//! A server that is bound and loads for minutes takes part when it lets calls in, and not before.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mediamesh_mesh::{LocalAuthenticator, Opening, Policy, ServerDeps, ServiceName};
use mediamesh_proto::FILE_DESCRIPTOR_SET;
use mediamesh_telemetry::{HealthRegistry, Metrics};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::Code;

use super::fleet::Fleet;

/// A server that never opens.
async fn starting() -> SocketAddr {
    let deps = ServerDeps {
        policy: Policy::default(),
        metrics: Metrics::new(),
        health: HealthRegistry::new(),
        authenticator: Arc::new(LocalAuthenticator),
    };
    let opening = Opening::new(&deps, &[ServiceName::Media], FILE_DESCRIPTOR_SET);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(opening.unwrap().serve(listener, std::future::pending()));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices_that_a_server_is_starting() {
    let mut fleet = Fleet::start(1).await;
    let serving = fleet.replicas[0].address;
    fleet.at([starting().await, serving]);
    for count in 1..60 {
        fleet.read().await.unwrap();
        fleet.write().await.unwrap();
        fleet.upload(count).await.unwrap();
    }
    // the one that serves comes back, and calls that cannot be repeated wait for it
    for _ in 0..3 {
        fleet.replicas[0].kill();
        // time to notice: a call that is on its way to a server that dies may have begun
        tokio::time::sleep(Duration::from_millis(50)).await;
        fleet.replicas[0].restart();
        for count in 1..4 {
            fleet.upload(count).await.unwrap();
            fleet.write().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_servers_all_start_is_not_there() {
    let fleet = Fleet::start(0).await;
    fleet.at([starting().await]);
    let began = Instant::now();
    let refused = fleet.write().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}
