//! Ending: what runs may finish, what hangs may not hold the process up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mediamesh_mesh::PolicyOptions;
use tokio::time::Instant;
use tonic::Code;

use crate::echo::{Ask, call};
use crate::mesh::{Via, eventually, start, start_with};

#[tokio::test]
async fn a_running_call_finishes_after_the_signal_and_new_ones_are_refused() {
    let mut mesh = start(Via::Tcp).await;
    mesh.health.set_started();
    let running = tokio::spawn(call(
        mesh.channel.clone(),
        Ask {
            what: "wait".into(),
            number: 7,
        },
        None,
    ));
    eventually("the call runs", || {
        mesh.echo.running.load(Ordering::SeqCst) == 1
    })
    .await;
    mesh.shutdown.begin();
    eventually("readiness is gone", || !mesh.health.snapshot().is_ready()).await;
    let fresh = mediamesh_mesh::client::connect(&mesh.endpoint, Default::default()).unwrap();
    let status = call(fresh, Ask::default(), None).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    mesh.echo.gate.add_permits(1);
    assert_eq!(running.await.unwrap().unwrap().number, 7);
    tokio::time::timeout(Duration::from_secs(5), mesh.server.take().unwrap())
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_call_that_hangs_is_cut_at_the_drain_limit() {
    let options = PolicyOptions {
        drain_ms: Some(200),
        ..Default::default()
    };
    let mut mesh = start_with(Via::Tcp, options).await;
    let hanging = tokio::spawn(call(
        mesh.channel.clone(),
        Ask {
            what: "wait".into(),
            number: 0,
        },
        None,
    ));
    eventually("the call runs", || {
        mesh.echo.running.load(Ordering::SeqCst) == 1
    })
    .await;
    let started = Instant::now();
    mesh.shutdown.begin();
    mesh.server.take().unwrap().await.unwrap();
    let took = started.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_secs(3),
        "{took:?}"
    );
    hanging.abort();
}
