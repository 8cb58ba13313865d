//! Bytes come back as they went in, whole or in part, and caches can check them.

use anyhow::Result;
use mediamesh_testkit::{Answer, Http, fixture};
use reqwest::Method;

use crate::{id, start};

async fn get(http: &Http, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let request = headers
        .iter()
        .fold(http.request(Method::GET, path), |request, (name, value)| {
            request.header(*name, *value)
        });
    http.send(request).await
}

#[tokio::test]
async fn an_original_is_served_whole_in_part_or_not_at_all_if_unchanged() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let bytes = fixture::jpeg(5, 1200, 900);
    let item = http.upload_ok("ranges ü.jpg", "", bytes.clone()).await?;
    let path = format!("/v1/mediaItems/{}/content", id(&item));

    let whole = get(http, &path, &[]).await?;
    assert_eq!((whole.status.as_u16(), whole.body == bytes), (200, true));
    assert_eq!(whole.header("content-type"), "image/jpeg");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let etag = whole.header("etag").to_owned();
    assert!(
        etag.starts_with('"') && etag.contains(item["sha256"].as_str().unwrap()),
        "strong, by content: {etag}"
    );
    assert!(
        whole.header("cache-control").contains("max-age"),
        "{}",
        whole.header("cache-control")
    );

    let unchanged = get(http, &path, &[("if-none-match", &etag)]).await?;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));

    let last = bytes.len() - 1;
    for (range, part, expected) in [
        (
            "bytes=0-99",
            &bytes[..100],
            format!("bytes 0-99/{}", bytes.len()),
        ),
        (
            "bytes=1000-",
            &bytes[1000..],
            format!("bytes 1000-{last}/{}", bytes.len()),
        ),
        (
            "bytes=-7",
            &bytes[bytes.len() - 7..],
            format!("bytes {}-{last}/{}", bytes.len() - 7, bytes.len()),
        ),
    ] {
        let answer = get(http, &path, &[("range", range)]).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-range")),
            (206, expected.as_str()),
            "{range}"
        );
        assert!(answer.body == part, "{range}: {} bytes", answer.body.len());
        let same = get(http, &path, &[("range", range), ("if-range", &etag)]).await?;
        assert_eq!(same.status.as_u16(), 206, "{range}: unchanged, so the part");
        let changed = get(http, &path, &[("range", range), ("if-range", "\"other\"")]).await?;
        assert_eq!(
            (changed.status.as_u16(), changed.body.len()),
            (200, bytes.len()),
            "{range}: changed, so all of it"
        );
    }
    let past = get(http, &path, &[("range", "bytes=99999999-")]).await?;
    assert_eq!(
        (past.status.as_u16(), past.header("content-range")),
        (416, format!("bytes */{}", bytes.len()).as_str())
    );

    let head = http.send(http.request(Method::HEAD, &path)).await?;
    assert_eq!(
        (head.header("content-length"), head.body.len()),
        (bytes.len().to_string().as_str(), 0)
    );
    let download = get(http, &format!("{path}?download=true"), &[]).await?;
    let disposition = download.header("content-disposition");
    assert!(
        disposition.starts_with("attachment") && disposition.contains("ranges%20%C3%BC.jpg"),
        "{disposition}"
    );
    Ok(())
}

#[tokio::test]
async fn renditions_have_the_sizes_they_promise_and_are_never_enlarged() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let item = http
        .upload_ok("big.jpg", "", fixture::jpeg(6, 1500, 1000))
        .await?;
    http.settled().await?;
    let item = http
        .get(&format!("/v1/mediaItems/{}", id(&item)))
        .await?
        .ok()?;
    let sizes: Vec<(String, i64, i64)> = item["renditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| {
            (
                r["name"].as_str().unwrap().to_owned(),
                r["widthPixels"].as_i64().unwrap(),
                r["heightPixels"].as_i64().unwrap(),
            )
        })
        .collect();
    for (name, width, height) in [
        ("thumb_150", 150, 150),
        ("thumb_300", 300, 300),
        ("thumb_600", 600, 600),
        ("w320", 320, 213),
        ("w640", 640, 427),
        ("w1024", 1024, 683),
    ] {
        let made = sizes
            .iter()
            .find(|(n, ..)| n == name)
            .unwrap_or_else(|| panic!("no {name} in {sizes:?}"));
        assert!(
            (made.1, (made.2 - height).abs() <= 1) == (width, true),
            "{made:?}"
        );
        let answer = get(
            http,
            &format!("/v1/mediaItems/{}/renditions/{name}", id(&item)),
            &[],
        )
        .await?;
        let probe = mediamesh_imaging::probe(&answer.body, &mediamesh_imaging::Limits::default())?;
        assert_eq!(
            (i64::from(probe.width), i64::from(probe.height)),
            (made.1, made.2),
            "{name}: what is served"
        );
        assert!(
            answer.header("cache-control").contains("max-age=604800"),
            "{}",
            answer.header("cache-control")
        );
    }
    assert!(
        sizes.iter().all(|(_, width, _)| *width <= 1500),
        "enlarged: {sizes:?}"
    );
    let missing = get(
        http,
        &format!("/v1/mediaItems/{}/renditions/w9999", id(&item)),
        &[],
    )
    .await?;
    assert_eq!(
        (missing.status.as_u16(), missing.reason().as_str()),
        (404, "ERROR_REASON_RENDITION_NOT_FOUND")
    );
    Ok(())
}

#[tokio::test]
async fn a_link_is_immutable_only_for_the_bytes_it_names() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let bytes = fixture::jpeg(6, 400, 300);
    let item = http.upload_ok("links.jpg", "", bytes).await?;
    http.settled().await?;
    let item = http
        .get(&format!("/v1/mediaItems/{}", id(&item)))
        .await?
        .ok()?;
    let renditions = item["renditions"].as_array().unwrap();
    assert!(!renditions.is_empty());
    for rendition in renditions {
        let link = rendition["uri"].as_str().unwrap();
        let named = http.get(link).await?;
        assert!(
            named.header("cache-control").contains("immutable"),
            "{link}"
        );
        let (path, _) = link.split_once('?').unwrap();
        let other = http.get(&format!("{path}?v=junk")).await?;
        assert_eq!(other.header("cache-control"), "private, no-cache", "{link}");
    }
    Ok(())
}
