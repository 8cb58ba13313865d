//! A job that one process queues is picked up by another before it looks by itself.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;
use crate::JobStore as _;

const LISTENERS: &str = "SELECT count(*) FROM pg_stat_activity \
     WHERE datname = current_database() AND query = 'LISTEN mediamesh_jobs'";
/// Longer than any answer takes, shorter than a poll would.
const SOON: Duration = Duration::from_secs(5);

async fn until_heard(test: &TestDatabase, worker: &Store) {
    let listening = async {
        while test.psql(LISTENERS).await.unwrap() != "1" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // the first wait connects, and rings once when it has
    let (rung, ()) = tokio::join!(timeout(SOON, worker.rung()), listening);
    rung.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_hears_of_jobs_that_others_queue() {
    let Some((test, api)) = store().await else {
        return;
    };
    // a pool of its own, as another process has
    let worker = open(&test).await;
    until_heard(&test, &worker).await;
    let mut waits = Vec::new();
    for _ in 0..100 {
        let id = api.enqueue(job(None)).await.unwrap();
        let queued = Instant::now();
        api.ring();
        let picked = loop {
            timeout(SOON, worker.rung()).await.expect("nobody rang");
            let claimed = worker.claim("w", SOON, 1).await.unwrap();
            if let Some(job) = claimed.into_iter().next() {
                break job.id;
            }
        };
        waits.push(queued.elapsed());
        assert_eq!(picked, id);
    }
    waits.sort_unstable();
    let (median, p99) = (waits[50], waits[98]);
    eprintln!("pick-up by another process: median {median:?}, p99 {p99:?}");
    assert!(median < Duration::from_millis(250), "{median:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_lost_its_connection_makes_a_new_one() {
    let Some((test, api)) = store().await else {
        return;
    };
    let worker = open(&test).await;
    until_heard(&test, &worker).await;
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND query = 'LISTEN mediamesh_jobs'";
    assert_eq!(test.psql(kill).await.unwrap(), "1");
    // connected again it rings, because of what it may have missed
    timeout(SOON, worker.rung()).await.expect("connected again");
    api.ring();
    timeout(SOON, worker.rung()).await.expect("heard again");
}
