//! Reads from a real streaming replica: which server answers what, and what becomes of reads while the
//! replica is behind, cut off, or gone. Who answered is taken from the log of each server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mediamesh_testkit::{Postgres, postgres::programs, proxy::Proxy};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::{
    KeyStore as _, RequestLogStore as _, SearchStore as _, VectorStore as _,
    postgres::{Replica, ReplicaStatus},
    search::Filter,
};

/// Every change of use is there after this: two looks, what settling takes, and a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const MAX_LAG: Duration = Duration::from_secs(3);

struct Pair {
    primary: Arc<Postgres>,
    standby: Postgres,
    test: TestDatabase,
    /// Stands between the store and the replica.
    path: Proxy,
    store: Store,
    replica: Replica,
}

impl Pair {
    async fn start() -> Option<Self> {
        let programs = programs()?;
        let settings = ["log_statement=all"];
        let primary = Arc::new(Postgres::start(&programs, &settings).await.unwrap());
        let standby = primary.standby(&settings).await.unwrap();
        let test = TestDatabase::create_in(&primary).await.unwrap();
        let path = Proxy::start(standby.address()).await.unwrap();
        let db = Database::open(DatabaseOptions::at(test.url()))
            .await
            .unwrap();
        let url = test
            .url()
            .replace(&primary.address().to_string(), &path.address().to_string());
        let lazy = Database::lazy(DatabaseOptions {
            pool_name: "replica",
            ..DatabaseOptions::at(url)
        });
        let replica = Replica::follow(lazy.unwrap(), db.clone(), MAX_LAG);
        let store = PostgresStore::new(db).with_replica(replica.clone());
        store.insert_tenant(TENANT, "t").await.unwrap();
        let pair = Self {
            primary,
            standby,
            test,
            path,
            store,
            replica,
        };
        pair.until("it is used", |status| status.in_use).await;
        Some(pair)
    }

    async fn until(&self, what: &str, is: impl Fn(&ReplicaStatus) -> bool) {
        let start = Instant::now();
        while !is(&self.replica.status()) {
            assert!(start.elapsed() < PATIENCE, "{what}: {:?}", self.replica);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Searches in the logs of primary and standby, before and after ten reads of each kind, all of them
    /// while the replica was in use: on a busy machine it may be left for a while.
    async fn ten_reads_in_use(&self) -> ([usize; 2], [usize; 2]) {
        let seen = || [&*self.primary, &self.standby].map(searches);
        let start = Instant::now();
        loop {
            self.until("it is used", |status| status.in_use).await;
            let before = seen();
            let mut held = true;
            for _ in 0..10 {
                self.reads().await;
                held &= self.replica.status().in_use;
            }
            if held {
                return (before, seen());
            }
            assert!(start.elapsed() < 3 * PATIENCE, "{:?}", self.replica);
        }
    }

    /// One read of each kind that a search or a report makes.
    async fn reads(&self) {
        let store = &self.store;
        store.corpus(TENANT).await.unwrap();
        let filter = Filter::default();
        store.matching_keys(TENANT, &filter).await.unwrap();
        store.items_by_key(TENANT, &[1]).await.unwrap();
        store.spaces_of(TENANT).await.unwrap();
        let report = store.summarize_requests(None, 0, i64::MAX, 10);
        report.await.unwrap();
    }
}

/// Statements of the log that have `text`.
fn statements(server: &Postgres, text: &str) -> usize {
    let log = server.log();
    log.lines()
        .filter(|line| line.contains("execute ") && line.contains(text))
        .count()
}

const SEARCHES: [&str; 4] = [
    "corpus_version",
    "AS item_key FROM media_items",
    "DISTINCT model",
    "request_log",
];

fn searches(server: &Postgres) -> usize {
    SEARCHES.iter().map(|text| statements(server, text)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_and_reports_are_the_replicas_and_what_must_be_new_is_the_primarys() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let (before, after) = pair.ten_reads_in_use().await;
    assert_eq!(after[0], before[0], "none at the primary");
    assert!(after[1] >= before[1] + 40, "{before:?} {after:?}");

    // the standby shows what was written once it has come there, the primary at once
    pair.standby
        .psql("postgres", "SELECT pg_wal_replay_pause()")
        .await
        .unwrap();
    let item = insert(&pair.store, new_item(1, "a.jpg")).await;
    let found = pair.store.get_items(TENANT, &[item.id]).await.unwrap();
    assert_eq!(found.len(), 1, "own writes are read");
    let version = pair.store.corpus(TENANT).await.unwrap().version;
    pair.standby
        .psql("postgres", "SELECT pg_wal_replay_resume()")
        .await
        .unwrap();
    let start = Instant::now();
    while pair.store.corpus(TENANT).await.unwrap().newest_key == 0
        || pair.store.corpus(TENANT).await.unwrap().version < version
    {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        statements(&pair.standby, "INSERT INTO"),
        0,
        "writes are the primary's"
    );
    drop(pair.test);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_is_not_read_until_it_has_caught_up() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    pair.standby
        .psql("postgres", "SELECT pg_wal_replay_pause()")
        .await
        .unwrap();
    let item = insert(&pair.store, new_item(1, "a.jpg")).await;
    let key = u32::try_from(item.item_key).unwrap();
    // its lag is more than is kept in mind
    let left = |status: &ReplicaStatus| !status.in_use && status.lag.is_none();
    pair.until("it is left", left).await;
    assert_eq!(pair.store.corpus(TENANT).await.unwrap().newest_key, key);
    let stood = searches(&pair.standby);
    pair.reads().await;
    assert_eq!(searches(&pair.standby), stood);
    pair.standby
        .psql("postgres", "SELECT pg_wal_replay_resume()")
        .await
        .unwrap();
    pair.ten_reads_in_use().await;
    assert!(searches(&pair.standby) > stood);
    assert_eq!(pair.store.corpus(TENANT).await.unwrap().newest_key, key);
}

/// What the primary had after each write: its version, and the last sequence of the vectors.
type Written = Arc<parking_lot::Mutex<Vec<(i64, u64)>>>;

/// Writes vectors, one after the other.
async fn write(primary: Store, written: Written, stop: Arc<AtomicBool>) {
    let item = insert(&primary, new_item(1, "a.jpg")).await;
    while !stop.load(Ordering::Relaxed) {
        let vectors = vec![("m".to_owned(), vec![0, 60, 0, 0])];
        let put = primary.put_embeddings(TENANT, item.id, vectors).await;
        let sequence = put.unwrap().unwrap();
        let version = primary.corpus(TENANT).await.unwrap().version;
        written.lock().push((version, sequence));
        sleep(Duration::from_millis(5)).await;
    }
}

/// Reads as a search does: the version, and then what must be as new as that.
async fn search(store: Store, written: Written, stop: Arc<AtomicBool>) -> u64 {
    let mut calls = 0;
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let version = store.corpus(TENANT).await.unwrap().version;
        let last = store.sequences(TENANT, "m").await.unwrap().last;
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "a search took {took:?}");
        let written = written.lock();
        let least = written.iter().rev().find(|(at, _)| *at <= version);
        let least = least.map_or(0, |(_, sequence)| *sequence);
        assert!(
            last >= least,
            "version {version}, but vectors up to {last} of {least}"
        );
        calls += 2;
    }
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_fails_when_the_replica_is_killed_reset_or_cut_off_and_it_comes_back() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let stop = Arc::new(AtomicBool::new(false));
    let written = Written::default();
    let primary = PostgresStore::new(pair.store.db.clone());
    let writer = tokio::spawn(write(primary, Arc::clone(&written), Arc::clone(&stop)));
    let searches: Vec<_> = (0..4)
        .map(|_| search(pair.store.clone(), Arc::clone(&written), Arc::clone(&stop)))
        .map(tokio::spawn)
        .collect();
    for fault in ["stopped", "reset", "cut off", "stopped again"] {
        pair.until("it is used", |status| status.in_use).await;
        let at = pair.replica.status();
        pair.until("it is read", |now| now.replica_reads > at.replica_reads)
            .await;
        match fault {
            "reset" => pair.path.reset(),
            "cut off" => pair.path.cut(),
            _ => pair.standby.stop().await.unwrap(),
        }
        pair.until("it is left", |status| !status.in_use).await;
        let at = pair.replica.status();
        pair.until(fault, |now| now.primary_reads > at.primary_reads)
            .await;
        match fault {
            "reset" | "cut off" => pair.path.heal(),
            _ => pair.standby.resume().await.unwrap(),
        }
    }
    pair.until("it is used", |status| status.in_use).await;
    stop.store(true, Ordering::Relaxed);
    // a failed call is a panic there
    timeout(PATIENCE, writer).await.unwrap().unwrap();
    let mut calls = 0;
    for search in searches {
        calls += timeout(PATIENCE, search).await.unwrap().unwrap();
    }
    assert!(calls > 1_000, "{calls}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_the_replica_gives_up_is_made_at_the_primary() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    // no patience with readers that hold up what the primary removed
    pair.standby
        .psql(
            "postgres",
            "ALTER SYSTEM SET max_standby_streaming_delay = 0",
        )
        .await
        .unwrap();
    pair.standby
        .psql("postgres", "SELECT pg_reload_conf()")
        .await
        .unwrap();
    pair.test
        .psql("CREATE TABLE gone (n int); INSERT INTO gone SELECT generate_series(1, 1000)")
        .await
        .unwrap();
    pair.until("it is used", |status| status.in_use).await;
    let store = pair.store.clone();
    let slow = tokio::spawn(async move {
        let read = store.replica().read("slow", |conn| {
            Box::pin(async move {
                use diesel_async::RunQueryDsl as _;
                // a snapshot that needs the rows, held for a while
                let ask = "SELECT pg_sleep(0.005) FROM tenants, generate_series(1, 800)";
                Ok(diesel::sql_query(ask).execute(conn).await?)
            })
        });
        read.await
    });
    for _ in 0..10 {
        sleep(Duration::from_millis(200)).await;
        pair.test
            .psql("DELETE FROM gone WHERE n % 7 = 0; UPDATE gone SET n = n + 1")
            .await
            .unwrap();
        pair.test.psql("VACUUM gone").await.unwrap();
    }
    timeout(PATIENCE, slow).await.unwrap().unwrap().unwrap();
    let conflicts = "canceling statement due to conflict with recovery";
    assert!(
        pair.standby.log().contains(conflicts),
        "the server gave it up"
    );
    assert!(pair.replica.status().primary_reads > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_primary_a_replica_is_read_and_its_lag_is_not_known() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let path = Proxy::start(pair.primary.address()).await.unwrap();
    let here = pair.primary.address().to_string();
    let url = pair.test.url().replace(&here, &path.address().to_string());
    let through = Database::open(DatabaseOptions::at(url)).await.unwrap();
    let standby = pair.test.url();
    let standby = standby.replace(&here, &pair.standby.address().to_string());
    let standby = Database::lazy(DatabaseOptions::at(standby)).unwrap();
    let pair = Pair {
        replica: Replica::follow(standby, through, MAX_LAG),
        ..pair
    };
    pair.until("it is used", |status| status.in_use).await;
    path.cut();
    let unknown = |status: &ReplicaStatus| status.in_use && status.lag.is_none();
    pair.until("its lag is not known", unknown).await;
    path.heal();
    let known = |status: &ReplicaStatus| status.in_use && status.lag.is_some();
    pair.until("its lag is known", known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_of_another_cluster_is_no_replica() {
    let (Some((test, _)), Some(programs)) = (store().await, programs()) else {
        return;
    };
    let db = Database::open(DatabaseOptions::at(test.url()))
        .await
        .unwrap();
    let settings = ["log_statement=all"];
    let other = Arc::new(Postgres::start(&programs, &settings).await.unwrap());
    // further on than the primary: by its position it has all
    for _ in 0..8 {
        let written = "SELECT pg_switch_wal(), pg_logical_emit_message(false, 'test', 'more')";
        other.psql("postgres", written).await.unwrap();
    }
    let standby = other.standby(&settings).await.unwrap();
    let database = DatabaseOptions::at(standby.url("postgres"));
    let replica = Replica::follow(Database::lazy(database).unwrap(), db, MAX_LAG);
    let start = Instant::now();
    let looks = || statements(&standby, "pg_last_wal_replay_lsn");
    while looks() < 10 {
        assert!(start.elapsed() < PATIENCE);
        let status = replica.status();
        assert!(!status.in_use && status.lag.is_none(), "{status:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_away_at_the_start_or_none_at_all_holds_nothing_up() {
    let Some((test, _)) = store().await else {
        return;
    };
    let db = Database::open(DatabaseOptions::at(test.url()))
        .await
        .unwrap();
    let nobody = DatabaseOptions::at("postgres://postgres@127.0.0.1:1/none".to_owned());
    // the primary itself is no replica of anything
    for options in [nobody, DatabaseOptions::at(test.url())] {
        let lazy = Database::lazy(options).unwrap();
        let replica = Replica::follow(lazy, db.clone(), MAX_LAG);
        let store = PostgresStore::new(db.clone()).with_replica(replica.clone());
        sleep(Duration::from_secs(7)).await;
        store.corpus(TENANT).await.unwrap();
        store.document_count(TENANT).await.unwrap();
        let status = replica.status();
        assert!(!status.in_use && status.primary_reads == 2, "{status:?}");
    }
}
