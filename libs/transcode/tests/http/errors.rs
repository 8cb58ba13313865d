//! What wrong requests and failing services are answered with.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::rig::{Answer, Rig};

fn fields(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["reason"], "ERROR_REASON_INVALID_FIELD");
    assert_eq!(problem["trace_id"], "abc");
    let errors = problem["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|error| error["field"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn all_bad_query_parameters_are_named() {
    let rig = Rig::start().await;
    let answer = rig
        .get(
            "/v1/books?pageSize=ten&colour=red&pageToken=a&pageToken=b&genres=GENRE_POETRY&genres=9\
             &available=yes&createdAfter=yesterday&maxAge=1h&cursor=*&author.shoe=1&labels=x",
        )
        .await;
    assert_eq!(
        fields(&answer),
        [
            "pageSize",
            "colour",
            "pageToken",
            "genres",
            "genres",
            "available",
            "createdAfter",
            "maxAge",
            "cursor",
            "author.shoe",
            "labels"
        ]
    );
    let text = answer.text;
    assert!(
        text.contains("is not one of GENRE_UNSPECIFIED, GENRE_FICTION, GENRE_SCIENCE"),
        "{text}"
    );
}

#[tokio::test]
async fn unknown_and_mistyped_body_fields_are_named_by_path() {
    let rig = Rig::start().await;
    for (uri, body, field) in [
        ("/v1/books:search", r#"{"querry":"x"}"#, "querry"),
        ("/v1/books:search", r#"{"limit":"many"}"#, "limit"),
        (
            "/v1/books:search",
            r#"{"example":{"author":{"birthYear":{}}}}"#,
            "example.author.birthYear",
        ),
        (
            "/v1/books:search",
            r#"{"example":{"sequels":[{},{"oops":1}]}}"#,
            "example.sequels[1].oops",
        ),
        (
            "/v1/books:search",
            r#"{"example":{"genre":"GENRE_POETRY"}}"#,
            "example.genre",
        ),
        (
            "/v1/books:search",
            r#"{"example":{"createTime":"soon"}}"#,
            "example.createTime",
        ),
        ("/v1/books:search", "[]", "body"),
        ("/v1/books", r#"{"title":7}"#, "book.title"),
        ("/v1/books", r#"{"titel":"x"}"#, "book.titel"),
    ] {
        let answer = rig.post(uri, body).await;
        assert_eq!(fields(&answer), [field], "{body}");
    }
}

#[tokio::test]
async fn every_fault_of_a_body_is_listed_at_once() {
    let rig = Rig::start().await;
    let body = r#"{
        "querry": "x", "limit": "many", "example": {
            "titel": 1, "title": 2, "genre": "GENRE_POETRY", "cover": "*", "pageCount": null,
            "createTime": "soon", "playingTime": "1h", "labels": {"a": 1, "b": "fine"},
            "author": {"birthYear": 1.5, "shoe": 3}, "sizeBytes": "12",
            "sequels": [{"title": "fine"}, {"oops": 1}, 7]
        }}"#;
    let answer = rig.post("/v1/books:search", body).await;
    let mut found = fields(&answer);
    found.sort();
    assert_eq!(
        found,
        [
            "example.author.birthYear",
            "example.author.shoe",
            "example.cover",
            "example.createTime",
            "example.genre",
            "example.labels[\"a\"]",
            "example.playingTime",
            "example.sequels[1].oops",
            "example.sequels[2]",
            "example.titel",
            "example.title",
            "limit",
            "querry",
        ]
    );
    let twice = rig
        .post("/v1/books:search", r#"{"query":"a","query":"b"}"#)
        .await;
    assert_eq!(fields(&twice).len(), 1, "{}", twice.text);
}

#[tokio::test]
async fn a_body_that_falls_silent_is_given_up() {
    let rig = Rig::start().await;
    let head = futures::stream::iter([Ok::<_, std::io::Error>("{")]);
    let body = futures::StreamExt::chain(head, futures::stream::pending());
    let request = Request::post("/v1/books:search")
        .body(Body::from_stream(body))
        .unwrap();
    let answer = rig.send(request).await;
    assert_eq!(answer.status, 408, "{}", answer.text);
    assert_eq!(answer.json()["reason"], "ERROR_REASON_DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_body_that_is_no_json_is_placed_by_line_and_column() {
    let rig = Rig::start().await;
    for (uri, body) in [
        ("/v1/books:search", "{\n\"query\": oops}"),
        ("/v1/books", "{\n\"title\": oops}"),
    ] {
        let answer = rig.post(uri, body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(
            answer.json()["metadata"],
            json!({ "line": "2", "column": "10" })
        );
    }
    assert_eq!(
        rig.post("/v1/books", r#"{"title":"x"} trailing"#)
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn long_and_foreign_bodies_are_refused() {
    let rig = Rig::start().await;
    let long = format!(r#"{{"query":"{}"}}"#, "x".repeat(2000));
    let answer = rig.post("/v1/books:search", &long).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["metadata"]["maxSizeBytes"], "1000");
    // without a length the limit holds as well
    let pieces = futures::stream::iter((0..3).map(|_| Ok::<_, std::io::Error>("x".repeat(600))));
    let request = Request::post("/v1/books:search")
        .body(Body::from_stream(pieces))
        .unwrap();
    assert_eq!(rig.send(request).await.status, 413);

    let request = Request::post("/v1/books:search")
        .header("content-type", "text/plain")
        .body(Body::from("{}"))
        .unwrap();
    let answer = rig.send(request).await;
    assert_eq!(answer.status, 415);
    assert_eq!(
        answer.json()["reason"],
        "ERROR_REASON_UNSUPPORTED_MEDIA_TYPE"
    );
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_apart() {
    let rig = Rig::start().await;
    for uri in [
        "/v1/nothing",
        "/v1/books/b1:frobnicate",
        "/v1/books/",
        "/v1/books/b1/x",
    ] {
        let answer = rig.get(uri).await;
        assert_eq!(answer.status, 404, "{uri}");
        assert_eq!(answer.json()["reason"], "ERROR_REASON_ROUTE_NOT_FOUND");
    }
    for (method, uri, allow) in [
        (Method::DELETE, "/v1/books/b1", "GET, HEAD, OPTIONS, PATCH"),
        (Method::GET, "/v1/books/b1:lend", "OPTIONS, POST"),
        (Method::GET, "/v1/books:search", "OPTIONS, POST"),
        (Method::PUT, "/v1/books", "GET, HEAD, OPTIONS, POST"),
        (
            Method::POST,
            "/v1/books/by-hand",
            "GET, HEAD, OPTIONS, PATCH, PUT",
        ),
    ] {
        let answer = rig.json(method, uri, "").await;
        assert_eq!(answer.status, 405, "{uri}");
        assert_eq!(answer.header("allow"), allow);
        assert_eq!(answer.json()["title"], "Method not allowed");
    }
    let answer = rig.json(Method::OPTIONS, "/v1/books", "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("allow")),
        (204, "GET, HEAD, OPTIONS, POST")
    );
}

#[tokio::test]
async fn a_status_with_details_becomes_a_problem() {
    let rig = Rig::start().await;
    let answer = rig.get("/v1/books/nope").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("retry-after"), "2");
    assert_eq!(
        answer.json(),
        json!({
            "type": "/errors/ERROR_REASON_BOOK_NOT_FOUND",
            "title": "Book not found",
            "status": 404,
            "detail": "no book nope",
            "instance": "/v1/books/nope",
            "code": "NOT_FOUND",
            "reason": "ERROR_REASON_BOOK_NOT_FOUND",
            "metadata": { "bookId": "nope" },
            "trace_id": "abc",
            "errors": [
                { "field": "bookId", "description": "first thing" },
                { "field": "book.title", "description": "second thing" },
            ],
            "retry_after_seconds": 2,
        })
    );
    let field = rig.get("/v1/books/field").await.json();
    assert_eq!(field["detail"], "book.fullTitle: too long");
    for (uri, status) in [
        ("/v1/books/busy", 503),
        ("/v1/books/huge", 413),
        ("/v1/books/plain", 403),
    ] {
        assert_eq!(rig.get(uri).await.status, status, "{uri}");
    }
    let plain = rig.get("/v1/books/plain").await.json();
    assert_eq!(
        (&plain["type"], &plain["title"]),
        (&json!("about:blank"), &json!("Forbidden"))
    );
    assert_eq!(plain["reason"], Value::Null);
}
