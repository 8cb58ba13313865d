//! Workers as processes of their own: jobs are done there, and go on when one is killed.

use std::time::Duration;

use anyhow::Result;
use mediamesh_testkit::{Cluster, Http, S3, TestDatabase, fixture};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Attempts at jobs that a process has made.
async fn attempts(http: &Http) -> Result<f64> {
    let page = http.get("/metrics").await?.text();
    let lines = page
        .lines()
        .filter(|line| line.starts_with("mediamesh_media_job_seconds_count{"));
    Ok(lines
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_done_by_workers_and_outlive_them() -> Result<()> {
    let Some(database) = TestDatabase::create().await? else {
        return Ok(());
    };
    let bucket = S3::start()?;
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .env("MEDIAMESH_DATABASE__URL", &database.url())
        // the second worker has a folder of its own: the bytes are in a bucket
        .envs(bucket.env())
        .env("MEDIAMESH_MEDIA__WORKER__LEASE_MILLIS", "2000")
        .env("MEDIAMESH_MEDIA__WORKER__HEARTBEAT_MILLIS", "400")
        .env("MEDIAMESH_MEDIA__WORKER__RESCUE_INTERVAL_SECS", "1")
        .service("cache", 1)
        .service("embedding", 1)
        .service("search", 1)
        .service("media", 1)
        .with("MEDIAMESH_MEDIA__WORKER__ENABLED", "false")
        .service("edge", 1)
        .service("worker", 2)
        .start()
        .await?;
    let edge = cluster.replica("edge", 0).http().clone();
    for seed in 0..6 {
        let name = format!("lighthouse {seed}.jpg");
        edge.upload_ok(&name, "", fixture::jpeg(seed, 320, 240))
            .await?;
    }
    edge.settled().await?;
    let mut done = Vec::new();
    for index in 0..2 {
        done.push(attempts(cluster.replica("worker", index).http()).await?);
    }
    assert!(done.iter().sum::<f64>() >= 6.0, "{done:?}");
    let by_media = attempts(cluster.replica("media", 0).http()).await?;
    assert_eq!(by_media, 0.0, "media was told to leave the work");

    // Both die amid their work; one comes back and does what is left of it.
    for seed in 6..18 {
        let name = format!("pier {seed}.jpg");
        edge.upload_ok(&name, "", fixture::jpeg(seed, 1600, 1200))
            .await?;
        if seed == 10 {
            cluster.replica_mut("worker", 0).kill()?;
        }
        if seed == 14 {
            cluster.replica_mut("worker", 1).kill()?;
        }
    }
    cluster.replica_mut("worker", 1).start().await?;
    edge.settled().await?;
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let found = edge
            .search_ids(json!({"query": "pier", "mode": "MODE_FULL_TEXT", "limit": 50}))
            .await?;
        if found.len() == 12 {
            break;
        }
        assert!(Instant::now() < end, "{} of 12 are found", found.len());
        sleep(Duration::from_millis(100)).await;
    }
    for item in edge.list_all("").await? {
        assert_eq!(item["state"], "STATE_READY", "{item}");
    }
    Ok(())
}
