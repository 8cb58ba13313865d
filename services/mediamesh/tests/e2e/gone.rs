//! A caller that goes away, or whose time is up, ends all that works for it: in every process on the way, and the statement in
//! the database.

use std::time::Duration;

use anyhow::{Context as _, Result};
use mediamesh_testkit::{Cluster, TestDatabase, fixture};
use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Far below the callers' time and the services' own deadlines.
const PATIENCE: Duration = Duration::from_secs(3);

/// Calls that each process works on now, by its own count.
async fn in_flight(cluster: &Cluster) -> Result<Vec<(String, f64)>> {
    let mut all = Vec::new();
    for replica in cluster.replicas() {
        let page = replica.http().get("/metrics").await?.text();
        let calls: f64 = page
            .lines()
            .filter(|line| line.starts_with("mediamesh_rpc_in_flight{"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum();
        all.push((replica.name().to_owned(), calls));
    }
    Ok(all)
}

/// Statements that wait for the lock of the test.
async fn waiting(database: &TestDatabase) -> Result<usize> {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    Ok(database.psql(count).await?.parse()?)
}

/// Asks until `holds`, and returns what it said last.
async fn until<T>(
    mut ask: impl AsyncFnMut() -> Result<T>,
    holds: impl Fn(&T) -> bool,
) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let said = ask().await?;
        if holds(&said) || Instant::now() > end {
            return Ok(said);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_nothing_running() -> Result<()> {
    let Some(database) = TestDatabase::create().await? else {
        return Ok(());
    };
    let cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .env("MEDIAMESH_DATABASE__URL", &database.url())
        .service("cache", 1)
        .service("embedding", 1)
        .service("media", 1)
        .service("search", 1)
        .service("edge", 1)
        .start()
        .await?;
    let edge = cluster.replica("edge", 0).http();
    edge.upload_ok("lighthouse.jpg", "", fixture::jpeg(1, 320, 240))
        .await?;
    edge.settled().await?;
    // What the upload left to do is over; who follows the cache's changes goes on.
    let quiet = |all: &Vec<(String, f64)>| {
        let of_calls = all
            .iter()
            .filter(|(process, _)| !process.starts_with("cache"));
        of_calls.map(|(_, calls)| calls).sum::<f64>() == 0.0
    };
    let before = until(async || in_flight(&cluster).await, quiet).await?;

    // Whoever reads the items waits.
    let lock = "BEGIN; LOCK TABLE media_items IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60);";
    let held = async { database.psql_script(lock).await };
    let work = async {
        until(
            async || {
                let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'";
                Ok(database.psql(held).await?.parse::<usize>()?)
            },
            |held| *held > 0,
        )
        .await?;
        let asked = [
            (
                Method::POST,
                "/v1/mediaItems:search",
                json!({"query": "lighthouse"}),
            ),
            (Method::GET, "/v1/mediaItems", json!(null)),
        ]
        .map(|(method, path, body)| {
            let request = edge
                .request(method, path)
                .header("x-request-timeout", "60")
                .json(&body);
            tokio::spawn(request.send())
        });
        let stuck = until(async || waiting(&database).await, |stuck| *stuck >= 2).await?;
        assert!(stuck >= 2, "both calls reach the database: {stuck}");
        let during = in_flight(&cluster).await?;
        for name in ["edge", "search", "media"] {
            let of = |all: &[(String, f64)]| {
                let found = all.iter().find(|(process, _)| process.starts_with(name));
                found.map(|(_, calls)| *calls).context("no such process")
            };
            let (before, during) = (of(&before)?, of(&during)?);
            assert!(during > before, "{name} works: {before}, then {during}");
        }

        // One whose time is up ends its statement too.
        let late = edge
            .request(Method::GET, "/v1/mediaItems")
            .header("x-request-timeout", "1");
        let late = edge.send(late).await?;
        assert_eq!(late.status, 504, "{}", late.text());
        let stuck = until(async || waiting(&database).await, |stuck| *stuck == 2).await?;
        assert_eq!(stuck, 2, "a statement outlives its deadline");

        for call in asked {
            call.abort();
        }
        let stuck = until(async || waiting(&database).await, |stuck| *stuck == 0).await?;
        assert_eq!(stuck, 0, "statements go on for nobody");
        let after = until(async || in_flight(&cluster).await, |now| *now == before).await?;
        assert_eq!(after, before, "calls go on for nobody");
        anyhow::Ok(())
    };
    tokio::select! {
        held = held => anyhow::bail!("the lock was not held: {held:?}"),
        worked = work => worked?,
    }
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' \
               AND pid <> pg_backend_pid()";
    database.psql(end).await?;
    let answer = edge.get("/v1/mediaItems").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(())
}
