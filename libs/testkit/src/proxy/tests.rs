use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

use super::*;

/// Long enough for loopback on a busy machine to have delivered, had it been going to.
const SILENCE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy to a server that sends back what it gets.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    Proxy::start(target).await.unwrap()
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

async fn says(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    hears(stream, text).await;
}

async fn hears(stream: &mut TcpStream, text: &[u8]) {
    let mut heard = vec![0; text.len()];
    timeout(PATIENCE, stream.read_exact(&mut heard))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(heard, text);
}

async fn is_silent(stream: &mut TcpStream) {
    let mut byte = [0];
    let read = timeout(SILENCE, stream.read(&mut byte)).await;
    assert!(read.is_err(), "neither a byte nor an end: {read:?}");
}

async fn is_reset(stream: &mut TcpStream) {
    let mut byte = [0];
    let read = timeout(PATIENCE, stream.read(&mut byte)).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn bytes_pass_both_ways_and_so_does_the_end_of_one() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at * 7 / 3) as u8).collect();
    let (mut read, mut write) = stream.split();
    let mut heard = Vec::new();
    let write = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let both = async { tokio::join!(write, read.read_to_end(&mut heard)).1.unwrap() };
    let count = timeout(PATIENCE, both).await.unwrap();
    assert_eq!((count, heard == sent), (sent.len(), true));
    drop(stream);
    while proxy.open() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_cut_path_is_silent_and_delivers_what_waited_after_it_healed() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    says(&mut old, b"before").await;
    proxy.cut();
    old.write_all(b"during").await.unwrap();
    let mut new = connect(&proxy).await;
    new.write_all(b"hello").await.unwrap();
    is_silent(&mut old).await;
    is_silent(&mut new).await;
    proxy.heal();
    hears(&mut old, b"during").await;
    hears(&mut new, b"hello").await;
}

#[tokio::test]
async fn the_end_of_one_side_does_not_pass_a_cut_path() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
    let mut client = connect(&proxy).await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"hello").await.unwrap();
    hears(&mut client, b"hello").await;
    proxy.cut();
    // as when a process is killed behind a partition
    server.set_zero_linger().unwrap();
    drop(server);
    is_silent(&mut client).await;
    proxy.heal();
    is_reset(&mut client).await;
}

#[tokio::test]
async fn a_reset_path_resets_what_is_open_and_what_is_new() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    says(&mut old, b"before").await;
    proxy.reset();
    is_reset(&mut old).await;
    is_reset(&mut connect(&proxy).await).await;
    proxy.heal();
    says(&mut connect(&proxy).await, b"after").await;
}

#[tokio::test]
async fn dropped_connections_are_reset_once() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    says(&mut old, b"before").await;
    proxy.drop_connections();
    is_reset(&mut old).await;
    says(&mut connect(&proxy).await, b"after").await;
}

#[tokio::test]
async fn a_cut_connection_can_be_reset() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    proxy.cut();
    let mut new = connect(&proxy).await;
    is_silent(&mut new).await;
    proxy.drop_connections();
    is_reset(&mut old).await;
    is_reset(&mut new).await;
}

#[tokio::test]
async fn a_delay_holds_for_every_byte_and_keeps_their_order() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    says(&mut stream, b"at once").await;
    proxy.delay(Duration::from_millis(100));
    let start = Instant::now();
    stream.write_all(b"1").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    stream.write_all(b"2").await.unwrap();
    hears(&mut stream, b"12").await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(220), "{took:?}");
}

#[tokio::test]
async fn a_target_that_does_not_listen_resets_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(target).await.unwrap();
    is_reset(&mut connect(&proxy).await).await;
}

#[tokio::test]
async fn nothing_listens_when_the_proxy_is_gone() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    says(&mut stream, b"before").await;
    let address = proxy.address();
    drop(proxy);
    let mut byte = [0];
    let ended = timeout(PATIENCE, stream.read(&mut byte)).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    assert!(TcpStream::connect(address).await.is_err());
}
