//! Uploads: raw, multipart, twice the same, with a wrong hash.

use anyhow::Result;
use mediamesh_testkit::fixture;
use reqwest::{Method, multipart};
use sha2::{Digest, Sha256};

use crate::{id, start};

#[tokio::test]
async fn an_upload_is_seen_at_once_and_ready_soon() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let bytes = fixture::jpeg(1, 800, 600);
    let answer = http.upload("first.jpg", "a/b", bytes.clone()).await?;
    assert_eq!(answer.status.as_u16(), 201, "{}", answer.text());
    let item = &answer.json()["mediaItem"];
    assert!(
        answer.header("location").ends_with(id(item)),
        "{}",
        answer.header("location")
    );
    assert_eq!(
        item["sha256"].as_str(),
        Some(hex::encode(Sha256::digest(&bytes)).as_str())
    );
    assert_eq!(
        (item["displayName"].as_str(), item["folder"].as_str()),
        (Some("first.jpg"), Some("a/b"))
    );
    assert_eq!(
        id(&http.list_all("").await?[0]),
        id(item),
        "listed as soon as it was answered"
    );

    http.settled().await?;
    let item = http
        .get(&format!("/v1/mediaItems/{}", id(item)))
        .await?
        .ok()?;
    assert_eq!(item["state"], "STATE_READY");
    assert_eq!(
        (item["widthPixels"].as_i64(), item["heightPixels"].as_i64()),
        (Some(800), Some(600))
    );
    for field in ["thumbHash", "blurHash", "perceptualHash", "etag"] {
        assert!(
            item[field].as_str().is_some_and(|text| !text.is_empty()),
            "no {field}: {item}"
        );
    }
    let colors = item["colors"].as_array().map(Vec::len);
    assert!(
        colors.is_some_and(|count| (1..=5).contains(&count)),
        "{colors:?} colours"
    );
    Ok(())
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_whatever_their_name() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let bytes = fixture::jpeg(2, 400, 300);
    let first = http.upload_ok("one.jpg", "", bytes.clone()).await?;
    let second = http.upload("two.jpg", "elsewhere", bytes.clone()).await?;
    assert_eq!(
        second.status.as_u16(),
        200,
        "not created: {}",
        second.text()
    );
    assert_eq!(second.json()["duplicateOf"].as_str(), Some(id(&first)));
    // many at once race for the same bytes
    let racers: Vec<_> = (0..8)
        .map(|n| {
            let (http, bytes) = (http.clone(), fixture::jpeg(3, 500, 300));
            tokio::spawn(async move { http.upload_ok(&format!("racer {n}.jpg"), "", bytes).await })
        })
        .collect();
    let mut ids = Vec::new();
    for racer in racers {
        ids.push(id(&racer.await??).to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "all were answered with one item");
    assert_eq!(http.list_all("").await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_form_stores_every_file_and_says_of_each_what_became_of_it() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let part =
        |bytes: Vec<u8>, name: &str| multipart::Part::bytes(bytes).file_name(name.to_owned());
    let form = multipart::Form::new()
        .text("folder", "holidays")
        .text("tags", "sea")
        .text("tags", "2026")
        .part("files", part(fixture::jpeg(10, 300, 200), "one.jpg"))
        .part("files", part(fixture::text(), "letter.jpg"))
        .part("files", part(Vec::new(), "empty.jpg"))
        .part("files", part(fixture::jpeg(11, 300, 200), "two.jpg"));
    let answer = http
        .send(http.request(Method::POST, "/v1/mediaItems").multipart(form))
        .await?
        .ok()?;
    let results = answer["results"].as_array().unwrap();
    let names: Vec<_> = results
        .iter()
        .map(|result| result["fileName"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["one.jpg", "letter.jpg", "empty.jpg", "two.jpg"],
        "in order"
    );
    for stored in [&results[0], &results[3]] {
        let item = &stored["upload"]["mediaItem"];
        assert_eq!(
            (
                item["folder"].as_str(),
                item["tags"].as_array().map(Vec::len)
            ),
            (Some("holidays"), Some(2)),
            "{stored}"
        );
    }
    assert_eq!(
        results[1]["error"]["reason"],
        "ERROR_REASON_UNSUPPORTED_MEDIA_TYPE"
    );
    assert_eq!(results[2]["error"]["reason"], "ERROR_REASON_EMPTY_FILE");
    assert_eq!(http.list_all("folder=holidays").await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_declared_hash_must_be_that_of_the_bytes() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let bytes = fixture::jpeg(20, 300, 200);
    let send = |hash: String| {
        let request = http
            .request(Method::POST, "/v1/mediaItems?displayName=h.jpg")
            .header("content-type", "image/jpeg");
        http.send(request.header("x-content-sha256", hash).body(bytes.clone()))
    };
    let wrong = send("0".repeat(64)).await?;
    assert_eq!(
        (wrong.status.as_u16(), wrong.reason().as_str()),
        (400, "ERROR_REASON_CHECKSUM_MISMATCH"),
        "{}",
        wrong.text()
    );
    assert!(http.list_all("").await?.is_empty(), "nothing was stored");
    let right = send(hex::encode(Sha256::digest(&bytes))).await?;
    assert_eq!(right.status.as_u16(), 201, "{}", right.text());
    Ok(())
}
