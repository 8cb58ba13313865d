//! Peers that connect and say nothing: they hold a descriptor, and not for ever.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::mesh::{Via, start};

/// The clock stands still while anything can be done, so an hour is over at once.
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn who_connects_and_does_not_begin_is_shown_out() {
    let mesh = start(Via::Tcp).await;
    let address = mesh.endpoint.strip_prefix("http://").unwrap();
    for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n"] {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(HOUR, peer.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "held for an hour after {said:?}");
    }
    // others are served
    mesh.call("tenant", 0).await.unwrap();
}
