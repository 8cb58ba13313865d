//! Bad input gets a clear typed error; nothing is lost and nothing leaks.

use anyhow::Result;
use mediamesh_testkit::{Answer, fixture};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{fill, id, start};

/// A problem answer (RFC 9457) with this status and reason.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, reason: &str, what: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (status, reason),
        "{what}: {}",
        answer.text()
    );
    assert!(
        answer
            .header("content-type")
            .starts_with("application/problem+json"),
        "{what}"
    );
    let problem = answer.json();
    for member in ["title", "detail", "code", "trace_id"] {
        assert!(
            problem[member]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{what}: no {member} in {problem}"
        );
    }
    assert_eq!(
        problem["status"].as_u64(),
        Some(u64::from(status)),
        "{what}"
    );
    let text = problem.to_string();
    for secret in ["src/", ".rs:", "panicked", "/tmp/", "sqlite", "SELECT"] {
        assert!(!text.contains(secret), "{what}: leaks {secret:?}: {text}");
    }
}

/// Fields named by the violations of a problem, sorted.
fn fields(answer: &Answer) -> Vec<String> {
    let errors = answer.json()["errors"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut fields: Vec<String> = errors
        .iter()
        .filter_map(|e| e["field"].as_str().map(str::to_owned))
        .collect();
    fields.sort();
    fields
}

#[tokio::test]
async fn files_that_are_no_pictures_are_refused_with_their_reason() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    for (name, bytes, status, reason) in [
        (
            "letter.jpg",
            fixture::text(),
            415,
            "ERROR_REASON_UNSUPPORTED_MEDIA_TYPE",
        ),
        ("empty.jpg", Vec::new(), 400, "ERROR_REASON_EMPTY_FILE"),
    ] {
        assert_problem(&http.upload(name, "", bytes).await?, status, reason, name);
    }
    assert!(http.list_all("").await?.is_empty(), "nothing was stored");
    Ok(())
}

#[tokio::test]
async fn a_truncated_photo_is_kept_as_failed_and_can_be_downloaded() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let bytes = fixture::truncated_jpeg(4);
    let item = http.upload_ok("cut.jpg", "", bytes.clone()).await?;
    http.settled().await?;
    let item = http
        .get(&format!("/v1/mediaItems/{}", id(&item)))
        .await?
        .ok()?;
    assert_eq!(
        (item["state"].as_str(), item["failureReason"].as_str()),
        (Some("STATE_FAILED"), Some("ERROR_REASON_CORRUPT_IMAGE")),
        "{item}"
    );
    assert!(
        item["failureDetail"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{item}"
    );
    let content = http
        .get(&format!("/v1/mediaItems/{}/content", id(&item)))
        .await?;
    assert!(content.body == bytes, "the original is kept");
    Ok(())
}

#[tokio::test]
async fn a_bomb_is_disarmed_before_memory_is_taken() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let (_, before) = mesh.memory_bytes()?;
    let answer = http.upload("bomb.png", "", fixture::png_bomb()).await?;
    // refused at the door, or kept as failed by the worker: never decoded
    if answer.status.is_success() {
        http.settled().await?;
        let item = http
            .get(&format!(
                "/v1/mediaItems/{}",
                id(&answer.json()["mediaItem"])
            ))
            .await?
            .ok()?;
        assert_eq!(
            (item["state"].as_str(), item["failureReason"].as_str()),
            (Some("STATE_FAILED"), Some("ERROR_REASON_TOO_MANY_PIXELS")),
            "{item}"
        );
    } else {
        assert_problem(&answer, 413, "ERROR_REASON_TOO_MANY_PIXELS", "bomb.png");
    }
    let query = http
        .request(Method::POST, "/v1/mediaItems:searchByImage")
        .header("content-type", "image/png");
    let query = http.send(query.body(fixture::png_bomb())).await?;
    assert_problem(
        &query,
        413,
        "ERROR_REASON_TOO_MANY_PIXELS",
        "search by a bomb",
    );
    let (_, after) = mesh.memory_bytes()?;
    assert!(
        after < before + (256 << 20),
        "peak memory grew from {before} to {after} bytes"
    );
    Ok(())
}

#[tokio::test]
async fn a_broken_query_picture_is_refused() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    for (what, bytes, status, reason) in [
        (
            "text",
            fixture::text(),
            415,
            "ERROR_REASON_UNSUPPORTED_MEDIA_TYPE",
        ),
        ("nothing", Vec::new(), 400, "ERROR_REASON_EMPTY_FILE"),
        (
            "half a photo",
            fixture::truncated_jpeg(5),
            400,
            "ERROR_REASON_CORRUPT_IMAGE",
        ),
    ] {
        let request = http
            .request(Method::POST, "/v1/mediaItems:searchByImage")
            .header("content-type", "image/jpeg");
        assert_problem(&http.send(request.body(bytes)).await?, status, reason, what);
    }
    Ok(())
}

#[tokio::test]
async fn wrong_and_unknown_json_is_refused_naming_the_field() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let search = "/v1/mediaItems:search";
    for (body, field) in [
        (json!({"query": "x", "limitt": 3}), "limitt"),
        (json!({"query": 7}), "query"),
        (
            json!({"query": "x", "filter": {"colour": "red"}}),
            "filter.colour",
        ),
        (json!({"query": "x", "limit": "many"}), "limit"),
    ] {
        let answer = http.post(search, &body).await?;
        assert_problem(
            &answer,
            400,
            "ERROR_REASON_INVALID_FIELD",
            &body.to_string(),
        );
        let named = fields(&answer)
            .iter()
            .any(|name| name == field || field.ends_with(name.as_str()));
        assert!(named, "{body}: {field} is not named in {}", answer.text());
    }
    for text in ["{", "[]", "nonsense", "{\"query\": \"x\"} trailing"] {
        let request = http
            .request(Method::POST, search)
            .header("content-type", "application/json")
            .body(text);
        assert_problem(
            &http.send(request).await?,
            400,
            "ERROR_REASON_INVALID_FIELD",
            text,
        );
    }
    Ok(())
}

#[tokio::test]
async fn all_bad_fields_are_reported_at_once() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let body = json!({"limit": -1, "query": "x", "filter": {"color": "no such colour", "orientations": ["diagonal"], "kinds": ["smell"]}});
    let answer = http.post("/v1/mediaItems:search", &body).await?;
    assert_problem(&answer, 400, "ERROR_REASON_INVALID_FIELD", "four faults");
    let fields = fields(&answer);
    for wanted in ["limit", "color", "orientations", "kinds"] {
        assert!(
            fields.iter().any(|field| field.contains(wanted)),
            "{wanted} is not in {fields:?}"
        );
    }
    for body in [
        json!({}),
        json!({"limit": 5}),
        json!({"filter": {"minTime": "yesterday"}}),
        json!({"examples": [{"mediaItemId": "no-uuid"}]}),
    ] {
        assert_problem(
            &http.post("/v1/mediaItems:search", &body).await?,
            400,
            "ERROR_REASON_INVALID_FIELD",
            &body.to_string(),
        );
    }
    // what came as parameters and headers is named as such
    let upload = http
        .request(Method::POST, "/v1/mediaItems?folder=../x&tags=")
        .header("x-content-sha256", "no hash")
        .body(fixture::jpeg(1, 8, 8));
    let answer = http.send(upload).await?;
    assert_problem(&answer, 400, "ERROR_REASON_INVALID_FIELD", "four faults");
    assert_eq!(
        self::fields(&answer),
        ["X-Content-SHA256", "displayName", "folder", "tags[0]"]
    );
    let detail = answer.json()["detail"].take();
    assert_eq!(
        detail,
        "X-Content-SHA256: must be 64 hex digits (and 3 more)"
    );
    Ok(())
}

#[tokio::test]
async fn unknown_items_routes_and_methods_are_told_apart() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let nobody = "01890000-0000-7000-8000-000000000000";
    assert_problem(
        &http.get(&format!("/v1/mediaItems/{nobody}")).await?,
        404,
        "ERROR_REASON_MEDIA_ITEM_NOT_FOUND",
        "item",
    );
    assert_problem(
        &http
            .get(&format!("/v1/mediaItems/{nobody}/content"))
            .await?,
        404,
        "ERROR_REASON_MEDIA_ITEM_NOT_FOUND",
        "content",
    );
    assert_problem(
        &http.get(&format!("/v1/jobs/{nobody}")).await?,
        404,
        "ERROR_REASON_JOB_NOT_FOUND",
        "job",
    );
    assert_problem(
        &http.get("/v1/nothing").await?,
        404,
        "ERROR_REASON_ROUTE_NOT_FOUND",
        "route",
    );
    assert_problem(
        &http.get("/v1/mediaItems/no-uuid").await?,
        400,
        "ERROR_REASON_INVALID_FIELD",
        "id",
    );
    let answer = http
        .send(http.request(Method::DELETE, "/v1/folders"))
        .await?;
    assert_eq!(answer.status.as_u16(), 405, "{}", answer.text());
    let example = json!({"examples": [{"mediaItemId": nobody}]});
    assert_problem(
        &http.post("/v1/mediaItems:search", &example).await?,
        404,
        "ERROR_REASON_MEDIA_ITEM_NOT_FOUND",
        "example",
    );
    Ok(())
}

#[tokio::test]
async fn a_stale_update_is_refused_and_a_current_one_is_made() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let http = mesh.http();
    let item = &fill(&mesh, 0, 1).await?[0];
    let path = format!("/v1/mediaItems/{}", id(item));
    let current = http.get(&path).await?.ok()?;
    let patch = |caption: &str, etag: &Value| {
        http.send(
            http.request(Method::PATCH, &path)
                .json(&json!({"caption": caption, "etag": etag})),
        )
    };
    let first = patch("a ship", &current["etag"]).await?.ok()?;
    assert_eq!(first["caption"], "a ship");
    assert_problem(
        &patch("a boat", &current["etag"]).await?,
        409,
        "ERROR_REASON_ETAG_MISMATCH",
        "stale",
    );
    let read = http.get(&path).await?;
    let tag = read.header("etag").to_owned();
    assert_eq!(read.ok()?["caption"], "a ship");
    let with = |tag: &str| {
        let request = http.request(Method::PATCH, &path).header("if-match", tag);
        http.send(request.json(&json!({"folder": "harbour"})))
    };
    assert_eq!(with(&tag).await?.ok()?["folder"], "harbour");
    // what was current is so no longer; a tag that never was is answered alike
    for stale in [tag.as_str(), "\"none such\""] {
        assert_problem(
            &with(stale).await?,
            412,
            "ERROR_REASON_ETAG_MISMATCH",
            "If-Match",
        );
    }
    assert_eq!(
        http.search_ids(json!({"query": "ship"})).await?,
        [id(item)],
        "found by its new words at once"
    );
    Ok(())
}

#[tokio::test]
async fn every_reason_has_its_page() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let page = mesh.http().get("/errors/ERROR_REASON_TOO_LARGE").await?;
    assert_eq!(page.status.as_u16(), 200, "{}", page.text());
    assert!(page.text().contains("What to do"), "{}", page.text());
    assert_eq!(
        mesh.http()
            .get("/errors/ERROR_REASON_NONE_SUCH")
            .await?
            .status
            .as_u16(),
        404
    );
    Ok(())
}
