//! Five processes, one trace, in a real Jaeger: its query API is asked, as people ask it.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use mediamesh_testkit::{Cluster, ClusterBuilder, Http, Jaeger, Span, fixture};
use reqwest::Method;
use serde_json::json;

const UPLOAD: &str = "33333333333333333333333333333333";
const SEARCH: &str = "44444444444444444444444444444444";
/// The caller's own span, which Jaeger never sees.
const CALLER: &str = "00f067aa0ba902b7";

const FIVE: [&str; 5] = ["cache", "embedding", "media", "search", "edge"];

/// No process yet; all send their traces to `jaeger`.
fn cluster(jaeger: &Jaeger) -> ClusterBuilder {
    Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .env("MEDIAMESH_TELEMETRY__OTLP_ENDPOINT", &jaeger.endpoint())
        // milliseconds between exports; the default is 5 s
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
}

/// One process per service.
async fn five(jaeger: &Jaeger) -> Result<Cluster> {
    let mut cluster = cluster(jaeger);
    for service in FIVE {
        cluster = cluster.service(service, 1);
    }
    cluster.start().await
}

fn traceparent(trace: &str) -> String {
    format!("00-{trace}-{CALLER}-01")
}

async fn upload(edge: &Http, name: &str) -> Result<()> {
    edge.request(Method::POST, &format!("/v1/mediaItems?displayName={name}"))
        .header("traceparent", traceparent(UPLOAD))
        .header("content-type", "image/jpeg")
        .body(fixture::jpeg(7, 320, 240))
        .send()
        .await?
        .error_for_status()?;
    edge.settled().await
}

async fn search(edge: &Http, trace: &str, words: &str) -> Result<usize> {
    let query = json!({"query": words, "limit": 3});
    let answer = edge
        .request(Method::POST, "/v1/mediaItems:search")
        .header("traceparent", traceparent(trace))
        .json(&query)
        .send()
        .await?
        .error_for_status()?
        .json::<serde_json::Value>()
        .await?;
    Ok(answer["results"].as_array().context("no results")?.len())
}

/// A trace by its spans' ids.
struct Tree<'a>(HashMap<&'a str, &'a Span>);

impl<'a> Tree<'a> {
    fn of(spans: &'a [Span]) -> Self {
        Self(spans.iter().map(|it| (it.span_id.as_str(), it)).collect())
    }

    fn parent(&self, span: &Span) -> Option<&'a Span> {
        self.0.get(span.parent_id.as_str()).copied()
    }

    /// Names of the processes from the root down to `span`, each once.
    fn way(&self, span: &'a Span) -> Vec<&'a str> {
        let mut way = vec![span.service.as_str()];
        let mut at = span;
        while let Some(parent) = self.parent(at) {
            if way.last() != Some(&parent.service.as_str()) {
                way.push(&parent.service);
            }
            at = parent;
        }
        way.reverse();
        way
    }

    /// What is wrong with the links of the trace.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut roots = 0;
        for span in self.0.values().copied() {
            let what = format!("{} {} ({})", span.service, span.name, span.span_id);
            let Some(parent) = self.parent(span) else {
                roots += 1;
                if span.parent_id != CALLER {
                    faults.push(format!("{what} has a parent that is not there"));
                }
                continue;
            };
            let kind = |span: &'a Span| span.attributes.get("span.kind").map(String::as_str);
            if span.service == parent.service {
                continue;
            }
            // from one process to the next there is only one way: client to server, same method
            let crossed = (kind(parent), kind(span));
            if crossed != (Some("client"), Some("server")) {
                faults.push(format!("{what} is below {} as {crossed:?}", parent.name));
            }
        }
        if roots != 1 {
            faults.push(format!("{roots} roots"));
        }
        faults
    }
}

fn services(spans: &[Span]) -> BTreeSet<&str> {
    spans.iter().map(|span| span.service.as_str()).collect()
}

#[tokio::test]
async fn jaeger_shows_a_search_through_five_processes_as_one_tree() -> Result<()> {
    let Some(binary) = Jaeger::binary() else {
        return Ok(());
    };
    let jaeger = Jaeger::start(binary).await?;
    let cluster = five(&jaeger).await?;
    let edge = cluster.replica("edge", 0).http();
    upload(edge, "lighthouse.jpg").await?;
    assert_eq!(
        search(edge, SEARCH, "lighthouse").await?,
        1,
        "{}",
        cluster.logs()
    );

    // the search itself, and what it asks of the others
    let wanted = [
        ("mediamesh-edge", "POST /v1/mediaItems:search"),
        (
            "mediamesh-edge",
            "mediamesh.search.v1.SearchService/SearchMedia",
        ),
        (
            "mediamesh-search",
            "mediamesh.search.v1.SearchService/SearchMedia",
        ),
        (
            "mediamesh-search",
            "mediamesh.cache.v1.CacheService/GetEntry",
        ),
        (
            "mediamesh-cache",
            "mediamesh.cache.v1.CacheService/GetEntry",
        ),
        (
            "mediamesh-embedding",
            "mediamesh.embedding.v1.EmbeddingService/ListModels",
        ),
        ("mediamesh-search", "SELECT"),
    ];
    let has = |spans: &[Span], (service, name): (&str, &str)| {
        spans
            .iter()
            .any(|it| it.service == service && it.name == name)
    };
    let spans = jaeger
        .wait(SEARCH, |spans| {
            wanted.iter().all(|pair| has(spans, *pair)) && Tree::of(spans).faults().is_empty()
        })
        .await?;
    let tree = Tree::of(&spans);
    let ways: Vec<Vec<&str>> = spans
        .iter()
        .filter(|it| it.service == "mediamesh-cache" && it.name.ends_with("/GetEntry"))
        .map(|it| tree.way(it))
        .collect();
    let wanted = ["mediamesh-edge", "mediamesh-search", "mediamesh-cache"];
    assert!(ways.iter().any(|way| *way == wanted), "{ways:?}");

    // the upload goes on in jobs, which keep its trace in their rows
    let four = ["edge", "media", "embedding", "search"].map(|name| format!("mediamesh-{name}"));
    let uploaded = jaeger
        .wait(UPLOAD, |spans| {
            let seen = services(spans);
            has(
                spans,
                (
                    "mediamesh-search",
                    "mediamesh.search.v1.SearchService/IndexMedia",
                ),
            ) && four.iter().all(|name| seen.contains(name.as_str()))
        })
        .await?;
    assert!(
        Tree::of(&uploaded).faults().is_empty(),
        "{:?}",
        Tree::of(&uploaded).faults()
    );
    Ok(())
}

#[tokio::test]
async fn a_slow_bucket_leads_to_a_trace_that_jaeger_has() -> Result<()> {
    let Some(binary) = Jaeger::binary() else {
        return Ok(());
    };
    let jaeger = Jaeger::start(binary).await?;
    let cluster = five(&jaeger).await?;
    let edge = cluster.replica("edge", 0).http();
    search(edge, SEARCH, "nothing").await?;
    for (service, metric) in [
        ("edge", "mediamesh_http_request_duration_seconds_bucket"),
        ("edge", "mediamesh_rpc_duration_seconds_bucket"),
        ("search", "mediamesh_rpc_duration_seconds_bucket"),
        ("cache", "mediamesh_rpc_duration_seconds_bucket"),
    ] {
        let replica = cluster.replica(service, 0);
        let metrics = replica.http().get("/metrics").await?.text();
        let exemplar = format!("# {{trace_id=\"{SEARCH}\"}}");
        let found = metrics
            .lines()
            .any(|line| line.starts_with(metric) && line.contains(&exemplar));
        assert!(
            found,
            "no {exemplar} at {metric} of {service} in\n{metrics}"
        );
    }
    let spans = jaeger
        .wait(SEARCH, |spans| services(spans).len() >= 4)
        .await?;
    assert!(services(&spans).contains("mediamesh-edge"));
    Ok(())
}

#[tokio::test]
async fn a_retry_is_two_attempts_at_two_replicas_below_one_call() -> Result<()> {
    let Some(binary) = Jaeger::binary() else {
        return Ok(());
    };
    let jaeger = Jaeger::start(binary).await?;
    let mut cluster = cluster(&jaeger)
        .service("cache", 1)
        // this replica answers UNAVAILABLE to everything
        .with("MEDIAMESH_MESH__FAULTS__RULES", "[{kind = \"status\"}]");
    for service in FIVE {
        cluster = cluster.service(service, 1);
    }
    let cluster = cluster.start().await?;
    let edge = cluster.replica("edge", 0).http();
    for number in 0..40_u32 {
        let trace = format!("{:032x}", 0x5555_0000 + number);
        // the cache is no truth: a search succeeds without it, and with a retry it has it
        search(edge, &trace, &format!("words {number}")).await?;
        let spans = jaeger
            .wait(&trace, |spans| {
                !spans.is_empty() && Tree::of(spans).faults().is_empty()
            })
            .await?;
        let attempt = |span: &Span| span.attributes.get("mediamesh.attempt").cloned();
        let Some(second) = spans.iter().find(|it| attempt(it).as_deref() == Some("2")) else {
            // the balancer took the good one at once
            continue;
        };
        let first = spans
            .iter()
            .find(|it| it.parent_id == second.parent_id && attempt(it).as_deref() == Some("1"))
            .context("no first attempt beside the second")?;
        let said = |span: &Span, key: &str| span.attributes.get(key).cloned().unwrap_or_default();
        assert_eq!(said(first, "mediamesh.outcome"), "UNAVAILABLE", "{first:?}");
        assert_eq!(said(second, "mediamesh.outcome"), "answered", "{second:?}");
        let place = |span: &Span| (said(span, "server.address"), said(span, "server.port"));
        assert_ne!(place(first), place(second));
        return Ok(());
    }
    panic!(
        "no call in 40 searches met the replica that fails\n{}",
        cluster.logs()
    );
}
