//! Connections: both versions of HTTP, and the end.

use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use mediamesh_edge::Options;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::rig::Rig;

#[tokio::test]
async fn both_http_versions_are_served_and_running_requests_end_before_the_server() {
    let rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let edge = rig.edge.clone();
    let server = tokio::spawn(async move {
        edge.serve(listener, async {
            stopped.await.ok();
        })
        .await
    });
    let request = |path: &str| {
        Request::get(format!("http://{address}{path}"))
            .header("x-request-timeout", "0.5")
            .body(Body::empty())
            .unwrap()
    };
    for (http2, version) in [(false, Version::HTTP_11), (true, Version::HTTP_2)] {
        let client = Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .build_http::<Body>();
        let answer = client
            .request(request("/v1/mediaItems/one/content"))
            .await
            .unwrap();
        assert_eq!(
            (answer.status(), answer.version()),
            (StatusCode::OK, version)
        );
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes().len(),
            200_000
        );
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let slow = tokio::spawn(client.request(request("/v1/mediaItems/slow")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).unwrap();
    assert_eq!(
        slow.await.unwrap().unwrap().status(),
        StatusCode::GATEWAY_TIMEOUT
    );
    tokio::time::timeout(Duration::from_secs(5), server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn readiness_is_off_before_the_first_connection_is_refused() {
    let rig = Rig::with(Options {
        drain_delay_ms: 1_000,
        ..Options::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let edge = rig.edge.clone();
    let server = tokio::spawn(async move {
        edge.serve(listener, async {
            stopped.await.ok();
        })
        .await
    });
    // a connection of its own each time, as a load balancer's client has
    let ask = async |path: &str| {
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let request = Request::get(format!("http://{address}{path}"));
        let answer = client.request(request.body(Body::empty()).unwrap()).await;
        answer.map(|answer| answer.status())
    };
    assert_eq!(ask("/health/ready").await.unwrap(), StatusCode::OK);
    stop.send(()).unwrap();
    let mut ready = StatusCode::OK;
    while ready == StatusCode::OK {
        ready = ask("/health/ready").await.unwrap();
    }
    assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask("/v1/mediaItems").await.unwrap(), StatusCode::OK);
    tokio::time::timeout(Duration::from_secs(5), server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(ask("/health/ready").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_connects_and_does_not_begin_is_shown_out() {
    let rig = Rig::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let edge = rig.edge.clone();
    let server = tokio::spawn(async move { edge.serve(listener, std::future::pending()).await });
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n", b"GET / HT"] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        // the clock stands still while anything can be done, so an hour is over at once
        let hour = Duration::from_secs(3600);
        let ended = tokio::time::timeout(hour, peer.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "held for an hour after {said:?}");
    }
    server.abort();
}
