//! Statements end when nobody waits for them any more.

use std::time::Duration;

use diesel::sql_query;
use diesel_async::RunQueryDsl as _;
use futures::FutureExt as _;

use super::*;
use crate::{
    Error, JobStore as _, KeyStore as _, SearchStore as _, limit::ClaimLimits, postgres::dialect,
};

async fn run(database: &Database, statement: &'static str) -> Result<usize, Error> {
    database
        .read("test", move |conn| {
            async move { Ok(sql_query(statement).execute(conn).await?) }.boxed()
        })
        .await
}

async fn small(url: String) -> Database {
    let mut options = DatabaseOptions::at(url);
    options.max_connections = 1;
    options.min_connections = 1;
    Database::open(options).await.unwrap()
}

#[tokio::test]
async fn a_statement_whose_caller_went_away_ends_on_the_server() {
    let Some(test) = TestDatabase::create().await.unwrap() else {
        return;
    };
    let database = small(test.url()).await;
    for _ in 0..3 {
        // the caller's deadline
        tokio::time::timeout(
            Duration::from_millis(50),
            run(&database, "SELECT pg_sleep(600)"),
        )
        .await
        .expect_err("it sleeps for ten minutes");
        // the only connection: this would wait behind a statement that goes on
        run(&database, "SELECT count(*) FROM media_items")
            .await
            .unwrap();
    }
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' \
                  AND datname = current_database() \
                  AND state = 'active'";
    assert_eq!(test.psql(asleep).await.unwrap(), "0");
}

#[tokio::test]
async fn a_caller_that_left_stops_nobody_else() {
    let Some(test) = TestDatabase::create().await.unwrap() else {
        return;
    };
    let database = small(test.url()).await;
    for round in 0..30_u64 {
        let leaves = tokio::time::timeout(
            Duration::from_micros(200 * round),
            run(&database, "SELECT pg_sleep(0.003)"),
        );
        let _ = leaves.await;
        run(&database, "SELECT pg_sleep(0.002)").await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_ends_when_the_server_allows_no_more() {
    let Some(test) = TestDatabase::create().await.unwrap() else {
        return;
    };
    let mut options = DatabaseOptions::at(test.url());
    options.statement_timeout = Duration::from_millis(50);
    let database = Database::open(options).await.unwrap();
    let late = run(&database, "SELECT pg_sleep(600)").await;
    assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
    run(&database, "SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_write_whose_caller_went_away_is_written() {
    let Some((_test, store)) = store().await else {
        return;
    };
    for n in 0..20_u8 {
        let tenant = mediamesh_proto::TenantId::generate();
        // dropped at whatever point it has come to
        let write = store.insert_tenant(tenant, "t");
        let left = tokio::time::timeout(Duration::from_micros(u64::from(n) * 100), write).await;
        if left.is_ok_and(|done| done.is_ok()) {
            assert!(store.has_tenant(tenant).await.unwrap());
        }
    }
    // no transaction was left open: nothing holds a lock or an old snapshot
    assert_eq!(store.corpus(TENANT).await.unwrap().version, 0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND state LIKE 'idle in transaction%'";
    assert_eq!(_test.psql(open).await.unwrap(), "0");
}

#[tokio::test]
async fn a_server_that_restarts_is_an_error_only_while_it_is_down() {
    let Some(programs) = mediamesh_testkit::postgres::programs() else {
        return;
    };
    let cluster = mediamesh_testkit::Postgres::start(&programs, &[])
        .await
        .unwrap();
    let test = TestDatabase::create_in(&std::sync::Arc::new(cluster))
        .await
        .unwrap();
    let store = open(&test).await;
    store.insert_tenant(TENANT, "t").await.unwrap();
    test.cluster().stop().await.unwrap();
    for _ in 0..5 {
        let down = store.has_tenant(TENANT).await;
        assert!(matches!(down, Err(Error::Unavailable { .. })), "{down:?}");
    }
    test.cluster().resume().await.unwrap();
    assert!(store.has_tenant(TENANT).await.unwrap());
}

/// Takes the lock of a tenant on a connection of its own, then runs `then` for ever or until it ends.
async fn hold_tenant(test: &TestDatabase, then: Option<&'static str>) {
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let holder = small(test.url()).await;
    tokio::spawn(async move {
        let hold = holder.write("test", move |conn| {
            async move {
                dialect::lock_tenant(conn, TENANT).await?;
                let _ = locked.send(());
                if let Some(statement) = then {
                    sql_query(statement).execute(conn).await?;
                    return Ok(());
                }
                std::future::pending::<Result<(), Error>>().await
            }
            .boxed()
        });
        hold.await
    });
    is_locked.await.unwrap();
}

fn of_stranger(n: u8) -> NewMediaItem {
    NewMediaItem {
        tenant_id: STRANGER,
        ..new_item(n, "theirs")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_lock_is_held_takes_no_other_tenants_connections() {
    let Some(test) = TestDatabase::create().await.unwrap() else {
        return;
    };
    let mut options = DatabaseOptions::at(test.url());
    options.max_connections = 4;
    // the callers' deadline
    options.time_left = || Some(Duration::from_secs(2));
    options.acquire_timeout = Duration::from_secs(2);
    let store = PostgresStore::new(Database::open(options).await.unwrap());
    hold_tenant(&test, Some("SELECT pg_sleep(60)")).await;
    let uploads = (0..12_u8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let start = tokio::time::Instant::now();
            let upload = store.insert_item(new_item(n, "held up"), job(None)).await;
            (upload.map(|_| ()), start.elapsed())
        })
    });
    let uploads: Vec<_> = uploads.collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = tokio::time::Instant::now();
    for n in 0..9 {
        let theirs = store.insert_item(of_stranger(n), job(None)).await.unwrap();
        assert!(matches!(theirs, Inserted::New { .. }));
    }
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    for upload in uploads {
        let (ended, took) = upload.await.unwrap();
        assert!(matches!(ended, Err(Error::Locked)), "{ended:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    let (kind, _) = Error::Locked.kind();
    assert_eq!(
        kind,
        mediamesh_proto::ErrorKind::Overloaded,
        "may be retried"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_ends_with_the_time_of_its_caller() {
    let Some(test) = TestDatabase::create().await.unwrap() else {
        return;
    };
    let mut options = DatabaseOptions::at(test.url());
    options.max_connections = 1;
    options.time_left = || Some(Duration::from_millis(300));
    let database = Database::open(options).await.unwrap();
    let sleep = |seconds: &'static str| {
        database.write("test", move |conn| {
            async move { Ok(sql_query(seconds).execute(conn).await?) }.boxed()
        })
    };
    let late = sleep("SELECT pg_sleep(600)").await;
    assert!(matches!(late, Err(Error::TimedOut)), "{late:?}");
    sleep("SELECT pg_sleep(0.01)").await.unwrap();
    // nothing of it stays with the connection
    run(&database, "SELECT pg_sleep(0.5)").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopped_amid_a_write_holds_up_its_tenant_for_seconds() {
    let Some((test, store)) = store().await else {
        return;
    };
    hold_tenant(&test, None).await;
    let upload = store.insert_item(new_item(1, "later"), job(None));
    let upload = tokio::time::timeout(Duration::from_secs(20), upload).await;
    upload.expect("it waits no longer").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_amid_a_claim_holds_up_the_others_for_seconds() {
    let Some((test, store)) = store().await else {
        return;
    };
    let id = store.enqueue(job(None)).await.unwrap();
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let stopped = small(test.url()).await;
    tokio::spawn(async move {
        let claim = stopped.write("test", move |conn| {
            async move {
                dialect::lock_claims(conn).await?;
                let _ = locked.send(());
                std::future::pending::<Result<(), Error>>().await
            }
            .boxed()
        });
        claim.await
    });
    is_locked.await.unwrap();
    let mut limits = ClaimLimits::default();
    limits.jobs.all.running = Some(9);
    let lease = Duration::from_secs(60);
    let claim = store.claim_within("w", lease, 9, limits);
    let claimed = tokio::time::timeout(Duration::from_secs(20), claim).await;
    let claimed = claimed.expect("it waits no longer").unwrap();
    assert_eq!(claimed.iter().map(|job| job.id).collect::<Vec<_>>(), [id]);
}
