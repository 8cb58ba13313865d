//! What people and operators see.

use http::StatusCode;
use serde_json::Value;

use super::rig::Rig;

#[tokio::test]
async fn the_console_is_served_with_types_etags_and_its_policy() {
    let rig = Rig::new();
    let page = rig.get("/", &[]).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(
        page.header("content-security-policy"),
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    let html = String::from_utf8(page.body).unwrap();
    let links: Vec<&str> = html
        .split('"')
        .filter(|text| text.starts_with("/console/"))
        .collect();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        let file = rig.get(link, &[]).await;
        assert_eq!(file.status, StatusCode::OK, "{link}");
        if link.ends_with(".js") {
            assert_eq!(
                file.header("content-type"),
                "text/javascript; charset=utf-8"
            );
        }
        let again = rig
            .get(link, &[("if-none-match", file.header("etag"))])
            .await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{link}");
    }
    let lost = rig.get("/console/..%2FCargo.toml", &[]).await;
    assert_eq!(lost.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_description_has_generated_and_hand_written_routes() {
    let rig = Rig::new();
    let answer = rig.get("/openapi.json", &[]).await;
    let document: Value = answer.json();
    for (path, method) in [
        ("/v1/mediaItems", "get"),
        ("/v1/mediaItems", "post"),
        ("/v1/mediaItems:searchByImage", "post"),
        ("/v1/mediaItems:search", "post"),
        ("/api/jobs", "post"),
        ("/v1/mediaItems/{media_item_id}", "patch"),
        ("/v1/mediaItems/{mediaItemId}/content", "get"),
        ("/health", "get"),
        ("/health/ready", "get"),
        ("/api/health", "get"),
        ("/metrics", "get"),
        ("/errors/{reason}", "get"),
        ("/openapi.json", "get"),
    ] {
        assert!(
            document["paths"][path][method].is_object(),
            "{method} {path}"
        );
    }
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let schemas = &document["components"]["schemas"];
    let stored = &schemas["mediamesh.media.v1.UploadMediaResponse"];
    // an answer holds every field, empty or not
    assert_eq!(
        stored["required"],
        serde_json::json!(["duplicateOf", "jobId"])
    );
    let hit = schemas["mediamesh.search.v1.SearchHit"]["required"].to_string();
    assert!(
        hit.contains("\"tags\"") && !hit.contains("captureTime"),
        "{hit}"
    );
    let upload = &document["paths"]["/v1/mediaItems"]["post"];
    assert!(upload["responses"]["413"]["content"].is_object());
}

#[tokio::test]
async fn health_and_metrics_answer_under_old_and_new_paths() {
    let rig = Rig::new();
    for path in [
        "/health",
        "/health/live",
        "/health/ready",
        "/health/startup",
    ] {
        assert_eq!(rig.get(path, &[]).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/health?detailed=true", "/api/health?detailed=true"] {
        assert!(
            rig.get(path, &[]).await.json()["components"].is_object(),
            "{path}"
        );
    }
    rig.get("/v1/mediaItems/one", &[]).await;
    rig.get("/no/such/path", &[]).await;
    let metrics = String::from_utf8(rig.get("/metrics", &[]).await.body).unwrap();
    for label in [
        "route=\"/v1/mediaItems/{media_item_id}\"",
        "route=\"unmatched\"",
    ] {
        assert!(metrics.contains(label), "{label} is missing");
    }
    assert!(metrics.contains("mediamesh_http_request_duration_seconds_count"));
    assert!(!metrics.contains("/no/such/path"));
}

#[tokio::test]
async fn a_problem_leads_to_its_page() {
    let rig = Rig::new();
    let problem = rig.get("/v1/mediaItems/missing", &[]).await.json();
    let page = rig.get(problem["type"].as_str().unwrap(), &[]).await;
    assert_eq!(page.status, StatusCode::OK);
    let html = String::from_utf8(page.body).unwrap();
    assert!(
        html.contains("<h2 id=\"ERROR_REASON_MEDIA_ITEM_NOT_FOUND\">"),
        "{html}"
    );
    assert!(
        !html.contains("ERROR_REASON_RENDITION_NOT_FOUND\">"),
        "only its own section"
    );
    assert_eq!(rig.get("/errors", &[]).await.status, StatusCode::OK);
    assert_eq!(
        rig.get("/errors/NONE", &[]).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn faults_can_be_changed_in_builds_that_have_them() {
    let rig = Rig::new();
    let answer = rig.get("/admin/faults", &[]).await;
    match mediamesh_mesh::fault::ENABLED {
        true => assert!(answer.json()["rules"].is_array(), "{}", answer.status),
        false => assert_eq!(answer.status, 404),
    }
}
