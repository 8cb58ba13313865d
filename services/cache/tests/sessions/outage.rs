//! Redis gone, silent and full: who is logged in is not known then, and that is what is said.

use std::time::Duration;

use mediamesh_proto::{ErrorReason, cache::v1::session_service_server::SessionService};
use mediamesh_testkit::{Redis, RedisCluster, redis::programs};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    calls::{create, delete, get, open, refused, resolve},
    subject::{By, Subject, options, redis},
};

/// Longest that a call may take while Redis does not answer: steps of 400 ms on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);

#[track_caller]
fn is_unavailable<T: std::fmt::Debug>(outcome: Result<T, Status>) {
    let details = outcome.as_ref().unwrap_err().get_error_details();
    let dependency = details.error_info().unwrap().metadata["dependency"].clone();
    assert_eq!(dependency, "redis");
    refused(outcome, Code::Unavailable, ErrorReason::DependencyDown);
}

async fn nothing_is_known(service: &impl SessionService, by: &By, id: &str, handle: &str) {
    let began = Instant::now();
    is_unavailable(get(service, by, id).await);
    is_unavailable(resolve(service, id).await);
    is_unavailable(create(service, by, Default::default(), None).await);
    is_unavailable(delete(service, by, handle).await);
    let took = began.elapsed();
    assert!(took < PATIENCE * 4, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_nobody_is_said_to_be_logged_in_or_out() {
    let Some(programs) = programs() else { return };
    let mut server = Redis::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(vec![server.url()], false), options()).await;
    let (service, by) = (subject.direct(), By::somebody());
    let (made, id) = open(&service, &by).await;
    server.pause().unwrap();
    nothing_is_known(&service, &by, &id, &made.handle).await;
    subject.is_connected(false).await;
    server.resume().unwrap();
    subject.is_connected(true).await;
    get(&service, &by, &id).await.unwrap();
    server.kill().unwrap();
    nothing_is_known(&service, &by, &id, &made.handle).await;
    nothing_is_known(&service, &by, &id, &made.handle).await;
    subject.is_connected(false).await;
    server.restart().await.unwrap();
    subject.is_connected(true).await;
    // this one keeps nothing on its disk: then it is known that nobody is logged in
    refused(
        resolve(&service, &id).await,
        Code::Unauthenticated,
        ErrorReason::SessionEnded,
    );
    open(&service, &by).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_without_room_takes_no_log_in_and_keeps_those_there_are() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(vec![server.url()], false), options()).await;
    let (service, by) = (subject.direct(), By::somebody());
    let (made, id) = open(&service, &by).await;
    server
        .command(&["config", "set", "maxmemory-policy", "noeviction"])
        .unwrap();
    server
        .command(&["config", "set", "maxmemory", "1"])
        .unwrap();
    is_unavailable(create(&service, &by, Default::default(), None).await);
    get(&service, &by, &id).await.unwrap();
    resolve(&service, &id).await.unwrap();
    delete(&service, &by, &made.handle).await.unwrap();
    server
        .command(&["config", "set", "maxmemory", "0"])
        .unwrap();
    open(&service, &by).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_over_of_a_cluster_logs_nobody_out() {
    let Some(programs) = programs() else { return };
    let mut cluster = RedisCluster::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(cluster.urls(), true), options()).await;
    let service = subject.direct();
    let mut sessions = Vec::new();
    for _ in 0..30 {
        let by = By::somebody();
        let (_, id) = open(&service, &by).await;
        sessions.push((by, id));
    }
    // replicas follow within milliseconds
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.kill_a_master().unwrap();
    let began = Instant::now();
    let mut away = 0;
    loop {
        let mut known = 0;
        for (by, id) in &sessions {
            match get(&service, by, id).await {
                Ok(_) => known += 1,
                lost => {
                    away += 1;
                    is_unavailable(lost);
                }
            }
        }
        if known == sessions.len() && away > 0 {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{known} of 30 are known"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    open(&service, &By::somebody()).await;
}
