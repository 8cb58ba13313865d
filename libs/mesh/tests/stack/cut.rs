//! Clients that take a call back before all of its request has come.

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::echo::CALL;
use crate::mesh::{Via, eventually, start};

#[tokio::test]
async fn a_request_that_is_taken_back_before_its_message_is_cancelled_and_no_failure() {
    let mesh = start(Via::Tcp).await;
    let address = mesh.endpoint.strip_prefix("http://").unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    let counted = |code: &str| {
        let text = mesh.metrics.encode();
        let ended = text.lines().filter(|line| {
            line.starts_with("mediamesh_rpc_duration_seconds_count{")
                && line.contains("side=\"server\"")
                && line.contains(&format!("code=\"{code}\""))
                && line.contains("method=\"Call\"")
        });
        ended
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum::<u64>()
    };
    const CALLS: u64 = 50;
    for _ in 0..CALLS {
        let request = http::Request::post(format!("http://mesh{CALL}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        sender = sender.ready().await.unwrap();
        let (response, mut stream) = sender.send_request(request, false).unwrap();
        // A part of a message, as a slow network brings it.
        stream
            .send_data(Bytes::from_static(&[0, 0]), false)
            .unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
    }
    eventually("all of them have ended", || {
        counted("CANCELLED") + counted("INTERNAL") == CALLS
    })
    .await;
    assert_eq!(counted("INTERNAL"), 0);
}
