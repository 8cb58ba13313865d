//! What transcoding adds to a call, side by side with the gRPC call it makes. Run with
//! `cargo test --release -p mediamesh-transcode --test overhead -- --ignored --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is a failed test; the figures are the output"
)]

#[path = "http/rig.rs"]
#[allow(dead_code, reason = "shared with the HTTP tests")]
mod rig;

use std::time::Duration;

use mediamesh_transcode_testapi::library::v1::{
    SearchBooksRequest, library_service_client::LibraryServiceClient,
};
use tokio::time::Instant;

const CALLS: usize = 5000;

#[tokio::test]
#[ignore = "a measurement"]
async fn transcoding_adds_less_than_100_us_at_the_median() {
    let rig = rig::Rig::start().await;
    let mut client = LibraryServiceClient::new(rig.channel.clone());
    let (mut grpc, mut http) = (Vec::new(), Vec::new());
    // in turns, so that both see the same noise
    for _ in 0..CALLS {
        let start = Instant::now();
        let query = "a red bicycle by the sea".to_owned();
        let request = SearchBooksRequest {
            query,
            limit: 20,
            example: None,
        };
        client.search_books(request).await.unwrap();
        grpc.push(start.elapsed());
        let start = Instant::now();
        let body = r#"{"query":"a red bicycle by the sea","limit":20}"#;
        let answer = rig.post("/v1/books:search", body).await;
        http.push(start.elapsed());
        assert_eq!(answer.status, 200);
    }
    let (grpc, http) = (median(grpc), median(http));
    println!(
        "median: grpc {grpc:?}, http {http:?}, added {:?}",
        http.saturating_sub(grpc)
    );
    assert!(http < grpc + Duration::from_micros(100));
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}
