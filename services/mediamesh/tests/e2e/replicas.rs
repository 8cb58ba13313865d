//! Three replicas as real processes, one of them sick, and a caller behind the edge who must not notice.

use std::{io::Write as _, time::Duration};

use anyhow::{Context as _, Result};
use mediamesh_testkit::{Cluster, Http};
use reqwest::Method;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

/// Requests a second: debug builds of seven processes share the machine with the test.
const RATE: u32 = 50;
/// Before a fault, during it, and after it is over.
const PHASE: Duration = Duration::from_secs(2);
/// Time a request may take: one that hangs on a silent replica until then has failed.
const LIMIT_SECS: &str = "5";

/// Requests at a steady rate, whatever becomes of them.
struct Load {
    requests: JoinSet<(Duration, Result<()>)>,
}

/// What became of them.
#[derive(Debug)]
struct Outcome {
    count: usize,
    failed: Vec<String>,
    median: Duration,
    slowest: Duration,
}

impl Load {
    fn new() -> Self {
        Self {
            requests: JoinSet::new(),
        }
    }

    /// Sends until `action` is done, and for a phase at least; a request is due at its moment, not
    /// when the one before was answered.
    async fn during(
        &mut self,
        edge: &Http,
        action: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let mut ticks = interval(Duration::from_secs(1) / RATE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let end = Instant::now() + PHASE;
        let mut done = false;
        tokio::pin!(action);
        while !done || Instant::now() < end {
            tokio::select! {
                acted = &mut action, if !done => {
                    acted?;
                    done = true;
                }
                due = ticks.tick() => {
                    let request = edge
                        .request(Method::GET, "/v1/models")
                        .header("x-request-timeout", LIMIT_SECS);
                    self.requests.spawn(async move {
                        let answer = read(request).await;
                        (due.elapsed(), answer)
                    });
                }
            }
        }
        Ok(())
    }

    async fn end(mut self) -> Result<Outcome> {
        let mut times = Vec::new();
        let mut failed = Vec::new();
        while let Some(ended) = self.requests.join_next().await {
            let (time, answer) = ended?;
            times.push(time);
            failed.extend(answer.err().map(|error| format!("{error:#}")));
        }
        times.sort_unstable();
        Ok(Outcome {
            count: times.len(),
            failed,
            median: *times.get(times.len() / 2).context("no request was sent")?,
            slowest: *times.last().context("no request was sent")?,
        })
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<()> {
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    anyhow::ensure!(status.is_success(), "{status}: {text}");
    Ok(())
}

/// Sends through a fault that `begin` makes and `finish` ends; nothing may fail.
async fn unnoticed(
    cluster: &mut Cluster,
    what: &str,
    begin: impl AsyncFnOnce(&mut Cluster) -> Result<()>,
    finish: impl AsyncFnOnce(&mut Cluster) -> Result<()>,
) -> Result<()> {
    // a client of its own: the cluster changes under it
    let edge = cluster.replica("edge", 0).http().clone();
    let mut load = Load::new();
    load.during(&edge, async { Ok(()) }).await?;
    load.during(&edge, begin(cluster)).await?;
    load.during(&edge, finish(cluster)).await?;
    let outcome = load.end().await?;
    let _ = writeln!(
        std::io::stderr(),
        "{what}: {} requests, {} failed, median {:?}, slowest {:?}",
        outcome.count,
        outcome.failed.len(),
        outcome.median,
        outcome.slowest
    );
    assert!(
        outcome.failed.is_empty(),
        "{what}: {outcome:?}\n{}",
        cluster.logs()
    );
    Ok(())
}

#[tokio::test]
async fn a_replica_is_killed_stopped_cut_off_and_rolled_and_no_read_fails() -> Result<()> {
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .service("embedding", 3)
        .service("cache", 1)
        .service("media", 1)
        .service("search", 1)
        .service("edge", 1)
        .proxied()
        .start()
        .await?;
    unnoticed(
        &mut cluster,
        "kill -9",
        async |cluster| cluster.replica_mut("embedding", 1).kill(),
        async |cluster| cluster.replica_mut("embedding", 1).start().await,
    )
    .await?;
    unnoticed(
        &mut cluster,
        "SIGSTOP",
        async |cluster| cluster.replica("embedding", 0).pause(),
        async |cluster| cluster.replica("embedding", 0).resume(),
    )
    .await?;
    unnoticed(
        &mut cluster,
        "packets dropped",
        async |cluster| {
            cluster.proxy("embedding", 2).cut();
            Ok(())
        },
        async |cluster| {
            cluster.proxy("embedding", 2).heal();
            Ok(())
        },
    )
    .await?;
    unnoticed(
        &mut cluster,
        "connections reset",
        async |cluster| {
            cluster.proxy("embedding", 1).reset();
            Ok(())
        },
        async |cluster| {
            cluster.proxy("embedding", 1).heal();
            Ok(())
        },
    )
    .await?;
    unnoticed(
        &mut cluster,
        "rolling restart",
        async |cluster| cluster.roll("embedding").await,
        async |_| Ok(()),
    )
    .await
}
