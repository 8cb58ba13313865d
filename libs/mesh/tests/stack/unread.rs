//! Clients that ask and never read: their answers wait, and nobody else has to.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use mediamesh_mesh::PolicyOptions;
use prost::Message as _;
use tokio::net::TcpStream;

use crate::echo::{Ask, CALL};
use crate::mesh::{Mesh, Via, limits, start_with};

/// Calls that the service runs at once.
const RUNNING: usize = 4;

/// A connection whose client has no room for a single byte of an answer.
async fn deaf(mesh: &Mesh) -> SendRequest<Bytes> {
    let address = mesh.endpoint.strip_prefix("http://").unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake(tcp)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// Asks for an answer of so many bytes; what is returned keeps the call open.
async fn ask(sender: &mut SendRequest<Bytes>, bytes: u64) -> http::Response<h2::RecvStream> {
    let request = http::Request::post(format!("http://mesh{CALL}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let message = Ask {
        what: "bytes".into(),
        number: bytes,
    }
    .encode_to_vec();
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap());
    body.put_slice(&message);
    *sender = sender.clone().ready().await.unwrap();
    let (response, mut stream) = sender.send_request(request, false).unwrap();
    stream.send_data(body.freeze(), true).unwrap();
    response.await.unwrap()
}

fn options(stream_idle_ms: Option<u64>) -> PolicyOptions {
    PolicyOptions {
        stream_idle_ms,
        ..limits(RUNNING, RUNNING)
    }
}

#[tokio::test]
async fn small_answers_that_nobody_reads_take_nobodys_place() {
    let mesh = start_with(Via::Tcp, options(None)).await;
    let mut sender = deaf(&mesh).await;
    let mut unread = Vec::new();
    for _ in 0..RUNNING * 3 {
        unread.push(ask(&mut sender, 1_000).await);
    }
    mesh.call("hop", 0).await.unwrap();
}

#[tokio::test]
async fn large_answers_that_nobody_reads_give_their_place_back_in_time() {
    let mesh = start_with(Via::Tcp, options(Some(1_000))).await;
    let mut sender = deaf(&mesh).await;
    let mut unread = Vec::new();
    for _ in 0..RUNNING {
        unread.push(ask(&mut sender, 100_000).await);
    }
    let error = mesh.call("hop", 0).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::Unavailable, "{error:?}");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    mesh.call("hop", 0).await.unwrap();
}

#[tokio::test]
async fn a_large_answer_that_is_read_is_whole() {
    let mesh = start_with(Via::Tcp, options(None)).await;
    let text = mesh.call("bytes", 1_000_000).await.unwrap().text;
    assert_eq!(text.len(), 1_000_000);
}
