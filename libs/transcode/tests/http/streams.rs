//! Server streams as NDJSON and SSE.

use std::{sync::atomic::Ordering, time::Duration};

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::rig::Rig;

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn ndjson_is_one_record_a_line() {
    let rig = Rig::start().await;
    let answer = rig.get("/v1/books:watch?count=3").await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(
        lines(&answer.text),
        [
            json!({ "number": "1" }),
            json!({ "number": "2" }),
            json!({ "number": "3" })
        ]
    );
}

#[tokio::test]
async fn ndjson_shows_a_failure_half_way() {
    let rig = Rig::start().await;
    let answer = rig
        .get("/v1/books:watch?count=2&fail=true&alt=ndjson")
        .await;
    assert_eq!(answer.status, 200);
    let lines = lines(&answer.text);
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["error"]["reason"], "ERROR_REASON_LOAD_SHED");
    assert_eq!(lines[2]["error"]["status"], 503);
    assert_eq!(lines[2]["error"]["trace_id"], "abc");
}

#[tokio::test]
async fn a_stream_that_fails_at_once_has_its_own_status() {
    let rig = Rig::start().await;
    let answer = rig.get("/v1/books:watch?fail=true").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn events_end_visibly() {
    let rig = Rig::start().await;
    let request = Request::get("/v1/books:watch?count=1")
        .header("accept", "text/event-stream")
        .body(Body::empty())
        .unwrap();
    let answer = rig.send(request).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("vary"), "accept");
    assert_eq!(
        answer.text,
        "data: {\"number\":\"1\"}\n\nevent: end\ndata: {}\n\n"
    );

    let answer = rig.get("/v1/books:watch?count=1&fail=true&alt=sse").await;
    let (_, error) = answer.text.split_once("event: error\ndata: ").unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(error).unwrap()["code"],
        "UNAVAILABLE"
    );
    assert!(!answer.text.contains("event: end"));
}

#[tokio::test]
async fn an_unknown_format_is_named() {
    let rig = Rig::start().await;
    for uri in ["/v1/books:watch?alt=xml", "/v1/books/x?alt=sse"] {
        let answer = rig.get(uri).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["errors"][0]["field"], "alt");
    }
}

#[tokio::test]
async fn a_slow_reader_holds_the_service_back_and_leaving_stops_it() {
    let rig = Rig::start().await;
    let request = Request::get("/v1/books:watch?forever=true")
        .body(Body::empty())
        .unwrap();
    let mut body = rig.respond(request).await.into_body();
    body.frame().await.unwrap().unwrap();
    // HTTP/2 windows fill up, then nothing more is produced
    let held = settled(&rig).await;
    drop(body);
    // what the windows had room for may still be counted, then the sender is gone
    assert!(settled(&rig).await <= held + 64);
}

/// Returns the number of records sent once it has stood still for 300 ms.
async fn settled(rig: &Rig) -> usize {
    let mut last = 0;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = rig.library.sent.load(Ordering::Relaxed);
        if now == last {
            return now;
        }
        last = now;
    }
    panic!("records are still being sent after 30 s with no reader");
}

#[tokio::test]
async fn raw_streams_are_joined_under_their_own_type() {
    let rig = Rig::start().await;
    let answer = rig.get("/v1/parts/a-b-c").await;
    assert_eq!(
        (answer.text.as_str(), answer.header("content-type")),
        ("abc", "text/x-part")
    );
}
