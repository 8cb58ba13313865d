//! Pages are stable while the collection grows, and tokens cannot be made up.

use std::collections::BTreeSet;

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{fill, id, start};

#[tokio::test]
async fn pages_of_the_listing_neither_repeat_nor_lose_an_item_under_inserts() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let before: BTreeSet<String> = fill(&mesh, 0, 25)
        .await?
        .iter()
        .map(|item| id(item).to_owned())
        .collect();
    let (mut seen, mut token, mut seed) = (Vec::new(), String::new(), 1000);
    loop {
        let request = http.request(Method::GET, "/v1/mediaItems?pageSize=4");
        let page = http
            .send(request.query(&[("pageToken", &token)]))
            .await?
            .ok()?;
        seen.extend(
            page["mediaItems"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|item| id(item).to_owned()),
        );
        token = page["nextPageToken"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if token.is_empty() {
            break;
        }
        // newest first: what comes now must not push older items over the page's edge
        fill(&mesh, seed, 2).await?;
        seed += 2;
    }
    let distinct: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!(distinct.len(), seen.len(), "an item was listed twice");
    assert_eq!(
        distinct, before,
        "exactly the items of the time of the first page"
    );
    Ok(())
}

#[tokio::test]
async fn both_orders_of_the_listing_mirror_each_other() -> Result<()> {
    let (_keep, mesh) = start().await?;
    fill(&mesh, 0, 10).await?;
    let ids = |items: Vec<Value>| {
        items
            .iter()
            .map(|item| id(item).to_owned())
            .collect::<Vec<_>>()
    };
    let newest = ids(mesh.http().list_all("order=ORDER_NEWEST").await?);
    let mut oldest = ids(mesh.http().list_all("order=ORDER_OLDEST").await?);
    oldest.reverse();
    assert_eq!(newest, oldest);
    Ok(())
}

#[tokio::test]
async fn pages_of_a_search_join_to_the_whole_answer() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let items = fill(&mesh, 0, 23).await?;
    let mut request =
        json!({"examples": [{"mediaItemId": id(&items[0])}], "limit": 200, "minScore": 0.0});
    let whole = http.search_ids(request.clone()).await?;
    assert_eq!(whole.len(), 22, "all but the example itself");
    request["limit"] = json!(5);
    let mut joined = Vec::new();
    for _ in 0..10 {
        let page = http.search(request.clone()).await?;
        joined.extend(
            page["results"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|hit| id(hit).to_owned()),
        );
        request["pageToken"] = page["nextPageToken"].clone();
        if request["pageToken"].as_str().unwrap_or_default().is_empty() {
            break;
        }
    }
    assert_eq!(joined, whole);
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_foreign_forged_or_of_another_query_is_refused() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    fill(&mesh, 0, 8).await?;
    let list = http.get("/v1/mediaItems?pageSize=3").await?.ok()?;
    let list_token = list["nextPageToken"].as_str().unwrap().to_owned();
    let search = http.search(json!({"query": "picture", "limit": 3})).await?;
    let search_token = search["nextPageToken"].as_str().unwrap().to_owned();
    let mut forged = list_token.clone();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.insert(0, last);

    for token in ["nonsense", "AAAA", search_token.as_str(), forged.as_str()] {
        let request = http.request(Method::GET, "/v1/mediaItems?pageSize=3");
        let answer = http.send(request.query(&[("pageToken", token)])).await?;
        assert_eq!(answer.status.as_u16(), 400, "{token}: {}", answer.text());
        assert_eq!(
            answer.reason(),
            "ERROR_REASON_INVALID_PAGE_TOKEN",
            "{token}"
        );
    }
    for request in [
        json!({"query": "picture", "limit": 3, "pageToken": list_token}),
        json!({"query": "other words", "limit": 3, "pageToken": search_token}),
        json!({"query": "picture", "limit": 3, "pageToken": "!"}),
    ] {
        let answer = http.post("/v1/mediaItems:search", &request).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (400, "ERROR_REASON_INVALID_PAGE_TOKEN"),
            "{request}"
        );
    }
    Ok(())
}
