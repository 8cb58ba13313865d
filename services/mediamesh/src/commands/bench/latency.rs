//! Searches over HTTP, one at a time and several at once.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use futures::{StreamExt as _, stream};
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::time::Instant;

use super::mesh::BenchMesh;
use crate::import::screen::say;

/// Searches at once in the second run: more than the cores.
const CLIENTS: usize = 8;

pub(super) async fn run(mesh: &BenchMesh, searches: u32) -> Result<()> {
    let client = reqwest::Client::new();
    let items: serde_json::Value = get(&client, &mesh.url("/v1/mediaItems?pageSize=200")).await?;
    let ids: Vec<String> = items["mediaItems"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["id"].as_str().map(str::to_owned))
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let words = [
        "beach sunset",
        "mountain",
        "red flower",
        "img",
        "city night",
        "water",
        "green forest",
        "photo 12",
    ];
    // No two requests are alike, so the cache answers none of them.
    let text =
        |n: u32| json!({"query": format!("{} {n}", words[n as usize % words.len()]), "limit": 20});
    let like = |n: u32| json!({"examples": [{"mediaItemId": ids[n as usize % ids.len()]}], "limit": 20, "minScore": f64::from(n) * 1e-9});
    let filtered = |n: u32| {
        json!({"examples": [{"mediaItemId": ids[n as usize % ids.len()]}], "limit": 20,
               "filter": {"orientations": ["landscape"]}, "minScore": f64::from(n) * 1e-9})
    };
    let same = |_: u32| json!({"query": "mountain", "limit": 20});
    measure(mesh, &client, "text", searches, &text).await?;
    measure(mesh, &client, "like an item", searches, &like).await?;
    measure(mesh, &client, "like an item, filtered", searches, &filtered).await?;
    measure(mesh, &client, "cached text", searches, &same).await
}

async fn measure(
    mesh: &BenchMesh,
    client: &reqwest::Client,
    name: &str,
    searches: u32,
    body: &(dyn Fn(u32) -> serde_json::Value + Sync),
) -> Result<()> {
    for clients in [1, CLIENTS] {
        let url = Arc::new(mesh.url("/v1/mediaItems:search"));
        let start = Instant::now();
        // A warm-up of a tenth is not counted.
        let warm = searches / 10;
        let times: Vec<Result<Duration>> = stream::iter(0..searches + warm)
            .map(|n| {
                let (client, url, body) = (
                    client.clone(),
                    Arc::clone(&url),
                    body(n + if clients == 1 { 0 } else { 1_000_000 }),
                );
                async move {
                    let start = Instant::now();
                    let answer = client.post(url.as_str()).json(&body).send().await?;
                    if !answer.status().is_success() {
                        bail!("search failed: {}", answer.text().await?);
                    }
                    answer.bytes().await?;
                    Ok(start.elapsed())
                }
            })
            .buffered(clients)
            .collect()
            .await;
        let seconds = start.elapsed().as_secs_f64();
        let mut histogram = Histogram::<u64>::new(3)?;
        for time in times.into_iter().skip(warm as usize) {
            histogram.record(u64::try_from(time?.as_micros()).unwrap_or(u64::MAX))?;
        }
        say(&format!(
            "search {name}, {clients} at once: p50 {}, p95 {}, p99 {}; {:.0}/s",
            ms(histogram.value_at_quantile(0.5)),
            ms(histogram.value_at_quantile(0.95)),
            ms(histogram.value_at_quantile(0.99)),
            f64::from(searches + warm) / seconds
        ));
    }
    Ok(())
}

async fn get(client: &reqwest::Client, url: &str) -> Result<serde_json::Value> {
    Ok(client
        .get(url)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?)
}

fn ms(micros: u64) -> String {
    format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10)
}
