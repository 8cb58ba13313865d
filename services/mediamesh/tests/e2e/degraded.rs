//! Searches go on, with what is left, when every process of a service they can do without is gone (F118).

use std::time::Duration;

use anyhow::Result;
use mediamesh_testkit::{Cluster, Http, fixture};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::id;

/// Longest that a search takes without a service; a person still waits for it.
const IN_TIME: Duration = Duration::from_secs(3);

/// Longest where the processes are there and say nothing: a search has ten seconds.
const IN_TIME_OF_SILENT: Duration = Duration::from_secs(8);

/// Searches for words; answers how it went and how long that took.
async fn search(edge: &Http, words: &str) -> Result<(Value, Duration)> {
    let began = Instant::now();
    let answer = edge.search(json!({ "query": words })).await?;
    Ok((answer, began.elapsed()))
}

/// Searches for words and a picture.
async fn search_by_picture(edge: &Http, words: &str, picture: Vec<u8>) -> Result<Value> {
    let request = edge
        .request(Method::POST, "/v1/mediaItems:searchByImage")
        .query(&[("search", json!({ "query": words }).to_string())])
        .header("content-type", "image/jpeg")
        .body(picture);
    edge.send(request).await?.ok()
}

fn found(answer: &Value, item: &Value) -> bool {
    let results = answer["results"].as_array();
    results.is_some_and(|hits| hits.iter().any(|hit| id(hit) == id(item)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_without_embedding_is_degraded_in_time_and_one_without_cache_is_whole()
-> Result<()> {
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .service("cache", 1)
        .service("embedding", 2)
        .service("search", 1)
        .service("media", 1)
        .service("edge", 1)
        .start()
        .await?;
    let edge = cluster.replica("edge", 0).http().clone();
    let pier = edge
        .upload_ok("pier.jpg", "", fixture::jpeg(1, 96, 72))
        .await?;
    edge.settled().await?;
    let (whole, _) = search(&edge, "pier").await?;
    assert!(found(&whole, &pier), "{whole}");
    assert_ne!(whole["degraded"], true, "{whole}");

    cluster.replica_mut("cache", 0).kill()?;
    for turn in 0..3 {
        let (answer, took) = search(&edge, &format!("pier {turn}")).await?;
        assert!(took < IN_TIME, "without a cache it took {took:?}");
        assert_ne!(answer["degraded"], true, "{answer}");
    }
    cluster.replica_mut("cache", 0).start().await?;

    // they take calls and never answer: half of a search's time is left for an answer without them
    for index in 0..2 {
        cluster.replica("embedding", index).pause()?;
    }
    let began = Instant::now();
    let answer = search_by_picture(&edge, "pier", fixture::jpeg(7, 96, 72)).await?;
    assert_eq!(answer["degraded"], true, "{answer}");
    assert!(began.elapsed() < IN_TIME_OF_SILENT, "{:?}", began.elapsed());

    for index in 0..2 {
        cluster.replica_mut("embedding", index).kill()?;
    }
    // what was known of its models is old by the last of them
    for turn in 0..4 {
        let began = Instant::now();
        let answer = search_by_picture(&edge, "pier", fixture::jpeg(7, 96, 72)).await?;
        let took = began.elapsed();
        assert_eq!(answer["degraded"], true, "{answer}");
        assert!(found(&answer, &pier), "{answer}");
        assert!(took < IN_TIME, "a search with a picture took {took:?}");
        // never the same twice, so that no answer is kept
        let (answer, took) = search(&edge, &format!("pier {turn}")).await?;
        assert!(took < IN_TIME, "a search took {took:?}: {answer}");
        sleep(Duration::from_secs(2)).await;
    }
    cluster.replica_mut("cache", 0).kill()?;
    let answer = search_by_picture(&edge, "pier", fixture::jpeg(7, 96, 72)).await?;
    assert!(found(&answer, &pier), "{answer}");

    cluster.replica_mut("cache", 0).start().await?;
    for index in 0..2 {
        cluster.replica_mut("embedding", index).start().await?;
    }
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = search_by_picture(&edge, "pier", fixture::jpeg(7, 96, 72)).await?;
        if answer["degraded"] != true {
            return Ok(());
        }
        assert!(Instant::now() < end, "still degraded: {answer}");
        sleep(Duration::from_millis(200)).await;
    }
}
