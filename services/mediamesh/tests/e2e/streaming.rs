//! The same answer as a stream: one JSON document per line, or server-sent events.

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{fill, id, start};

/// Ids of the hits, checking that the summary is there once and last.
fn hits(messages: &[Value]) -> Vec<String> {
    let (summary, hits) = messages
        .split_last()
        .expect("a stream has at least its summary");
    assert!(
        summary["summary"].is_object(),
        "the last message is the summary: {summary}"
    );
    hits.iter()
        .map(|message| id(&message["hit"]).to_owned())
        .collect()
}

#[tokio::test]
async fn a_streamed_answer_has_the_hits_of_the_plain_one() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    fill(&mesh, 0, 30).await?;
    let request = json!({"query": "picture", "limit": 25});
    let plain = http.search_ids(request.clone()).await?;
    assert_eq!(plain.len(), 25);

    let post = |accept: &str| {
        http.request(Method::POST, "/v1/mediaItems:streamSearch")
            .header("accept", accept)
            .json(&request)
    };
    let lines = http.send(post("application/x-ndjson")).await?;
    assert!(
        lines
            .header("content-type")
            .starts_with("application/x-ndjson"),
        "{}",
        lines.header("content-type")
    );
    let messages: Vec<Value> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(hits(&messages), plain);

    let events = http.send(post("text/event-stream")).await?;
    assert!(
        events
            .header("content-type")
            .starts_with("text/event-stream"),
        "{}",
        events.header("content-type")
    );
    assert_eq!(hits(&data(&events.text())), plain);

    let get = http
        .get("/v1/mediaItems:streamSearch?search.query=picture&search.limit=25&alt=sse")
        .await?;
    assert_eq!(
        hits(&data(&get.text())),
        plain,
        "by query parameters, as EventSource can"
    );
    Ok(())
}

/// The JSON of each event but the end marker.
fn data(events: &str) -> Vec<Value> {
    let messages = events
        .split("\n\n")
        .filter(|event| !event.contains("event: end"));
    let lines = messages
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("data:"));
    lines
        .filter_map(|line| serde_json::from_str(line.trim()).ok())
        .collect()
}

#[tokio::test]
async fn a_bad_request_is_refused_before_the_stream_begins() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let request = mesh
        .http()
        .request(Method::POST, "/v1/mediaItems:streamSearch")
        .json(&json!({"limit": -1}));
    let answer = mesh
        .http()
        .send(request.header("accept", "application/x-ndjson"))
        .await?;
    assert_eq!(answer.status.as_u16(), 400, "{}", answer.text());
    assert!(
        answer
            .header("content-type")
            .starts_with("application/problem+json")
    );
    Ok(())
}
