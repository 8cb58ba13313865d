//! What operators see of a replica that fails: on the page, in the terminal, in metrics and in traces.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mediamesh_testkit::{Cluster, Collector, Http};
use reqwest::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

const TRACE: &str = "66666666666666666666666666666666";

/// The endpoints of `embedding`, as the edge sees them.
async fn endpoints(edge: &Http) -> Result<Vec<Value>> {
    let seen = edge.get("/admin/mesh").await?.ok()?;
    let services = seen["services"].as_array().context("no services")?;
    let of = |service: &&Value| service["service"] == "embedding";
    let embedding = services.iter().find(of).context("no embedding")?;
    Ok(embedding["endpoints"].as_array().context("none")?.clone())
}

async fn ask(edge: &Http) -> Result<()> {
    let request = edge
        .request(Method::GET, "/v1/models")
        .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let answer = edge.send(request).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(())
}

#[tokio::test]
async fn a_replica_that_fails_is_seen_everywhere_and_by_no_caller() -> Result<()> {
    let collector = Collector::start().await?;
    let cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .env("MEDIAMESH_TELEMETRY__OTLP_ENDPOINT", collector.endpoint())
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .service("embedding", 1)
        .with("MEDIAMESH_MESH__FAULTS__RULES", "[{kind = \"status\"}]")
        .service("embedding", 1)
        .service("cache", 1)
        .service("media", 1)
        .service("search", 1)
        .service("edge", 1)
        .start()
        .await?;
    let edge = cluster.replica("edge", 0).http();
    let sick = cluster.replica("embedding", 0);
    let address = sick.grpc_address().to_string();

    // The edge is ready with one of them; what comes before it knows the other is not what is asked here.
    let end = Instant::now() + Duration::from_secs(10);
    while endpoints(edge)
        .await?
        .iter()
        .any(|it| it["connectivity"] != "ready")
    {
        assert!(Instant::now() < end, "{:?}", endpoints(edge).await?);
        sleep(Duration::from_millis(20)).await;
    }
    // Failures make it dear, so it takes a while until there are enough in a row; it stays open for a
    // fraction of a second: looked at between the calls.
    let mut open = None;
    let end = Instant::now() + Duration::from_secs(20);
    while open.is_none() && Instant::now() < end {
        ask(edge).await?;
        let now = endpoints(edge).await?;
        assert_eq!(now.len(), 2, "{now:?}");
        open = open.or_else(|| now.into_iter().find(|it| it["breaker"] == "open"));
    }
    let open = open.context("no breaker was seen open")?;
    assert_eq!(open["address"], address, "{open}");
    assert!(open["openForMs"].as_u64() > Some(0), "{open}");
    assert_eq!(open["connectivity"], "ready", "{open}");

    let metrics = edge.get("/metrics").await?.text();
    let moved = |to: &str| {
        let line = format!(
            "mediamesh_mesh_breaker_transitions_total{{service=\"embedding\",to=\"{to}\"}} "
        );
        metrics.lines().any(|it| it.starts_with(&line))
    };
    assert!(moved("open"), "{metrics}");
    let page = edge
        .request(Method::GET, "/admin/mesh")
        .header("accept", "text/html");
    let page = edge.send(page).await?.text();
    assert!(page.contains("<table") && page.contains(&address), "{page}");
    let top = Command::new(env!("CARGO_BIN_EXE_mediamesh"))
        .args(["top", "--once"])
        .arg(cluster.replica("edge", 0).http_address().to_string())
        .output()?;
    let screen = String::from_utf8(top.stdout)?;
    assert!(
        top.status.success() && screen.contains(&address),
        "{screen}"
    );

    // The move is an event of the call that caused it.
    let end = Instant::now() + Duration::from_secs(10);
    let (attempt, event) = loop {
        let spans = collector.trace(TRACE);
        let of = |event: &&mediamesh_testkit::Event| {
            event.name == "circuit breaker moved" && event.attributes["to"] == "open"
        };
        let found = spans
            .iter()
            .find_map(|span| Some((span.clone(), span.events.iter().find(of)?.clone())));
        match found {
            Some(found) => break found,
            None if Instant::now() > end => panic!("no event in {} spans", spans.len()),
            None => sleep(Duration::from_millis(100)).await,
        }
    };
    assert_eq!(attempt.service, "mediamesh-edge");
    assert_eq!(event.attributes["endpoint"], address, "{event:?}");

    let healed = sick.http().request(Method::DELETE, "/admin/faults");
    assert_eq!(sick.http().send(healed).await?.status, 204);
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        ask(edge).await?;
        let now = endpoints(edge).await?;
        if now.iter().all(|it| it["breaker"] == "closed") {
            return Ok(());
        }
        assert!(Instant::now() < end, "{now:?}");
        sleep(Duration::from_millis(50)).await;
    }
}
