//! Where path, query and body end up.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn a_path_variable_is_decoded_and_response_body_is_unwrapped() {
    let rig = Rig::start().await;
    let answer = rig.get("/v1/books/a%20b%2Fc%3Alend").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-hook"), "ran");
    assert_eq!(
        answer.json(),
        json!({ "id": "a b/c:lend", "sizeBytes": "1152921504606846976", "genre": "GENRE_SCIENCE" })
    );
    let matched = answer.matched.unwrap();
    assert_eq!(matched.rpc, "library.v1.LibraryService/GetBook");
    assert_eq!(matched.template, "/v1/books/{book_id}");
}

#[tokio::test]
async fn additional_bindings_and_patterns_reach_the_same_method() {
    let rig = Rig::start().await;
    // each binding has a response_body of its own; these two have none
    assert_eq!(rig.get("/api/book/7").await.json()["book"]["id"], "7");
    let answer = rig.get("/v1/shelves/a%2Fb/books/2").await;
    // an encoded slash in a multi-segment variable stays encoded
    assert_eq!(answer.json()["book"]["id"], "shelves/a%2Fb/books/2");
    let answer = rig.get("/v1/files/deep/er/file.txt").await;
    assert_eq!(
        (answer.text.as_str(), answer.header("content-type")),
        ("deep/er/file.txt", "text/x-path")
    );
}

#[tokio::test]
async fn an_absent_response_body_is_an_empty_object() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/v1/books/none").await.json(), json!({}));
}

#[tokio::test]
async fn head_is_answered_like_get() {
    let rig = Rig::start().await;
    let request = Request::head("/v1/books/x").body(Body::empty()).unwrap();
    assert_eq!(rig.send(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn every_kind_of_query_parameter_arrives_in_both_spellings() {
    let rig = Rig::start().await;
    let answer = rig
        .get(
            "/v1/books?pageSize=-3&page_token=a%2Bb+c&genres=GENRE_FICTION&genres=2&tags=x&tags=y\
             &minSizeBytes=9007199254740993&createdAfter=2026-01-31T08:00:00.5Z&max_age=1.5s\
             &readMask=displayName,author.full_name&available=false&minScore=0.25&cursor=-_8\
             &author.fullName=Ada&author.birth_year=1815&budget=5&years=1&years=2&sortNumber=-7\
             &like.title=T&like.author.fullName=B&alt=json&key=k",
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(
        answer.json(),
        json!({
            "request": {
                "pageSize": -3,
                "pageToken": "a+b c",
                "genres": ["GENRE_FICTION", "GENRE_SCIENCE"],
                "tags": ["x", "y"],
                "minSizeBytes": "9007199254740993",
                // as pbjson-types writes it; an offset of zero is as good as Z in RFC 3339
                "createdAfter": "2026-01-31T08:00:00.500+00:00",
                "maxAge": "1.500s",
                "available": false,
                "minScore": 0.25,
                "cursor": "+/8=",
                "author": { "fullName": "Ada", "birthYear": 1815 },
                "budget": "5",
                "years": [1, 2],
                "sortNumber": -7,
                "like": { "title": "T", "author": { "fullName": "B" } },
            },
            "mask": ["display_name", "author.full_name"],
        })
    );
}

#[tokio::test]
async fn the_body_field_and_the_query_are_joined() {
    let rig = Rig::start().await;
    let answer = rig
        .post(
            "/v1/books?requestId=r1",
            r#"{"title":"T","size_bytes":"12","genre":1,"labels":{"a":"b"},"playingTime":"3s"}"#,
        )
        .await;
    assert_eq!(
        answer.json(),
        json!({ "request": { "requestId": "r1", "book": {
            "title": "T", "sizeBytes": "12", "genre": "GENRE_FICTION",
            "labels": { "a": "b" }, "playingTime": "3s",
        } } })
    );
}

#[tokio::test]
async fn the_path_wins_over_the_body_inside_a_message() {
    let rig = Rig::start().await;
    let body = r#"{"id":"liar","title":"T"}"#;
    let answer = rig
        .json(
            Method::PATCH,
            "/v1/books/b1?updateMask=title,sizeBytes",
            body,
        )
        .await;
    assert_eq!(
        answer.json(),
        json!({ "book": { "id": "b1", "title": "T" }, "mask": ["title", "size_bytes"] })
    );
}

#[tokio::test]
async fn if_match_is_the_etag_of_a_write() {
    let rig = Rig::start().await;
    let patch = async |tag: &str| {
        let request = Request::patch("/v1/books/b1")
            .header("if-match", tag)
            .body(Body::from(r#"{"title":"T","etag":"of the body"}"#))
            .unwrap();
        rig.send(request).await
    };
    let answer = patch("\"7\"").await;
    assert_eq!(answer.json()["book"]["etag"], "7", "{}", answer.text);
    let any = patch("*").await;
    assert_eq!(any.json()["book"]["etag"], "of the body");
    // stale, of no shape the service knows, and weak: none of them names the current version
    for tag in ["\"old~00ff\"", "\"never\"", "W/\"7\""] {
        let refused = patch(tag).await;
        assert_eq!(refused.status, 412, "{tag}: {}", refused.text);
        assert_eq!(refused.json()["reason"], "ERROR_REASON_ETAG_MISMATCH");
    }
    let two = patch("\"7\", \"8\"").await;
    assert_eq!((two.status.as_u16(), two.header("etag")), (400, ""));
    // an etag of the body is a field like others: 409, and no header was set
    let body = r#"{"etag":"old"}"#;
    let stale = rig.json(Method::PATCH, "/v1/books/b1", body).await;
    assert_eq!(stale.status, 409);
}

#[tokio::test]
async fn a_resource_with_an_etag_is_answered_with_it() {
    let rig = Rig::start().await;
    let tagged = rig.get("/v1/books/tagged").await;
    let etag = tagged.header("etag");
    assert!(etag.starts_with("\"7~") && etag.len() == 20, "{etag}");
    let request = Request::patch("/v1/books/tagged")
        .header("if-match", etag)
        .body(Body::from("{}"))
        .unwrap();
    assert_eq!(rig.send(request).await.json()["book"]["etag"], "7");
    assert_eq!(rig.get("/v1/books/other").await.header("etag"), "");
}

#[tokio::test]
async fn a_verb_takes_the_whole_body_and_the_path() {
    let rig = Rig::start().await;
    let answer = rig.post("/v1/books/b1:lend", r#"{"reader":"Ann"}"#).await;
    assert_eq!(
        answer.json(),
        json!({ "request": { "bookId": "b1", "reader": "Ann" } })
    );
    let answer = rig.post("/v1/books/b1:lend", "").await;
    assert_eq!(answer.json(), json!({ "request": { "bookId": "b1" } }));
}

#[tokio::test]
async fn a_verb_on_a_collection_is_not_an_item() {
    let rig = Rig::start().await;
    let answer = rig
        .post("/v1/books:search", r#"{"query":"q","limit":5}"#)
        .await;
    assert_eq!(
        answer.json()["request"],
        json!({ "query": "q", "limit": 5 })
    );
    let answer = rig.post("/api/search", r#"{"query":"q"}"#).await;
    assert_eq!(answer.json(), json!([{ "title": "q" }]));
}

#[tokio::test]
async fn headers_become_metadata_through_the_hook() {
    let rig = Rig::start().await;
    let request = Request::get("/v1/books/x")
        .header("traceparent", "00-11-22-01")
        .body(Body::empty())
        .unwrap();
    assert_eq!(rig.send(request).await.json()["title"], "00-11-22-01");
}

#[tokio::test]
async fn hand_written_routes_live_beside_generated_ones() {
    let rig = Rig::start().await;
    assert_eq!(
        rig.json(Method::PUT, "/v1/books/b1/cover", "").await.text,
        "by hand"
    );
    assert_eq!(
        rig.json(Method::PUT, "/v1/books/b1", "").await.text,
        "by hand"
    );
    assert_eq!(rig.get("/v1/books/b1").await.json()["id"], "b1");
}
