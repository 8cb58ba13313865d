//! What the queue does: jobs that do nothing in a second, each exactly once; the time from before a job
//! is queued until its work is done (of BullMQ until it begins); and whether workers that are busy seem
//! dead. On SQLite and on PostgreSQL, beside BullMQ on Redis: `cargo bench --workspace --bench jobs`.
//! Needs `scripts/postgres.sh`, `scripts/redis.sh` and, with Node.js, `scripts/bullmq.sh`; what is
//! missing is named and left out.
//!
//! `MEDIAMESH_BENCH_JOBS` is the number of jobs (20000), `MEDIAMESH_BENCH_LATENCIES` of jobs that are
//! timed one by one (500), `MEDIAMESH_BENCH_CONCURRENCY` of jobs at once (512).
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use mediamesh_store::{
    Database, DatabaseOptions, JobStore,
    job::{JobKind, NewJob},
    postgres::{self, PostgresStore},
    sqlite::SqliteStore,
};
use mediamesh_testkit::{Postgres, Redis, postgres::TestDatabase};
use serde_json::Value;
use tokio::time::Instant;

#[path = "jobs/rig.rs"]
mod rig;

use rig::{Rig, TENANT};

fn number(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

/// A job of the least work there is: it removes no bytes.
fn nothing() -> NewJob {
    NewJob {
        payload: r#"{"blob_keys":[]}"#.to_owned(),
        ..NewJob::new(TENANT, JobKind::DeleteBlobs)
    }
}

struct Figures {
    queued_per_second: f64,
    done_per_second: f64,
    p50_millis: f64,
    p99_millis: f64,
}

/// Queues jobs, starts a worker, and waits until it has done them all.
async fn rate(store: Arc<dyn JobStore>, mut rig: Rig, jobs: usize) -> (f64, f64) {
    let begin = Instant::now();
    for first in (0..jobs).step_by(1_000) {
        let batch = (first..jobs.min(first + 1_000)).map(|_| nothing());
        store.enqueue_all(batch.collect()).await.unwrap();
    }
    let queued = Instant::now();
    rig.start();
    let wanted = i64::try_from(jobs).unwrap();
    loop {
        // the count itself is work for the database
        tokio::time::sleep(Duration::from_millis(20)).await;
        if rig.succeeded() >= jobs as u64 {
            break;
        }
        assert!(queued.elapsed() < Duration::from_secs(600), "it hangs");
    }
    let done = Instant::now();
    // exactly once: every row succeeded, and no attempt ended without its lease, as one too many would
    let stats = store.queue_stats(Some(TENANT)).await.unwrap();
    let counted = (
        stats.completed,
        stats.waiting + stats.active + stats.delayed,
    );
    assert_eq!(counted, (wanted, 0));
    assert_eq!(rig.succeeded(), jobs as u64, "some were done twice");
    assert_eq!((rig.rescued(), rig.lost()), (0, 0));
    rig.stop().await;
    let rate = |time: Duration| jobs as f64 / time.as_secs_f64();
    (rate(queued - begin), rate(done - queued))
}

/// Times from before a job is queued until its work is done, which is that a file is gone: seen from
/// outside, so that the queue's own statements count.
async fn pick_up(store: Arc<dyn JobStore>, mut rig: Rig, count: usize) -> (f64, f64) {
    rig.start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut times = Vec::new();
    for number in 0..count {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (key, file) = rig.file(number).await;
        let job = NewJob {
            payload: serde_json::json!({ "blob_keys": [key] }).to_string(),
            ..nothing()
        };
        let begin = Instant::now();
        store.enqueue(job).await.unwrap();
        store.ring();
        while file.try_exists().unwrap() {
            assert!(begin.elapsed() < Duration::from_secs(60), "it hangs");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    rig.stop().await;
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    (at(0.5), at(0.99))
}

fn print(what: &str, figures: &Figures, bar: f64) {
    let held = |held: bool| if held { "held" } else { "MISSED" };
    println!(
        "{what:12} queued {:>8.0}/s  done {:>8.0}/s{}  pick-up p50 {:>6.2} ms p99 {:>6.2} ms{}",
        figures.queued_per_second,
        figures.done_per_second,
        match bar {
            0.0 => String::new(),
            bar => format!(" (bar {bar}: {})", held(figures.done_per_second >= bar)),
        },
        figures.p50_millis,
        figures.p99_millis,
        match bar {
            0.0 => String::new(),
            _ => format!(" (bar 20: {})", held(figures.p99_millis < 20.0)),
        },
    );
}

async fn both<S: rig::Stores>(store: S, jobs: usize, latencies: usize) -> Figures {
    let (queued_per_second, done_per_second) = rate(
        Arc::new(store.clone()),
        Rig::new(store.clone(), quiet()),
        jobs,
    )
    .await;
    let (p50_millis, p99_millis) =
        pick_up(Arc::new(store.clone()), Rig::new(store, quiet()), latencies).await;
    Figures {
        queued_per_second,
        done_per_second,
        p50_millis,
        p99_millis,
    }
}

fn quiet() -> mediamesh_media::Options {
    let mut options = mediamesh_media::Options::default();
    options.worker.concurrency = number("MEDIAMESH_BENCH_CONCURRENCY", 512);
    options
}

async fn sqlite(folder: &Path) -> SqliteStore {
    let options = DatabaseOptions::at(folder.join("bench.db"));
    SqliteStore::new(Database::open(options).await.unwrap())
}

/// Twenty pictures decoded and resized on as many threads as there are cores, under leases that a
/// worker must renew many times meanwhile.
async fn stalls(folder: &Path) {
    let mut options = mediamesh_media::Options::default();
    options.worker.lease_millis = 1_500;
    options.worker.heartbeat_millis = 300;
    options.worker.rescue_interval_secs = 1;
    options.worker.concurrency = 20;
    let store = sqlite(folder).await;
    let mut rig = Rig::new(store.clone(), options);
    let picture = mediamesh_testkit::fixture::jpeg(1, 4_000, 3_000);
    let items = rig.items(&store, picture, 20).await;
    let begin = Instant::now();
    rig.start();
    let mut ready = 0;
    while ready < items.len() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        ready = rig.ready(&store, &items).await;
        assert!(begin.elapsed() < Duration::from_secs(900), "it hangs");
    }
    println!(
        "20 CPU jobs of 12 megapixels: {:.1} s, leases of 1.5 s; rescued {} lost {} (bar 0: {})",
        begin.elapsed().as_secs_f64(),
        rig.rescued(),
        rig.lost(),
        if rig.rescued() + rig.lost() == 0 {
            "held"
        } else {
            "MISSED"
        }
    );
    rig.stop().await;
}

/// The same with BullMQ, where Redis, Node.js and BullMQ are.
async fn bullmq(jobs: usize, latencies: usize) -> Option<Figures> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    if Command::new("node").arg("--version").output().is_err() {
        println!("bullmq       left out: node is not on the PATH; get Node.js 20 or newer");
        return None;
    }
    let found = Command::new(format!("{root}/scripts/bullmq.sh"))
        .arg("path")
        .output()
        .unwrap();
    if !found.status.success() {
        println!("bullmq       left out: scripts/bullmq.sh gets it");
        return None;
    }
    let folder = String::from_utf8(found.stdout).unwrap();
    let Some(programs) = mediamesh_testkit::redis::programs() else {
        println!("bullmq       left out: scripts/redis.sh gets a Redis");
        return None;
    };
    // what acknowledges a write has it on disk, as the other two
    let durable = ["--appendonly", "yes", "--appendfsync", "always"];
    let redis = Redis::start_with(&programs, None, &durable).await.unwrap();
    let address = redis.address();
    let mut command = Command::new("node");
    command
        .env("REDIS_HOST", address.ip().to_string())
        .arg(format!("{root}/services/media/benches/jobs/bullmq.cjs"))
        .arg(folder.trim())
        .arg(address.port().to_string())
        .args([jobs, number("MEDIAMESH_BENCH_CONCURRENCY", 512), latencies].map(|n| n.to_string()));
    let ran = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let Some(line) = text.lines().last().filter(|_| ran.status.success()) else {
        println!(
            "bullmq       failed: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        return None;
    };
    let answer: Value = serde_json::from_str(line).unwrap();
    let of = |name: &str| answer[name].as_f64().unwrap();
    assert_eq!((of("distinct"), of("twice")), (jobs as f64, 0.0), "{line}");
    Some(Figures {
        queued_per_second: of("added_per_second"),
        done_per_second: of("done_per_second"),
        p50_millis: of("p50_millis"),
        p99_millis: of("p99_millis"),
    })
}

#[tokio::main]
async fn main() {
    let jobs = number("MEDIAMESH_BENCH_JOBS", 20_000);
    let latencies = number("MEDIAMESH_BENCH_LATENCIES", 500);
    println!("{jobs} jobs that do nothing, each checked to be done once; every commit is on disk");
    let folder = tempfile::tempdir().unwrap();
    let figures = both(sqlite(folder.path()).await, jobs, latencies).await;
    print("sqlite", &figures, 5_000.0);
    match mediamesh_testkit::postgres::programs() {
        None => println!("postgres     left out: scripts/postgres.sh gets one"),
        Some(programs) => {
            let durable = ["fsync=on", "synchronous_commit=on", "shared_buffers=256MB"];
            let cluster = Arc::new(Postgres::start(&programs, &durable).await.unwrap());
            let database = TestDatabase::create_in(&cluster).await.unwrap();
            let options = postgres::DatabaseOptions::at(database.url());
            let database = postgres::Database::open(options).await.unwrap();
            let figures = both(PostgresStore::new(database), jobs, latencies).await;
            print("postgres", &figures, 10_000.0);
        }
    }
    if let Some(figures) = bullmq(jobs, latencies).await {
        print("bullmq", &figures, 0.0);
    }
    let folder = tempfile::tempdir().unwrap();
    stalls(folder.path()).await;
}
