//! What `/metrics` shows of calls under way, of replicas that die, of budgets and of what is refused.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use mediamesh_testkit::{Cluster, Http, Replica, fixture};
use reqwest::{Body, Method};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::scrape::{PATIENCE, becomes, metric};

/// All of it in the first half, so that every slow read is hedged.
const HEDGED: &str = "{ \"mediamesh.embedding.v1.EmbeddingService/ListModels\" = { hedging_policy = \
    { max_attempts = 2, hedging_delay_ms = 40, budget_percent = 100.0 } } }";
/// A budget that only successes fill.
const BUDGET: &str =
    "{ embedding = { retry_throttling = { max_tokens = 10, tokens_per_second = 0.0 } } }";
/// One upload at a time.
const ONE_STREAM: &str = "{ media = { max_streams = 1 } }";

const OF: (&str, &str) = ("service", "embedding");
const READY: &[(&str, &str)] = &[OF, ("connectivity", "ready"), ("breaker", "closed")];
const ENDPOINTS: &str = "mediamesh_mesh_endpoints";
const IN_FLIGHT: &str = "mediamesh_mesh_endpoint_calls_in_flight";
const TOKENS: &str = "mediamesh_mesh_retry_tokens";
const WITHHELD: &str = "mediamesh_mesh_retries_withheld_total";
const HEDGES: &str = "mediamesh_mesh_hedges_total";

/// Makes a replica do this to every call it gets.
async fn spoil(replica: &Replica, rule: Value) -> Result<()> {
    let faults = json!({"rules": [rule]});
    replica.http().post("/admin/faults", &faults).await?.ok()?;
    Ok(())
}

async fn heal(replica: &Replica) -> Result<()> {
    let healed = replica.http().request(Method::DELETE, "/admin/faults");
    assert_eq!(replica.http().send(healed).await?.status, 204);
    Ok(())
}

/// Reads at the same moment; the answers come later.
fn reads(edge: &Http, count: usize) -> JoinSet<Result<u16>> {
    let mut reads = JoinSet::new();
    for _ in 0..count {
        let edge = edge.clone();
        reads.spawn(async move { Ok(edge.get("/v1/models").await?.status.as_u16()) });
    }
    reads
}

async fn all_good(reads: JoinSet<Result<u16>>) -> Result<()> {
    for status in reads.join_all().await {
        assert_eq!(status?, 200);
    }
    Ok(())
}

#[tokio::test]
async fn gauges_show_calls_under_way_hedges_dead_replicas_and_spent_budgets() -> Result<()> {
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .service("embedding", 2)
        .service("cache", 1)
        .service("media", 1)
        .service("search", 1)
        .service("edge", 1)
        .with("MEDIAMESH_MESH__METHODS", HEDGED)
        .with("MEDIAMESH_MESH__SERVICES", BUDGET)
        .start()
        .await?;
    let edge = cluster.replica("edge", 0).http().clone();

    // well: both are ready, nothing is under way, the budget is whole
    all_good(reads(&edge, 20)).await?;
    becomes(&edge, (ENDPOINTS, READY), |ready| ready == 2.0).await?;
    becomes(&edge, (IN_FLIGHT, &[OF]), |calls| calls == 0.0).await?;
    assert_eq!(metric(&edge, TOKENS, &[OF]).await?, 10.0);
    assert_eq!(metric(&edge, WITHHELD, &[OF]).await?, 0.0);

    // slow, all of them: calls are seen under way, and then not any more
    for replica in cluster.of_service("embedding") {
        spoil(replica, json!({"kind": "delay", "delay_ms": 1000})).await?;
    }
    let slow = reads(&edge, 4);
    becomes(&edge, (IN_FLIGHT, &[OF]), |calls| calls >= 4.0).await?;
    all_good(slow).await?;
    becomes(&edge, (IN_FLIGHT, &[OF]), |calls| calls == 0.0).await?;

    // one of them only: the second of two attempts wins
    heal(cluster.replica("embedding", 1)).await?;
    let won = [OF, ("winner", "second")];
    let before = metric(&edge, HEDGES, &won).await?;
    let end = Instant::now() + PATIENCE;
    while metric(&edge, HEDGES, &won).await? <= before {
        assert!(Instant::now() < end, "no hedge was won");
        all_good(reads(&edge, 20)).await?;
    }
    heal(cluster.replica("embedding", 0)).await?;

    // dead: one endpoint is ready and the other is something else; nobody notices
    cluster.replica_mut("embedding", 1).kill()?;
    all_good(reads(&edge, 20)).await?;
    becomes(&edge, (ENDPOINTS, READY), |ready| ready == 1.0).await?;
    assert_eq!(metric(&edge, ENDPOINTS, &[OF]).await?, 2.0);

    // the last one fails: its breaker opens, the budget goes, and repeats are withheld
    spoil(cluster.replica("embedding", 0), json!({"kind": "status"})).await?;
    let end = Instant::now() + PATIENCE;
    while metric(&edge, WITHHELD, &[OF]).await? == 0.0 {
        assert!(Instant::now() < end, "no repeat was withheld");
        for status in reads(&edge, 2).join_all().await {
            assert_eq!(status?, 503);
        }
    }
    let spent = metric(&edge, TOKENS, &[OF]).await?;
    assert!(spent <= 5.0, "{spent} tokens are left");
    let moved = [OF, ("to", "open")];
    becomes(
        &edge,
        ("mediamesh_mesh_breaker_transitions_total", &moved),
        |to| to >= 1.0,
    )
    .await?;

    // both are back: both are ready, and successes earn the budget anew
    heal(cluster.replica("embedding", 0)).await?;
    cluster.replica_mut("embedding", 1).start().await?;
    let end = Instant::now() + PATIENCE;
    loop {
        for status in reads(&edge, 10).join_all().await {
            // the breaker of the last one may still be open when the first are sent
            assert!(matches!(status?, 200 | 503));
        }
        let tokens = metric(&edge, TOKENS, &[OF]).await?;
        if tokens > spent + 1.0 && metric(&edge, ENDPOINTS, READY).await? == 2.0 {
            return Ok(());
        }
        assert!(Instant::now() < end, "{tokens} tokens");
    }
}

/// An upload whose second half comes when it is told to.
async fn upload(edge: Http, rest: tokio::sync::oneshot::Receiver<()>) -> Result<u16> {
    let picture = fixture::jpeg(1, 640, 480);
    let (first, second) = picture.split_at(picture.len() / 2);
    let (first, second) = (
        Bytes::copy_from_slice(first),
        Bytes::copy_from_slice(second),
    );
    let second = stream::once(async move {
        let _ = rest.await;
        Ok::<_, std::io::Error>(second)
    });
    let body = Body::wrap_stream(stream::iter([Ok(first)]).chain(second));
    let request = edge
        .request(Method::POST, "/v1/mediaItems?displayName=slow.jpg")
        .header("content-type", "image/jpeg")
        .body(body);
    Ok(edge.send(request).await?.status.as_u16())
}

#[tokio::test]
async fn what_a_full_server_refuses_is_counted_and_what_it_does_is_shown() -> Result<()> {
    let cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .together(&["embedding", "cache", "search"], 1)
        .service("media", 1)
        .with("MEDIAMESH_MESH__SERVICES", ONE_STREAM)
        .service("edge", 1)
        .start()
        .await?;
    let (edge, media) = (cluster.replica("edge", 0), cluster.replica("media", 0));
    let media = media.http();
    let of = ("service", "media");
    let streaming: (&str, &[_]) = ("mediamesh_load_streaming_calls", &[of]);
    let shed = (
        "mediamesh_load_shed_total",
        [of, ("priority", "interactive")],
    );
    let before = metric(media, shed.0, &shed.1).await?;
    let (finish, rest) = tokio::sync::oneshot::channel();
    let first = tokio::spawn(upload(edge.http().clone(), rest));
    becomes(media, streaming, |open| open == 1.0).await?;

    let picture = fixture::jpeg(2, 64, 48);
    let refused = edge
        .http()
        .upload("second.jpg", "", picture.clone())
        .await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    let counted = metric(media, shed.0, &shed.1).await?;
    assert!(counted > before, "{counted} after {before}");
    assert_eq!(metric(media, streaming.0, streaming.1).await?, 1.0);

    finish.send(()).ok().context("the first upload is gone")?;
    assert_eq!(first.await??, 201);
    becomes(media, streaming, |open| open == 0.0).await?;
    edge.http().upload_ok("second.jpg", "", picture).await?;
    Ok(())
}
