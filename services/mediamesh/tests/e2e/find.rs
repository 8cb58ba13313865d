//! Finding by words, by example, by an uploaded picture, and by several at once.

use anyhow::Result;
use mediamesh_testkit::fixture;
use reqwest::{Method, multipart};
use serde_json::json;

use crate::{fill, id, start};

#[tokio::test]
async fn words_of_names_folders_tags_and_captions_are_found() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    fill(&mesh, 0, 8).await?;
    let path = "/v1/mediaItems?displayName=IMG_2041.jpg&folder=Norway/Lofoten&tags=aurora&caption=green%20lights%20over%20the%20harbour";
    let request = http
        .request(Method::POST, path)
        .header("content-type", "image/jpeg")
        .body(fixture::jpeg(99, 300, 200));
    let stored = http.send(request).await?.ok()?;
    http.settled().await?;

    let wanted = id(&stored["mediaItem"]);
    for query in [
        "IMG_2041",
        "lofoten",
        "aurora",
        "harbour",
        "Norway lights",
        "\"green lights\"",
    ] {
        let hits = http.search_ids(json!({"query": query})).await?;
        assert_eq!(
            hits.first().map(String::as_str),
            Some(wanted),
            "query {query:?}"
        );
    }
    let none = http
        .search_ids(json!({"query": "xylophone", "mode": "MODE_FULL_TEXT"}))
        .await?;
    assert!(none.is_empty(), "nothing is called that: {none:?}");
    Ok(())
}

#[tokio::test]
async fn a_word_that_must_be_absent_asks_for_everything_but_it() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let mut ids = Vec::new();
    for (seed, name) in [
        (1, "dog at the beach.jpg"),
        (2, "sun at the beach.jpg"),
        (3, "cat.jpg"),
    ] {
        let bytes = fixture::jpeg(seed, 160, 120);
        ids.push(id(&http.upload_ok(name, "", bytes).await?).to_owned());
    }
    http.settled().await?;
    let (sun, cat) = (&ids[1], &ids[2]);
    let found = async |request: serde_json::Value| {
        let mut found = http.search_ids(request).await?;
        found.sort_by_key(|hit| ids.iter().position(|id| id == hit));
        anyhow::Ok(found)
    };
    assert_eq!(found(json!({"query": "-dog"})).await?, ids[1..]);
    let phrase = json!({"query": "-\"the beach\" -dogs"});
    assert_eq!(found(phrase).await?, [cat.as_str()]);
    let both = json!({"query": "beach -dog"});
    assert_eq!(found(both).await?, [sun.as_str()]);
    // what is found by example is held to it as well
    let like = json!({"query": "-dog", "examples": [{"mediaItemId": cat}], "minScore": 0.0});
    assert_eq!(found(like).await?, [sun.as_str()]);
    // control characters part words, NUL among them
    let signs = json!({"query": "cat\u{0}\u{1b}"});
    assert_eq!(found(signs).await?, [cat.as_str()]);
    Ok(())
}

#[tokio::test]
async fn a_stored_item_finds_what_looks_like_it() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    fill(&mesh, 0, 12).await?;
    // the same scene at another size and quality
    let small = http
        .upload_ok(
            "small.jpg",
            "",
            fixture::encode_jpeg(&fixture::rgb(500, 320, 240), 320, 240, 90),
        )
        .await?;
    let large = http
        .upload_ok(
            "large.jpg",
            "",
            fixture::encode_jpeg(&fixture::rgb(500, 640, 480), 640, 480, 60),
        )
        .await?;
    http.settled().await?;

    let answer = http
        .search(json!({"examples": [{"mediaItemId": id(&small)}], "limit": 5}))
        .await?;
    let hits = answer["results"].as_array().unwrap();
    assert_eq!(
        hits.len(),
        5,
        "LIMIT k returns k whenever k match: {answer}"
    );
    let others: Vec<&str> = hits
        .iter()
        .map(id)
        .filter(|hit| *hit != id(&small))
        .collect();
    assert_eq!(others.first(), Some(&id(&large)));
    for hit in hits {
        let (score, distance) = (
            hit["score"].as_f64().unwrap_or(0.0),
            hit["distance"].as_f64().unwrap_or(0.0),
        );
        assert!(
            (0.0..=1.0).contains(&score) && (score + distance - 1.0).abs() < 1e-3,
            "{hit}"
        );
    }
    let scores: Vec<f64> = hits
        .iter()
        .map(|hit| hit["score"].as_f64().unwrap_or(0.0))
        .collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "best first: {scores:?}");
    Ok(())
}

#[tokio::test]
async fn an_uploaded_picture_finds_its_original_and_is_not_stored() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    fill(&mesh, 0, 12).await?;
    let wanted = http
        .upload_ok("wanted.jpg", "", fixture::jpeg(700, 400, 300))
        .await?;
    http.settled().await?;
    let before = http.list_all("").await?.len();

    let query = fixture::encode_jpeg(&fixture::rgb(700, 200, 150), 200, 150, 50);
    let raw = http
        .request(Method::POST, "/v1/mediaItems:searchByImage")
        .query(&[("search", r#"{"limit":3}"#)]);
    let raw = http
        .send(raw.header("content-type", "image/jpeg").body(query.clone()))
        .await?
        .ok()?;
    let form = multipart::Form::new()
        .text("search", r#"{"limit":3}"#)
        .part(
            "image",
            multipart::Part::bytes(query).file_name("query.jpg"),
        );
    let form = http
        .request(Method::POST, "/v1/mediaItems:searchByImage")
        .multipart(form);
    let form = http.send(form).await?.ok()?;
    for answer in [raw, form] {
        assert_eq!(id(&answer["results"][0]), id(&wanted));
        assert_eq!(answer["results"].as_array().map(Vec::len), Some(3));
    }
    assert_eq!(
        http.list_all("").await?.len(),
        before,
        "a query stores nothing"
    );
    Ok(())
}

#[tokio::test]
async fn the_opposite_of_a_picture_is_far_away_but_still_among_the_k() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    // fine blue grain, whose descriptor points away from that of plain red
    let grain: Vec<u8> = (0..96 * 96_u32)
        .flat_map(|at| {
            let (x, y) = (at % 96, at / 96);
            let n = (x * 7919 + y * 104_729 + x * y * 31).to_le_bytes()[0];
            [n / 4, n / 3, n]
        })
        .collect();
    let grain = fixture::encode_jpeg(&grain, 96, 96, 90);
    let stored = http.upload_ok("grain.jpg", "", grain).await?;
    http.settled().await?;
    let red = fixture::encode_jpeg(&[250, 10, 10].repeat(96 * 96), 96, 96, 90);
    let request = http
        .request(Method::POST, "/v1/mediaItems:searchByImage")
        .body(red);
    let answer = http.send(request).await?.ok()?;
    assert_eq!(id(&answer["results"][0]), id(&stored), "{answer}");
    assert_eq!(answer["results"][0]["score"], 0.0, "{answer}");
    Ok(())
}

#[tokio::test]
async fn words_and_an_example_are_fused_and_explained() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let items = fill(&mesh, 0, 12).await?;
    let request = json!({"query": "picture", "examples": [{"mediaItemId": id(&items[3])}], "mode": "MODE_HYBRID", "explain": true, "limit": 4});
    let answer = http.search(request).await?;
    let hits = answer["results"].as_array().cloned().unwrap_or_default();
    assert_eq!(hits.len(), 4, "{answer}");
    assert!(
        hits.iter().all(|hit| id(hit) != id(&items[3])),
        "an example is no hit: {answer}"
    );
    assert!(
        answer["explanation"]["steps"]
            .as_array()
            .is_some_and(|steps| !steps.is_empty()),
        "{answer}"
    );
    let parts = answer["results"][0]["explanation"]["parts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let lists: Vec<&str> = parts
        .iter()
        .filter_map(|part| part["list"].as_str())
        .collect();
    assert!(
        lists.contains(&"full_text") && lists.iter().any(|list| list.starts_with("vector:")),
        "{lists:?}"
    );
    // reciprocal rank fusion: each part adds 1 / (k + rank), times its weight; a first place adds the most
    for part in &parts {
        assert!(part["contribution"].as_f64().unwrap_or(0.0) > 0.0, "{part}");
    }
    Ok(())
}

#[tokio::test]
async fn min_score_leaves_out_what_is_below_it() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let items = fill(&mesh, 0, 12).await?;
    let example = json!([{"mediaItemId": id(&items[0])}]);
    let all = http
        .search(json!({"examples": example, "limit": 12, "minScore": 0.0}))
        .await?;
    let scores: Vec<f64> = all["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| h["score"].as_f64().unwrap_or(0.0))
        .collect();
    let floor = (scores[4] + scores[5]) / 2.0;
    let some = http
        .search(json!({"examples": example, "limit": 12, "minScore": floor}))
        .await?;
    let expected = scores.iter().filter(|score| **score >= floor).count();
    assert_eq!(
        some["results"].as_array().map(Vec::len),
        Some(expected),
        "of {scores:?} above {floor}"
    );
    Ok(())
}

#[tokio::test]
async fn a_deleted_item_is_found_no_more() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let items = fill(&mesh, 0, 4).await?;
    let gone = id(&items[1]).to_owned();
    let query = json!({"examples": [{"mediaItemId": id(&items[0])}], "limit": 10, "minScore": 0.0});
    assert!(http.search_ids(query.clone()).await?.contains(&gone));
    http.send(http.request(Method::DELETE, &format!("/v1/mediaItems/{gone}")))
        .await?
        .ok()?;
    assert!(
        !http.search_ids(query).await?.contains(&gone),
        "caches and indexes see the delete at once"
    );
    let answer = http.get(&format!("/v1/mediaItems/{gone}")).await?;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (404, "ERROR_REASON_MEDIA_ITEM_NOT_FOUND")
    );
    Ok(())
}
