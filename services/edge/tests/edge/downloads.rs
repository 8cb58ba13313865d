//! Bytes out: conditions, ranges and what browsers are told.

use http::StatusCode;

use super::rig::{Rig, SHA};

const CONTENT: &str = "/v1/mediaItems/one/content";

#[tokio::test]
async fn the_whole_is_answered_with_its_hash_as_etag() {
    let rig = Rig::new();
    let answer = rig.get(CONTENT, &[("accept-encoding", "gzip")]).await;
    assert_eq!(
        (answer.status, answer.body.len()),
        (StatusCode::OK, 200_000)
    );
    assert_eq!(answer.header("etag"), format!("\"{SHA}\""));
    assert_eq!(answer.header("content-type"), "image/jpeg");
    assert_eq!(answer.header("content-encoding"), "");
    assert_eq!(answer.header("cache-control"), "private, max-age=604800");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(
        answer.header("content-security-policy"),
        "default-src 'none'; sandbox"
    );
    assert_eq!(
        answer.header("content-disposition"),
        "inline; filename=\"K_tzchen.jpg\"; filename*=UTF-8''K%C3%A4tzchen.jpg"
    );
    let uri = format!(
        "/v1/mediaItems/one/renditions/w320?v={}&download=true",
        &SHA[..12]
    );
    let versioned = rig.get(&uri, &[]).await;
    assert_eq!(
        versioned.header("cache-control"),
        "private, max-age=31536000, immutable"
    );
    assert!(
        versioned
            .header("content-disposition")
            .starts_with("attachment;")
    );
}

#[tokio::test]
async fn only_the_version_of_these_bytes_makes_them_immutable() {
    let rig = Rig::new();
    for version in ["junk", "", "1", "9f86", "9f86d081x"] {
        let answer = rig.get(&format!("{CONTENT}?v={version}"), &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{version}");
        assert_eq!(
            answer.header("cache-control"),
            "private, no-cache",
            "{version}"
        );
    }
}

#[tokio::test]
async fn bytes_of_another_version_are_not_sent() {
    let rig = Rig::new();
    let etag = format!("\"{SHA}\"");
    // the comparison is strong: a weak tag never matches
    for tag in ["\"other\"", &format!("W/{etag}")] {
        let headers = [("if-match", tag), ("range", "bytes=0-1")];
        let answer = rig.get(CONTENT, &headers).await;
        assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED, "{tag}");
        assert_eq!(answer.json()["reason"], "ERROR_REASON_ETAG_MISMATCH");
    }
    for tag in ["*", &etag, &format!("\"other\", {etag}")] {
        let answer = rig.get(CONTENT, &[("if-match", tag)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{tag}");
    }
}

#[tokio::test]
async fn a_type_that_could_run_script_is_saved_not_shown() {
    let rig = Rig::new();
    let answer = rig.get("/v1/mediaItems/html/content", &[]).await;
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert!(
        answer
            .header("content-disposition")
            .starts_with("attachment;")
    );
}

#[tokio::test]
async fn head_tells_the_size_without_the_bytes() {
    let rig = Rig::new();
    let answer = rig
        .request("HEAD", CONTENT, &[("range", "bytes=0-1")], "")
        .await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(answer.header("content-length"), "200000");
    assert_eq!(answer.header("accept-ranges"), "bytes");
}

#[tokio::test]
async fn a_known_etag_is_answered_without_bytes() {
    let rig = Rig::new();
    let etag = format!("\"other\", W/\"{SHA}\"");
    let answer = rig
        .get(CONTENT, &[("if-none-match", &etag), ("range", "bytes=0-1")])
        .await;
    assert_eq!(
        (answer.status, answer.body.len()),
        (StatusCode::NOT_MODIFIED, 0)
    );
    assert_eq!(answer.header("etag"), format!("\"{SHA}\""));
    let other = rig.get(CONTENT, &[("if-none-match", "\"other\"")]).await;
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test]
async fn one_range_is_answered_in_each_form() {
    let rig = Rig::new();
    for (range, content_range, first, length) in [
        ("bytes=10-19", "bytes 10-19/200000", 10_u8, 10),
        (
            "bytes=199990-",
            "bytes 199990-199999/200000",
            (199_990 % 256) as u8,
            10,
        ),
        (
            "bytes=-5",
            "bytes 199995-199999/200000",
            (199_995 % 256) as u8,
            5,
        ),
        ("bytes=0-999999", "bytes 0-199999/200000", 0, 200_000),
    ] {
        let answer = rig.get(CONTENT, &[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(answer.header("content-range"), content_range);
        assert_eq!(
            (answer.body[0], answer.body.len()),
            (first, length),
            "{range}"
        );
        assert_eq!(answer.header("content-length"), length.to_string());
    }
    let several = rig.get(CONTENT, &[("range", "bytes=0-1,4-5")]).await;
    assert_eq!(
        (several.status, several.body.len()),
        (StatusCode::OK, 200_000)
    );
}

#[tokio::test]
async fn a_range_past_the_end_tells_the_size() {
    let rig = Rig::new();
    let answer = rig.get(CONTENT, &[("range", "bytes=200000-")]).await;
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(answer.header("content-range"), "bytes */200000");
    assert_eq!(
        answer.json()["reason"],
        "ERROR_REASON_RANGE_NOT_SATISFIABLE"
    );
}

#[tokio::test]
async fn if_range_answers_the_whole_when_it_changed() {
    let rig = Rig::new();
    let etag = format!("\"{SHA}\"");
    let same = rig
        .get(CONTENT, &[("range", "bytes=0-1"), ("if-range", &etag)])
        .await;
    assert_eq!(same.status, StatusCode::PARTIAL_CONTENT);
    // a weak tag must not match here, nor a date
    for tag in [
        "\"old\"",
        &format!("W/{etag}"),
        "Wed, 21 Oct 2015 07:28:00 GMT",
    ] {
        let changed = rig
            .get(CONTENT, &[("range", "bytes=0-1"), ("if-range", tag)])
            .await;
        assert_eq!(
            (changed.status, changed.body.len()),
            (StatusCode::OK, 200_000),
            "{tag}"
        );
    }
}

#[tokio::test]
async fn a_missing_item_is_a_problem() {
    let rig = Rig::new();
    let answer = rig.get("/v1/mediaItems/missing/content", &[]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.json()["reason"], "ERROR_REASON_MEDIA_ITEM_NOT_FOUND");
    assert_eq!(answer.header("content-type"), "application/problem+json");
}
