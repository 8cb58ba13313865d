//! Time-outs: what they say of a server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tonic::Code;

use crate::fleet::Fleet;

const MS: Duration = Duration::from_millis(1);

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
