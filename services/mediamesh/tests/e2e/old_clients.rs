//! The routes of older clients answer as they always did.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{fill, id, start};

#[tokio::test]
async fn the_old_search_route_takes_query_and_limit() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    fill(&mesh, 0, 9).await?;
    let answer = http
        .post("/api/search", &json!({"query": "picture", "limit": 5}))
        .await?
        .ok()?;
    let posted: Vec<&str> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(id)
        .collect();
    assert_eq!(posted.len(), 5, "{answer}");
    assert_eq!(
        posted,
        http.search_ids(json!({"query": "picture", "limit": 5}))
            .await?
    );
    let got = http.get("/api/search?query=picture&limit=5").await?.ok()?;
    assert_eq!(got["results"].as_array().map(Vec::len), Some(5));
    let streamed = http
        .get("/api/search?query=picture&limit=5&stream=true")
        .await?;
    let lines: Vec<Value> = streamed
        .text()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(
        lines.iter().filter(|line| line["hit"].is_object()).count(),
        5,
        "{}",
        streamed.text()
    );
    Ok(())
}

#[tokio::test]
async fn the_old_health_and_queue_routes_answer() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    fill(&mesh, 0, 3).await?;
    for path in ["/health", "/api/health?detailed=true"] {
        http.get(path).await?.ok()?;
    }
    let stats = http.get("/api/queue/stats").await?.ok()?;
    assert!(
        stats.is_object() && stats["completed"] != json!(0),
        "three jobs were done: {stats}"
    );
    Ok(())
}

#[tokio::test]
async fn a_description_without_a_provider_says_what_is_missing() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let items = fill(&mesh, 0, 1).await?;
    let answer = mesh
        .http()
        .post(
            "/api/descriptions/generate",
            &json!({"mediaItemId": id(&items[0])}),
        )
        .await?;
    assert!(answer.status.is_client_error(), "{}", answer.text());
    assert!(
        answer
            .header("content-type")
            .starts_with("application/problem+json"),
        "{}",
        answer.text()
    );
    Ok(())
}
