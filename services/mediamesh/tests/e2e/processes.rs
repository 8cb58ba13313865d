//! Replicas as processes of their own: what the harness does to them, they feel, and they come back.

use std::time::Duration;

use anyhow::Result;
use mediamesh_proto::cache::v1::{GetCacheStatsRequest, cache_service_client::CacheServiceClient};
use mediamesh_testkit::{Cluster, Http};
use tokio::time::Instant;
use tonic::{Code, Status, transport::Endpoint};

/// Longer than any answer takes on a busy machine, shorter than anybody's patience.
const PATIENCE: Duration = Duration::from_millis(1500);

struct Client(CacheServiceClient<tonic::transport::Channel>);

impl Client {
    fn of(uri: String) -> Result<Self> {
        let channel = Endpoint::from_shared(uri)?.timeout(PATIENCE).connect_lazy();
        Ok(Self(CacheServiceClient::new(channel)))
    }

    /// Asks for something that every replica answers from memory.
    async fn asks(&mut self) -> Result<(), Status> {
        let asked = self.0.get_cache_stats(GetCacheStatsRequest::default());
        asked.await.map(|_| ())
    }

    /// Asks until the answer is good: a lost connection is made again in the background.
    async fn is_served(&mut self) {
        for _ in 0..20 {
            if self.asks().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not served: {:?}", self.asks().await);
    }
}

/// What a client says of an answer that does not come in time.
fn is_late(status: &Status) -> bool {
    matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled)
}

#[tokio::test]
async fn replicas_are_killed_stopped_cut_off_rolled_and_come_back_where_they_were() -> Result<()> {
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .service("cache", 2)
        .proxied()
        .start()
        .await?;
    let uris = cluster.uris("cache");
    let mut first = Client::of(uris[0].clone())?;
    let mut second = Client::of(uris[1].clone())?;
    first.asks().await?;
    second.asks().await?;

    // killed: lost at once, the other does not notice
    cluster.replica_mut("cache", 1).kill()?;
    let status = second.asks().await.unwrap_err();
    assert!(!is_late(&status), "{status:?}");
    assert!(
        cluster
            .replica("cache", 1)
            .http()
            .get("/health")
            .await
            .is_err()
    );
    first.asks().await?;
    cluster.replica_mut("cache", 1).start().await?;
    assert_eq!(cluster.uris("cache"), uris);
    second.is_served().await;

    // stopped: silent, then there again, with the same connections
    let pid = cluster.replica("cache", 1).pid();
    cluster.replica("cache", 1).pause()?;
    let status = second.asks().await.unwrap_err();
    assert!(is_late(&status), "{status:?}");
    cluster.replica("cache", 1).resume()?;
    second.is_served().await;
    assert_eq!(cluster.replica("cache", 1).pid(), pid);

    // cut off: silent too, though the process is well
    cluster.proxy("cache", 0).cut();
    let status = first.asks().await.unwrap_err();
    assert!(is_late(&status), "{status:?}");
    let health = cluster.replica("cache", 0).http().get("/health").await?;
    assert!(health.status.is_success());
    cluster.proxy("cache", 0).heal();
    first.is_served().await;

    // rolled: each drains and ends well before the next
    cluster.roll("cache").await?;
    first.is_served().await;
    second.is_served().await;
    assert_ne!(cluster.replica("cache", 1).pid(), pid);
    Ok(())
}

/// Asks for `path` until the answer has this status.
async fn becomes(http: &Http, path: &str, status: u16) -> Result<String> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match http.get(path).await {
            Ok(answer) if answer.status == status => return Ok(answer.text()),
            last if Instant::now() > end => panic!("{path} is not {status}: {last:?}"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test]
async fn a_process_is_alive_at_once_and_ready_when_what_it_needs_has_answered() -> Result<()> {
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .together(&["cache", "embedding", "media", "search"], 1)
        .service("edge", 1)
        .build()
        .await?;
    cluster.replica_mut("edge", 0).spawn()?;
    let edge = cluster.replica("edge", 0).http();
    becomes(edge, "/health/live", 200).await?;
    for _ in 0..10 {
        let ready = edge.get("/health/ready").await?;
        assert_eq!(ready.status, 503, "nobody is there yet: {}", ready.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.start().await?;
    let edge = cluster.replica("edge", 0).http();
    becomes(edge, "/health/ready", 200).await?;
    assert_eq!(edge.get("/v1/models").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_file_says_where_the_services_are() -> Result<()> {
    let cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .together(&["cache", "embedding", "media", "search"], 1)
        .start()
        .await?;
    let others = cluster.replica("cache", 0).grpc_address();
    let file = cluster.scratch().join("edge.toml");
    let ready = cluster.scratch().join("edge.ready.json");
    // a list of addresses, and a name that is looked up
    let text = format!(
        "[mesh.endpoints]\ncache = [\"http://{others}\"]\nembedding = [\"dns:///{others}\"]\n\
         media = [\"http://{others}\"]\nsearch = [\"http://{others}\"]\n"
    );
    std::fs::write(&file, text)?;
    let mut edge = crate::launcher().command();
    edge.arg("--config").arg(&file).args(["serve", "edge"]);
    edge.args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]);
    edge.arg("--data-dir").arg(cluster.scratch().join("edge"));
    edge.arg("--ready-file").arg(&ready);
    let mut edge = tokio::process::Command::from(edge)
        .kill_on_drop(true)
        .spawn()?;
    let end = Instant::now() + Duration::from_secs(30);
    while !ready.is_file() {
        assert!(edge.try_wait()?.is_none(), "it ended");
        assert!(Instant::now() < end, "it is not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ready: serde_json::Value = serde_json::from_slice(&std::fs::read(&ready)?)?;
    let http = Http::new(ready["http"].as_str().unwrap())?;
    assert_eq!(http.get("/v1/models").await?.status, 200);
    Ok(())
}
