//! Generated routes behind the layers.

use http::StatusCode;
use mediamesh_edge::Options;

use super::rig::Rig;

#[tokio::test]
async fn a_json_answer_has_an_etag_and_is_not_sent_twice() {
    let rig = Rig::new();
    let first = rig.get("/v1/mediaItems/one", &[]).await;
    assert_eq!(
        (first.status, first.header("cache-control")),
        (StatusCode::OK, "private, no-cache")
    );
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with("W/\""), "{etag}");
    let again = rig
        .get("/v1/mediaItems/one", &[("if-none-match", &etag)])
        .await;
    assert_eq!(
        (again.status, again.body.len()),
        (StatusCode::NOT_MODIFIED, 0)
    );
    let other = rig
        .get("/v1/mediaItems/two", &[("if-none-match", &etag)])
        .await;
    assert_eq!(other.status, StatusCode::OK);
    let search = rig.get("/v1/mediaItems:search?query=sea", &[]).await;
    assert_eq!(search.header("cache-control"), "private, no-store");
    assert_eq!(search.header("etag"), "");
}

#[tokio::test]
async fn an_items_etag_is_what_its_writes_are_compared_with() {
    let rig = Rig::new();
    let uri = "/v1/mediaItems/tagged";
    let read = rig.get(uri, &[]).await;
    let etag = read.header("etag").to_owned();
    assert!(etag.starts_with("\"5~"), "{etag}");
    let known = rig.get(uri, &[("if-none-match", &etag)]).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
    let json = ("content-type", "application/json");
    let patch = async |tag: &str| {
        let body = "{\"caption\":\"x\"}";
        rig.request("PATCH", uri, &[json, ("if-match", tag)], body)
            .await
    };
    let changed = patch(&etag).await;
    assert_eq!(changed.status, StatusCode::OK, "{:?}", changed.json());
    assert!(changed.header("etag").starts_with("\"6~"));
    assert_eq!(patch("*").await.status, StatusCode::OK);
    for tag in ["\"4\"", "W/\"5\""] {
        let stale = patch(tag).await;
        assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED, "{tag}");
        assert_eq!(stale.json()["reason"], "ERROR_REASON_ETAG_MISMATCH");
        let kept = rig.request("DELETE", uri, &[("if-match", tag)], "").await;
        assert_eq!(kept.status, StatusCode::PRECONDITION_FAILED, "{tag}");
        let other = rig.get(uri, &[("if-match", tag)]).await;
        assert_eq!(other.status, StatusCode::PRECONDITION_FAILED, "{tag}");
    }
    let gone = rig.request("DELETE", uri, &[("if-match", &etag)], "").await;
    assert_eq!(gone.status, StatusCode::OK);
}

#[tokio::test]
async fn whatever_is_negotiated_says_so() {
    let rig = Rig::with(Options {
        cors_origins: vec!["https://photos.example".to_owned()],
        ..Options::default()
    });
    let varies = |answer: &super::rig::Answer| {
        let values = answer.headers.get_all("vary").iter();
        let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
        values.join(", ").to_ascii_lowercase()
    };
    let large = rig.get("/v1/mediaItems?pageSize=1000", &[]).await;
    let small = rig.get("/v1/mediaItems/one", &[]).await;
    let etag = small.header("etag").to_owned();
    let known = rig
        .get("/v1/mediaItems/one", &[("if-none-match", &etag)])
        .await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
    for answer in [&large, &small, &known, &rig.get("/nothing", &[]).await] {
        let vary = varies(answer);
        assert_eq!(vary.matches("accept-encoding").count(), 1, "{vary}");
        assert!(vary.contains("origin"), "{vary}");
    }
    let stream = rig
        .get("/v1/mediaItems:streamSearch?search.query=a", &[])
        .await;
    let vary = varies(&stream);
    assert!(vary.split(", ").any(|name| name == "accept"), "{vary}");
}

#[tokio::test]
async fn options_lists_every_method_of_a_path() {
    let rig = Rig::new();
    for (uri, methods) in [
        ("/v1/mediaItems", vec!["GET", "HEAD", "POST"]),
        ("/v1/mediaItems/one", vec!["GET", "HEAD", "PATCH", "DELETE"]),
        ("/v1/mediaItems/one/content", vec!["GET", "HEAD"]),
        ("/v1/mediaItems:searchByImage", vec!["POST"]),
    ] {
        let answer = rig.request("OPTIONS", uri, &[], "").await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{uri}");
        let allow: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        for method in methods {
            assert!(allow.contains(&method), "{uri}: {allow:?}");
        }
    }
}

#[tokio::test]
async fn only_large_answers_are_compressed_and_only_when_asked() {
    let rig = Rig::new();
    let large = "/v1/mediaItems?pageSize=1000";
    for encoding in ["gzip", "br", "zstd"] {
        let answer = rig.get(large, &[("accept-encoding", encoding)]).await;
        assert_eq!(answer.header("content-encoding"), encoding);
        let size: usize = answer.header("x-uncompressed-size").parse().unwrap();
        assert!(size > answer.body.len() && size > 10_000, "{size}");
        assert!(answer.header("etag").starts_with("W/"));
    }
    for headers in [
        vec![],
        vec![("accept-encoding", "gzip"), ("x-no-compression", "1")],
        vec![("accept-encoding", "gzip;q=0")],
    ] {
        let answer = rig.get(large, &headers).await;
        assert_eq!(answer.header("content-encoding"), "");
        assert_eq!(answer.header("x-uncompressed-size"), "");
    }
    let small = rig
        .get("/v1/mediaItems?pageSize=10", &[("accept-encoding", "gzip")])
        .await;
    assert_eq!(small.header("content-encoding"), "");
}

#[tokio::test]
async fn old_clients_stream_with_a_flag() {
    let rig = Rig::new();
    let plain = rig.get("/api/search?query=sea&limit=4", &[]).await;
    assert_eq!(plain.header("content-type"), "application/json");
    let uri = "/api/search?query=sea%20%26%20sky&limit=4&stream=true&filter.folder=a/b";
    let stream = rig.get(uri, &[]).await;
    assert_eq!(
        stream.status,
        StatusCode::OK,
        "{}",
        String::from_utf8_lossy(&stream.body)
    );
    assert_eq!(stream.header("content-type"), "application/x-ndjson");
    let text = String::from_utf8(stream.body).unwrap();
    assert!(
        text.starts_with("{\"hit\":{\"id\":\"one\"") && text.lines().count() == 2,
        "{text}"
    );
    let (search, _) = rig.seen.searches.lock().pop().unwrap();
    assert_eq!((search.query.as_str(), search.limit), ("sea & sky", 4));
    assert_eq!(search.filter.unwrap().folder, "a/b");
}

#[tokio::test]
async fn every_bad_field_is_named_by_its_path() {
    let rig = Rig::new();
    let body =
        "{\"limit\":\"few\",\"filter\":{\"foldr\":\"x\",\"tags\":[1],\"min_time\":\"soon\"}}";
    let json = [("content-type", "application/json")];
    let answer = rig
        .request("POST", "/v1/mediaItems:search", &json, body)
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = answer.json();
    let mut fields: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].as_str().unwrap())
        .collect();
    fields.sort_unstable();
    let expected = ["filter.foldr", "filter.min_time", "filter.tags[0]", "limit"];
    assert_eq!(fields, expected, "{problem}");
    assert_eq!(problem["code"], "INVALID_ARGUMENT");
    assert_eq!(problem["instance"], "/v1/mediaItems:search");
    let large = "x".repeat(1_100_000);
    let answer = rig
        .request("POST", "/v1/mediaItems:search", &json, large)
        .await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let rig = Rig::new();
    let lost = rig.get("/v2/nothing", &[]).await;
    assert_eq!(lost.status, StatusCode::NOT_FOUND);
    assert_eq!(lost.json()["reason"], "ERROR_REASON_ROUTE_NOT_FOUND");
    for (uri, allowed) in [
        ("/v1/mediaItems", "POST"),
        ("/v1/mediaItems/one/content", "GET"),
        ("/v1/folders", "GET"),
    ] {
        let answer = rig.request("PUT", uri, &[], "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{uri}");
        assert!(
            answer.header("allow").contains(allowed),
            "{uri}: {}",
            answer.header("allow")
        );
        assert_eq!(answer.json()["status"], 405);
    }
}

#[tokio::test]
async fn a_request_id_is_kept_if_harmless_and_made_if_not() {
    let rig = Rig::new();
    let kept = rig
        .get("/v1/mediaItems/one", &[("x-request-id", "abc-1")])
        .await;
    assert_eq!(kept.header("x-request-id"), "abc-1");
    for id in ["", "a b", "<script>"] {
        let made = rig.get("/health/live", &[("x-request-id", id)]).await;
        let made = made.header("x-request-id");
        assert_eq!((made.len(), made.as_bytes()[14]), (36, b'7'), "{made}");
    }
}

#[tokio::test]
async fn a_deadline_from_the_client_ends_the_request() {
    let rig = Rig::new();
    let uri = "/v1/mediaItems/slow";
    for header in [("x-request-timeout", "0.05"), ("grpc-timeout", "50m")] {
        let answer = rig.get(uri, &[header]).await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(answer.json()["reason"], "ERROR_REASON_DEADLINE_EXCEEDED");
    }
    let answer = rig.get(uri, &[("x-request-timeout", "soon")]).await;
    assert_eq!(answer.json()["errors"][0]["field"], "x-request-timeout");
}

#[tokio::test]
async fn too_many_requests_are_shed_but_probes_are_not() {
    let rig = Rig::with(Options {
        max_concurrency: 1,
        ..Options::default()
    });
    let slow = rig.get("/v1/mediaItems/slow", &[("x-request-timeout", "1")]);
    let probe = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        (
            rig.get("/v1/mediaItems/one", &[]).await,
            rig.get("/health/live", &[]).await,
        )
    };
    let (_, (shed, live)) = tokio::join!(slow, probe);
    assert_eq!(shed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shed.json()["reason"], "ERROR_REASON_LOAD_SHED");
    assert_eq!(shed.header("retry-after"), "1");
    assert_eq!(live.status, StatusCode::OK);
    assert_eq!(
        rig.get("/v1/mediaItems/one", &[]).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let rig = Rig::new();
    let answer = rig.get("/v1/mediaItems/panic", &[]).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.json()["reason"], "ERROR_REASON_INTERNAL");
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused() {
    let rig = Rig::with(Options {
        allowed_hosts: vec!["photos.example".to_owned()],
        ..Options::default()
    });
    for (host, status) in [
        ("localhost:8080", StatusCode::OK),
        ("127.0.0.1:1", StatusCode::OK),
        ("[::1]:1", StatusCode::OK),
        ("Photos.example", StatusCode::OK),
        ("evil.example", StatusCode::FORBIDDEN),
        ("localhost.evil.example", StatusCode::FORBIDDEN),
    ] {
        let answer = rig.get("/v1/mediaItems/one", &[("host", host)]).await;
        assert_eq!(answer.status, status, "{host}");
    }
    let uri = "/v1/mediaItems?displayName=a";
    for (origin, status) in [
        ("http://localhost:80", StatusCode::CREATED),
        ("https://evil.example", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
    ] {
        let headers = [("host", "localhost:80"), ("origin", origin)];
        let answer = rig.request("POST", uri, &headers, "x").await;
        assert_eq!(answer.status, status, "{origin}");
    }
}

#[tokio::test]
async fn a_json_body_that_never_ends_is_given_up() {
    let rig = Rig::with(Options {
        idle_timeout_secs: 1,
        ..Options::default()
    });
    // a byte now and then: never silent, never done
    let drip = futures::stream::unfold((), |()| async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        Some((Ok::<_, std::io::Error>(" "), ()))
    });
    let headers = [("content-type", "application/json")];
    let body = axum::body::Body::from_stream(drip);
    let answer = rig
        .request("POST", "/v1/mediaItems:search", &headers, body)
        .await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(answer.json()["reason"], "ERROR_REASON_DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_request_names_one_host() {
    let rig = Rig::new();
    let hosts = [("host", "localhost"), ("host", "localhost")];
    let two = rig.get("/v1/mediaItems", &hosts).await;
    assert_eq!(two.status, StatusCode::BAD_REQUEST);
    assert_eq!(two.json()["errors"][0]["field"], "host");
    let request = http::Request::builder().uri("/v1/mediaItems");
    let none = rig
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(none.status, StatusCode::BAD_REQUEST);
}
