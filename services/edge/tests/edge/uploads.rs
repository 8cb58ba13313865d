//! Raw bodies, forms and search by image.

use std::{sync::atomic::Ordering, time::Duration};

use axum::body::{Body, Bytes};
use futures::{StreamExt as _, stream};
use http::StatusCode;
use mediamesh_edge::Options;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use super::rig::Rig;

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=xx");

fn part(disposition: &str, content: &str) -> String {
    format!("--xx\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
}

#[tokio::test]
async fn a_raw_body_is_stored_in_small_chunks_and_answers_where() {
    let rig = Rig::new();
    let body = vec![7_u8; 300_000];
    let uri = "/v1/mediaItems?displayName=a%20b.jpg&folder=x/y&tags=a&tags=b&background=true";
    let headers = [("content-length", "300000"), ("x-content-sha256", "AB")];
    let answer = rig.request("POST", uri, &headers, body.clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.json());
    assert_eq!(answer.header("location"), "/v1/mediaItems/new");
    assert_eq!(answer.json()["mediaItem"]["id"], "new");
    let (metadata, bytes) = rig.seen.uploads.lock().remove(0);
    assert_eq!(bytes, body);
    assert_eq!(metadata.display_name, "a b.jpg");
    assert_eq!((metadata.folder.as_str(), metadata.tags.len()), ("x/y", 2));
    assert_eq!(
        (metadata.sha256.as_str(), metadata.size_bytes),
        ("ab", 300_000)
    );
    assert!(metadata.background);
    assert!(rig.seen.largest_chunk.load(Ordering::SeqCst) <= 65_536);
    let known = rig
        .request("POST", "/v1/mediaItems?displayName=k", &[], "known")
        .await;
    assert_eq!(known.status, StatusCode::OK);
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_announced_or_not() {
    let rig = Rig::with(Options {
        max_upload_bytes: 1000,
        ..Options::default()
    });
    let uri = "/v1/mediaItems?displayName=a";
    let announced = rig
        .request("POST", uri, &[("content-length", "1001")], "x")
        .await;
    assert_eq!(announced.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(announced.json()["metadata"]["sizeBytes"], "1001");
    let silent = rig.request("POST", uri, &[], vec![0; 1001]).await;
    assert_eq!(silent.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(silent.json()["reason"], "ERROR_REASON_TOO_LARGE");
    assert!(rig.seen.uploads.lock().is_empty());
}

#[tokio::test]
async fn every_bad_parameter_of_an_upload_is_named() {
    let rig = Rig::new();
    let answer = rig
        .request("POST", "/v1/mediaItems?nam=a&background=perhaps", &[], "x")
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let fields: Vec<_> = answer.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(fields, ["nam", "background"]);
}

#[tokio::test]
async fn a_refused_file_does_not_stop_the_files_after_it() {
    let rig = Rig::new();
    let body = [
        part("name=\"folder\"", "trip"),
        part("name=\"tags\"", "sea"),
        part("name=\"file\"; filename=\"dir/one.jpg\"", "first"),
        part(
            "name=\"file\"; filename=\"bad.txt\"",
            &"text".repeat(50_000),
        ),
        part("name=\"file\"; filename=\"two.jpg\"", "second"),
        "--xx--\r\n".to_owned(),
    ]
    .concat();
    let answer = rig.request("POST", "/v1/mediaItems", &[FORM], body).await;
    assert_eq!(answer.status, StatusCode::OK);
    let results = answer.json()["results"].clone();
    assert_eq!(results[0]["fileName"], "one.jpg");
    assert_eq!(results[0]["upload"]["mediaItem"]["id"], "new");
    assert_eq!(
        results[1]["error"]["reason"],
        "ERROR_REASON_UNSUPPORTED_MEDIA_TYPE"
    );
    assert!(results[1]["upload"].is_null());
    assert_eq!(results[2]["fileName"], "two.jpg");
    let uploads = rig.seen.uploads.lock();
    assert_eq!(uploads[1].1, b"second");
    assert_eq!(
        (uploads[1].0.folder.as_str(), uploads[1].0.tags.len()),
        ("trip", 1)
    );
}

#[tokio::test]
async fn a_form_with_an_unknown_field_or_without_files_is_refused() {
    let rig = Rig::new();
    for (body, field) in [
        (part("name=\"album\"", "x") + "--xx--\r\n", "album"),
        (part("name=\"folder\"", "x") + "--xx--\r\n", "file"),
    ] {
        let answer = rig.request("POST", "/v1/mediaItems", &[FORM], body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert_eq!(answer.json()["errors"][0]["field"], field);
    }
}

#[tokio::test]
async fn a_field_behind_a_file_is_refused_not_dropped() {
    let rig = Rig::new();
    let body = part("name=\"file\"; filename=\"a.jpg\"", "bytes")
        + &part("name=\"tags\"", "late")
        + "--xx--\r\n";
    let answer = rig.request("POST", "/v1/mediaItems", &[FORM], body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["errors"][0]["field"], "tags");
}

#[tokio::test]
async fn headers_of_a_part_that_do_not_end_are_refused_long_before_they_fill_memory() {
    let rig = Rig::new();
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&seen);
    let head = Bytes::from_static(b"--xx\r\nContent-Disposition: form-data; x=");
    let endless = stream::iter(std::iter::once(head).chain(std::iter::repeat_with(move || {
        count.fetch_add(8192, Ordering::SeqCst);
        Bytes::from(vec![b'a'; 8192])
    })));
    let body = Body::from_stream(endless.map(Ok::<_, std::io::Error>).take(10_000));
    let answer = rig.request("POST", "/v1/mediaItems", &[FORM], body).await;
    assert_eq!(
        answer.status,
        StatusCode::BAD_REQUEST,
        "{:?}",
        answer.json()
    );
    assert!(answer.json()["detail"].as_str().unwrap().contains("16384"));
    // what is read on for the sake of the client's connection is not kept
    assert!(seen.load(Ordering::SeqCst) < 5_000_000, "{seen:?}");
}

#[tokio::test]
async fn a_form_has_at_most_so_many_fields_and_parts() {
    let rig = Rig::new();
    let fields = part("name=\"tags\"", "x").repeat(129);
    let empty = part("name=\"file\"; filename=\"\"", "").repeat(10_001);
    for (parts, limit) in [(fields, "128"), (empty, "10000")] {
        let body = parts + "--xx--\r\n";
        let answer = rig.request("POST", "/v1/mediaItems", &[FORM], body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let problem = answer.json();
        assert!(
            problem["detail"].as_str().unwrap().contains(limit),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn a_form_that_only_trickles_is_given_up() {
    let rig = Rig::with(Options {
        idle_timeout_secs: 1,
        ..Options::default()
    });
    let in_headers = "--xx\r\nContent-Disposition: form-data; x=".to_owned();
    let in_a_field = in_headers.clone() + "y; name=\"folder\"\r\n\r\n";
    for head in [in_headers, in_a_field] {
        // a byte now and then: never silent, never done
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Some((Ok::<_, std::io::Error>("a".to_owned()), ()))
        });
        let body = Body::from_stream(stream::iter([Ok(head)]).chain(drip));
        let answer = rig.request("POST", "/v1/mediaItems", &[FORM], body).await;
        assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    }
}

#[tokio::test]
async fn parts_are_read_whatever_the_chunks_they_arrive_in() {
    for size in [1, 7, 1000] {
        let rig = Rig::new();
        let form = part("name=\"folder\"", "trip")
            + &part("name=\"file\"; filename=\"a.jpg\"", &"x".repeat(3000))
            + &part("name=\"file\"; filename=\"b.jpg\"", "second")
            + "--xx--\r\n";
        let chunks: Vec<_> = form
            .as_bytes()
            .chunks(size)
            .map(Bytes::copy_from_slice)
            .collect();
        let body = Body::from_stream(stream::iter(
            chunks.into_iter().map(Ok::<_, std::io::Error>),
        ));
        let answer = rig.request("POST", "/v1/mediaItems", &[FORM], body).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.json());
        let uploads = rig.seen.uploads.lock();
        assert_eq!(uploads.len(), 2);
        assert_eq!(
            (uploads[0].1.len(), uploads[1].1.as_slice()),
            (3000, &b"second"[..])
        );
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_cancels_the_upload_and_stores_nothing() {
    let rig = Rig::new();
    let parts = stream::iter([Ok(Bytes::from_static(b"half")), Err("connection lost")]);
    let body = Body::from_stream(parts);
    let answer = rig
        .request("POST", "/v1/mediaItems?displayName=a", &[], body)
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    until(|| rig.seen.cancelled.load(Ordering::SeqCst) == 1).await;
    assert!(rig.seen.uploads.lock().is_empty());
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_the_upload() {
    let rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let edge = rig.edge.clone();
    let server = tokio::spawn(async move { edge.serve(listener, std::future::pending()).await });
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = "POST /v1/mediaItems?displayName=a HTTP/1.1\r\nHost: localhost\r\n\
                Content-Length: 1000000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&[1; 5000]).await.unwrap();
    until(|| rig.seen.received.load(Ordering::SeqCst) == 5000).await;
    drop(client);
    until(|| rig.seen.cancelled.load(Ordering::SeqCst) == 1).await;
    assert!(rig.seen.uploads.lock().is_empty());
    server.abort();
}

#[tokio::test]
async fn an_image_searches_raw_and_in_a_form() {
    let rig = Rig::new();
    let uri = "/v1/mediaItems:searchByImage?search=%7B%22limit%22%3A3%7D";
    let raw = rig
        .request("POST", uri, &[("content-type", "image/png")], "png")
        .await;
    assert_eq!(
        (raw.status, &raw.json()["fromCache"]),
        (StatusCode::OK, &true.into())
    );
    let body = part("name=\"search\"", "{\"query\":\"sea\"}")
        + &part("name=\"image\"; filename=\"a.png\"", "picture")
        + "--xx--\r\n";
    let form = rig
        .request("POST", "/v1/mediaItems:searchByImage", &[FORM], body)
        .await;
    assert_eq!(form.status, StatusCode::OK);
    let searches = rig.seen.searches.lock().clone();
    assert_eq!(
        (searches[0].0.limit, searches[0].1.as_slice()),
        (3, b"png".as_slice())
    );
    assert_eq!(
        (searches[1].0.query.as_str(), searches[1].1.len()),
        ("sea", 7)
    );
    let late = part("name=\"image\"; filename=\"a.png\"", "picture")
        + &part("name=\"search\"", "{}")
        + "--xx--\r\n";
    let late = rig
        .request("POST", "/v1/mediaItems:searchByImage", &[FORM], late)
        .await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST);
    assert_eq!(late.json()["errors"][0]["field"], "search");
    let uri = "/v1/mediaItems:searchByImage?search=%7B%22limt%22%3A3%7D";
    let unknown = rig.request("POST", uri, &[], "png").await;
    assert_eq!(unknown.json()["errors"][0]["field"], "search");
}

async fn until(reached: impl Fn() -> bool) {
    for _ in 0..500 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not reached within 5 s");
}
