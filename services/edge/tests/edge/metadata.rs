//! What of a request's head may go on into the mesh.

use http::StatusCode;
use mediamesh_edge::Options;
use mediamesh_proto::media::v1::GetMediaItemRequest;
use prost::Message as _;

use super::rig::Rig;

const WEB: &str = "application/grpc-web+proto";
const GET: &str = "/mediamesh.media.v1.MediaService/GetMediaItem";

/// A gRPC-Web call with a header of its own of so many bytes.
async fn call(rig: &Rig, name: &str, bytes: usize) -> super::rig::Answer {
    let request = GetMediaItemRequest {
        media_item_id: "one".to_owned(),
    };
    let message = request.encode_to_vec();
    let mut frame = vec![0, 0, 0, 0, message.len() as u8];
    frame.extend(message);
    let own = "x".repeat(bytes);
    let head = [("content-type", WEB), (name, own.as_str())];
    rig.request("POST", GET, &head, frame).await
}

#[tokio::test]
async fn metadata_over_the_limit_is_refused_before_the_mesh_is_called() {
    let rig = Rig::new();
    let answer = call(&rig, "x-own", 7_000).await;
    assert_eq!(answer.header("content-type"), WEB);
    assert!(!answer.body.is_empty(), "{:?}", answer.headers);
    for (name, bytes) in [("x-own", 9_000), ("x-own", 380_000), ("tracestate", 20_000)] {
        let answer = call(&rig, name, bytes).await;
        assert_eq!(answer.status, StatusCode::OK);
        // RESOURCE_EXHAUSTED
        assert_eq!(answer.header("grpc-status"), "8", "{:?}", answer.headers);
        assert!(answer.header("grpc-message").contains("8192"));
    }
    // the key and the cookies of a caller end at the edge
    let answer = call(&rig, "cookie", 20_000).await;
    assert!(!answer.body.is_empty(), "{:?}", answer.headers);
}

#[tokio::test]
async fn rest_is_held_to_the_same_limit() {
    let rig = Rig::with(Options {
        max_metadata_bytes: 2_000,
        ..Options::default()
    });
    let long = "x".repeat(2_000);
    for name in ["accept-language", "tracestate"] {
        let head = [(name, long.as_str())];
        let answer = rig.request("GET", "/v1/mediaItems", &head, "").await;
        assert_eq!(
            answer.status,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "{name}"
        );
        let problem = answer.json();
        assert_eq!(problem["reason"], "ERROR_REASON_METADATA_TOO_LARGE");
        assert_eq!(problem["metadata"]["maxSizeBytes"], "2000");
    }
    assert_eq!(rig.seen.listed.load(std::sync::atomic::Ordering::SeqCst), 0);
    // what does not go on does not count
    let answer = rig
        .request("GET", "/v1/mediaItems", &[("x-own", long.as_str())], "")
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}
