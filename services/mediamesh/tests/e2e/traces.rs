//! One trace from the HTTP request down to the last statement, received by OTLP.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use mediamesh_testkit::{Collector, Span, fixture};
use reqwest::Method;
use serde_json::json;

use crate::launcher;

const UPLOAD: &str = "11111111111111111111111111111111";
const SEARCH: &str = "22222222222222222222222222222222";

/// Names of a span's descendants, itself included, by following parents up.
fn below<'a>(spans: &'a [Span], root: &Span) -> HashSet<&'a str> {
    let parents: HashMap<&str, &str> = spans
        .iter()
        .map(|span| (span.span_id.as_str(), span.parent_id.as_str()))
        .collect();
    let is_below = |span: &&Span| {
        let mut at = span.span_id.as_str();
        while at != root.span_id {
            match parents.get(at) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
        true
    };
    spans
        .iter()
        .filter(is_below)
        .map(|span| span.name.as_str())
        .collect()
}

fn described(spans: &[Span]) -> String {
    let lines: Vec<String> = spans
        .iter()
        .map(|span| {
            format!(
                "{} <- {} {} {:?}",
                span.span_id, span.parent_id, span.name, span.attributes
            )
        })
        .collect();
    lines.join("\n")
}

#[tokio::test]
async fn one_trace_leads_from_the_http_request_through_every_hop_to_jobs_and_statements()
-> Result<()> {
    let collector = Collector::start().await?;
    let mut launcher = launcher().env("MEDIAMESH_TELEMETRY__OTLP_ENDPOINT", collector.endpoint());
    let mesh = launcher.start().await?;
    let traceparent = |trace: &str| format!("00-{trace}-00f067aa0ba902b7-01");

    let picture = fixture::jpeg(1, 320, 240);
    mesh.http()
        .request(Method::POST, "/v1/mediaItems?displayName=lighthouse.jpg")
        .header("traceparent", traceparent(UPLOAD))
        .header("content-type", "image/jpeg")
        .body(picture)
        .send()
        .await?
        .error_for_status()?;
    mesh.http().settled().await?;
    let query = json!({"query": "lighthouse", "limit": 3});
    mesh.http()
        .request(Method::POST, "/v1/mediaItems:search")
        .header("traceparent", traceparent(SEARCH))
        .json(&query)
        .send()
        .await?
        .error_for_status()?;
    // ending flushes what is still queued
    mesh.stop().await?;

    for (trace, wanted) in [
        (
            UPLOAD,
            [
                "POST /v1/mediaItems",
                "mediamesh.media.v1.MediaService/UploadMedia",
                "mediamesh.embedding.v1.EmbeddingService/EmbedImages",
                "mediamesh.search.v1.SearchService/IndexMedia",
                "INSERT",
            ],
        ),
        (
            SEARCH,
            [
                "POST /v1/mediaItems:search",
                "mediamesh.search.v1.SearchService/SearchMedia",
                "mediamesh.embedding.v1.EmbeddingService/ListModels",
                "mediamesh.cache.v1.CacheService/GetEntry",
                "SELECT",
            ],
        ),
    ] {
        let spans = collector.trace(trace);
        let root = spans
            .iter()
            .find(|span| span.parent_id == "00f067aa0ba902b7")
            .unwrap_or_else(|| panic!("no root in\n{}", described(&spans)));
        let names = below(&spans, root);
        for name in wanted {
            assert!(
                names.contains(name),
                "no {name} below the root of\n{}",
                described(&spans)
            );
        }
    }
    Ok(())
}

/// Whether every span's parent is there, but for that of the one root.
fn is_whole(spans: &[Span]) -> bool {
    let ids: HashSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let mut above = spans.iter().map(|span| span.parent_id.as_str());
    let roots = above.clone().filter(|id| *id == "00f067aa0ba902b7").count();
    roots == 1 && above.all(|id| id == "00f067aa0ba902b7" || ids.contains(id))
}

#[tokio::test]
async fn a_trace_is_whole_soon_after_its_request_and_not_with_the_next_one() -> Result<()> {
    let collector = Collector::start().await?;
    let mut launcher = launcher()
        .env("MEDIAMESH_TELEMETRY__OTLP_ENDPOINT", collector.endpoint())
        // milliseconds between exports
        .env("OTEL_BSP_SCHEDULE_DELAY", "100");
    let mesh = launcher.start().await?;
    mesh.http()
        .request(Method::POST, "/v1/mediaItems:search")
        .header("traceparent", format!("00-{SEARCH}-00f067aa0ba902b7-01"))
        .json(&json!({"query": "lighthouse"}))
        .send()
        .await?
        .error_for_status()?;
    for _ in 0..100 {
        if is_whole(&collector.trace(SEARCH)) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("not whole:\n{}", described(&collector.trace(SEARCH)));
}
