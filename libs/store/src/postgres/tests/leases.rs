//! Leases are renewed whatever the rest of the process is at.

use std::{thread, time::Duration};

use diesel::sql_query;
use diesel_async::RunQueryDsl as _;
use futures::FutureExt as _;

use super::*;
use crate::{JobStore as _, job::LeaseKeeper};

const LEASE: Duration = Duration::from_secs(2);
/// Far longer than the lease.
const BLOCKED: Duration = Duration::from_secs(5);

/// Renews a lease from a thread with a runtime of its own, as a worker does, for `BLOCKED` and a little.
fn beat(mut keeper: Box<dyn LeaseKeeper>, lease: crate::job::Lease) -> thread::JoinHandle<usize> {
    thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let start = tokio::time::Instant::now();
            let mut failed = 0;
            while start.elapsed() < BLOCKED + LEASE / 2 {
                match keeper.renew(&[lease], LEASE).await {
                    Ok(lost) => assert_eq!(lost, []),
                    Err(_) => failed += 1,
                }
                tokio::time::sleep(LEASE / 10).await;
            }
            failed
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lease_is_lost_while_every_thread_is_blocked_and_the_pool_is_empty() {
    let Some(test) = TestDatabase::create().await.unwrap() else {
        return;
    };
    let mut options = DatabaseOptions::at(test.url());
    options.max_connections = 1;
    options.min_connections = 1;
    let store = PostgresStore::new(Database::open(options).await.unwrap());
    let id = store.enqueue(job(None)).await.unwrap();
    let claimed = store.claim("w", LEASE, 1).await.unwrap();
    let lease = claimed[0].lease();
    let heart = beat(store.lease_keeper(), lease);
    let db = store.db.clone();
    let emptied = tokio::spawn(async move {
        db.read("test", |conn| {
            async move { Ok(sql_query("SELECT pg_sleep(4)").execute(conn).await?) }.boxed()
        })
        .await
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..8 {
        tokio::spawn(async { thread::sleep(BLOCKED) });
    }
    thread::sleep(BLOCKED);
    // told by another process
    let running = format!(
        "SELECT count(*) FROM processing_jobs WHERE id = '{}' AND state = 2 AND lease_expire > \
         extract(epoch FROM clock_timestamp()) * 1000000",
        id.0
    );
    let held = thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime
            .block_on(test.psql(&running))
            .map(|held| (test, held))
    });
    let (_test, held) = held.join().unwrap().unwrap();
    assert_eq!(held, "1", "the lease holds");
    assert_eq!(heart.join().unwrap(), 0, "no beat failed");
    emptied.await.unwrap().unwrap();
    store.complete(&lease).await.unwrap();
}

#[tokio::test]
async fn a_beat_comes_back_after_its_connection_broke() {
    let Some((test, store)) = store().await else {
        return;
    };
    store.enqueue(job(None)).await.unwrap();
    let lease = store.claim("w", LEASE, 1).await.unwrap()[0].lease();
    let mut keeper = store.lease_keeper();
    for _ in 0..3 {
        assert_eq!(keeper.renew(&[lease], LEASE).await.unwrap(), []);
        let broken = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid() \
                      AND application_name = 'mediamesh'";
        test.psql(broken).await.unwrap();
    }
}
