//! Real processes are killed at seeded moments of uploads and jobs: the whole mesh in one, on the embedded
//! database and on PostgreSQL, and each of five on PostgreSQL, Redis and S3. Nothing acknowledged is lost,
//! nothing is there twice, no bytes are left over, no job is stuck.
//!
//! `MEDIAMESH_TEST_KILL_POINTS` is how often that is done (5); `make kills` does it 100 times.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, Result};
use mediamesh_testkit::{Cluster, Http, Launcher, Redis, S3, TestDatabase, fixture, redis};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{id, launcher};

/// Uploads side by side.
const LANES: u32 = 3;
/// Latest moment of a kill: by then workers are busy in every build.
const LATEST_MILLIS: u64 = 900;
/// Before the next upload where one failed: a connection that is refused takes no time.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two looks for what is not yet as it must be, and how many there are.
const LOOK: Duration = Duration::from_millis(250);
const LOOKS: usize = 480;

/// Ids that were acknowledged, each with the seed of its picture.
type Acknowledged = Arc<Mutex<BTreeMap<String, u32>>>;

/// The same numbers at each run: a linear congruential generator (Knuth, MMIX).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn points() -> Result<u32> {
    match std::env::var("MEDIAMESH_TEST_KILL_POINTS") {
        Ok(text) => text.parse().context("MEDIAMESH_TEST_KILL_POINTS"),
        Err(_) => Ok(5),
    }
}

/// Uploads pictures until it is time to `stop`, whoever dies meanwhile.
async fn upload(http: Http, from: u32, acknowledged: Acknowledged, stop: CancellationToken) {
    for seed in (from..).step_by(LANES as usize) {
        if stop.is_cancelled() {
            return;
        }
        let picture = fixture::jpeg(seed, 320, 240);
        match http.upload_ok(&format!("k{seed}.jpg"), "", picture).await {
            Ok(item) => {
                let mut known = acknowledged.lock().unwrap();
                known.insert(id(&item).to_owned(), seed);
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

fn files(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        count += match entry.file_type()?.is_dir() {
            true => files(&entry.path())?,
            false => 1,
        };
    }
    Ok(count)
}

/// Files that rows refer to: originals and renditions.
fn referenced(items: &[Value]) -> usize {
    let renditions = |item: &Value| item["renditions"].as_array().map_or(0, Vec::len);
    items.iter().map(|item| 1 + renditions(item)).sum()
}

async fn survives(launcher: Launcher, mut moments: Seeded) -> Result<()> {
    let acknowledged = Acknowledged::default();
    let mut launcher = launcher
        .env("MEDIAMESH_MEDIA__WORKER__LEASE_MILLIS", "1500")
        .env("MEDIAMESH_MEDIA__WORKER__HEARTBEAT_MILLIS", "400")
        .env("MEDIAMESH_MEDIA__WORKER__RESCUE_INTERVAL_SECS", "1");
    for point in 0..points()? {
        let mesh = launcher.start().await?;
        let stop = CancellationToken::new();
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let (http, known) = (mesh.http().clone(), Arc::clone(&acknowledged));
                let from = point * 100_000 + lane;
                tokio::spawn(upload(http, from, known, stop.clone()))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(moments.below(LATEST_MILLIS))).await;
        mesh.kill()?;
        stop.cancel();
        for lane in lanes {
            lane.await?;
        }
    }

    let mut launcher = launcher
        .env("MEDIAMESH_MEDIA__WORKER__JOB_TIMEOUT_SECS", "10")
        .env("MEDIAMESH_MEDIA__WORKER__ORPHAN_AGE_SECS", "11")
        .env(
            "MEDIAMESH_MEDIA__WORKER__SCHEDULES__SWEEP_BLOBS__CRON",
            "* * * * * *",
        );
    let mesh = launcher.start().await?;
    let blobs = launcher.data().join("blobs");
    let acknowledged = acknowledged.lock().unwrap().clone();
    is_sound(mesh.http(), &acknowledged, || files(&blobs)).await
}

/// Asserts that all that was acknowledged is there and done, and as many `files` as rows refer to.
async fn is_sound(
    http: &Http,
    acknowledged: &BTreeMap<String, u32>,
    files: impl Fn() -> Result<usize>,
) -> Result<()> {
    http.settled().await?;
    let stats = http.get("/v1/queue/stats").await?.ok()?;
    for state in [
        "waiting", "active", "delayed", "blocked", "stalled", "failed",
    ] {
        let count = stats[state].as_str().unwrap_or("0");
        assert_eq!(count, "0", "{state}: {stats}");
    }
    let items = http.list_all("").await?;
    let known: BTreeMap<&str, &Value> = items.iter().map(|item| (id(item), item)).collect();
    assert!(acknowledged.len() >= 5, "too little was uploaded");
    for (id, seed) in acknowledged {
        let item = known.get(id.as_str()).copied();
        let item = item.with_context(|| format!("{id} of seed {seed} is gone"))?;
        assert_eq!(item["state"], "STATE_READY", "{item}");
        let bytes = http.get(&format!("/v1/mediaItems/{id}/content")).await?;
        assert!(bytes.body == fixture::jpeg(*seed, 320, 240), "{id}: {seed}");
    }
    let hashes: BTreeSet<&str> = items
        .iter()
        .filter_map(|item| item["sha256"].as_str())
        .collect();
    assert_eq!(hashes.len(), items.len(), "a picture is there twice");
    let (mut left, wanted) = (files()?, referenced(&items));
    for _ in 0..LOOKS {
        if left == wanted {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
        left = files()?;
    }
    panic!("{left} files are left, and rows refer to {wanted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_survive_kills_on_the_embedded_database() -> Result<()> {
    survives(launcher(), Seeded(1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_survive_kills_on_postgres() -> Result<()> {
    let Some(database) = TestDatabase::create().await? else {
        return Ok(());
    };
    let on_postgres = launcher().env("MEDIAMESH_DATABASE__URL", &database.url());
    survives(on_postgres, Seeded(2)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_survive_kills_of_each_of_five_processes_on_postgres_redis_and_s3() -> Result<()> {
    let Some(programs) = redis::programs() else {
        return Ok(());
    };
    let Some(database) = TestDatabase::create().await? else {
        return Ok(());
    };
    let (redis, bucket) = (Redis::start(&programs).await?, S3::start()?);
    let services = ["cache", "embedding", "search", "media", "edge"];
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .env("MEDIAMESH_DATABASE__URL", &database.url())
        .envs(bucket.env())
        .envs(redis.env())
        .env("MEDIAMESH_MEDIA__WORKER__LEASE_MILLIS", "1500")
        .env("MEDIAMESH_MEDIA__WORKER__HEARTBEAT_MILLIS", "400")
        .env("MEDIAMESH_MEDIA__WORKER__RESCUE_INTERVAL_SECS", "1")
        .env("MEDIAMESH_MEDIA__WORKER__JOB_TIMEOUT_SECS", "10")
        .env("MEDIAMESH_MEDIA__WORKER__ORPHAN_AGE_SECS", "11")
        .env(
            "MEDIAMESH_MEDIA__WORKER__SCHEDULES__SWEEP_BLOBS__CRON",
            "* * * * * *",
        );
    for name in services {
        cluster = cluster.service(name, 1);
    }
    let mut cluster = cluster.start().await?;
    let (acknowledged, stop) = (Acknowledged::default(), CancellationToken::new());
    let http = cluster.replica("edge", 0).http().clone();
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let known = Arc::clone(&acknowledged);
            tokio::spawn(upload(http.clone(), lane, known, stop.clone()))
        })
        .collect();
    let mut moments = Seeded(3);
    for _ in 0..points()? {
        tokio::time::sleep(Duration::from_millis(moments.below(LATEST_MILLIS))).await;
        let name = services[usize::try_from(moments.below(5))?];
        let process = cluster.replica_mut(name, 0);
        process.kill()?;
        process.start().await?;
    }
    stop.cancel();
    for lane in lanes {
        lane.await?;
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    let sound = is_sound(&http, &acknowledged, || Ok(bucket.keys()?.len())).await;
    sound.with_context(|| cluster.logs())
}
