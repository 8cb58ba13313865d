//! Handshakes of a listener: all at once, each in a task of its own and none for long, so that those
//! who connect and say nothing keep nobody out.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::server::TlsStream;

use super::ServerTls;

/// Connections whose hands are shaken and that the server has not taken yet.
const FINISHED: usize = 64;
/// Pause after an accept that failed for want of descriptors: they come back only with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Shakes hands with everybody who connects, at most `most` at once; those who fail are left out.
pub(super) fn shaken(
    tls: ServerTls,
    tcp: impl Stream<Item = io::Result<TcpStream>> + Send + 'static,
    most: usize,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let (done, finished) = mpsc::channel(FINISHED);
    tokio::spawn(accept(tls, tcp, done, Running::at_most(most)));
    stream::unfold(finished, |mut finished| async {
        let stream = finished.recv().await?;
        Some((Ok(stream), finished))
    })
}

/// Accepts until the listener or whoever takes the connections is gone.
async fn accept(
    tls: ServerTls,
    tcp: impl Stream<Item = io::Result<TcpStream>> + Send + 'static,
    done: mpsc::Sender<TlsStream<TcpStream>>,
    mut running: Running,
) {
    let mut tcp = std::pin::pin!(tcp);
    loop {
        let accepted = tokio::select! {
            accepted = tcp.next() => accepted,
            () = done.closed() => return,
        };
        match accepted {
            Some(Ok(tcp)) => running.begin(shake(tls.clone(), tcp, done.clone())),
            Some(Err(error)) => {
                tracing::warn!(%error, "connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            None => return,
        }
    }
}

async fn shake(tls: ServerTls, tcp: TcpStream, done: mpsc::Sender<TlsStream<TcpStream>>) {
    let peer = tcp.peer_addr().ok();
    match tls.accept(tcp).await {
        // If nobody takes it, the server is gone.
        Ok(stream) => drop(done.send(stream).await),
        Err(error) => tracing::debug!(%error, ?peer, "tls handshake failed"),
    }
}

/// Handshakes in flight, oldest first.
struct Running {
    tasks: VecDeque<AbortHandle>,
    most: usize,
}

impl Running {
    fn at_most(most: usize) -> Self {
        let tasks = VecDeque::new();
        Self { tasks, most }
    }

    /// Begins one; the oldest makes room, since an honest one takes milliseconds.
    fn begin(&mut self, handshake: impl Future<Output = ()> + Send + 'static) {
        if self.tasks.len() >= self.most {
            self.tasks.retain(|running| !running.is_finished());
        }
        if self.tasks.len() >= self.most
            && let Some(oldest) = self.tasks.pop_front()
        {
            oldest.abort();
        }
        self.tasks.push_back(tokio::spawn(handshake).abort_handle());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for running in &self.tasks {
            running.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rcgen::{CertificateParams, KeyPair};
    use tokio::net::TcpListener;
    use tokio::time::timeout;
    use tokio_stream::wrappers::TcpListenerStream;

    use super::*;
    use crate::tls::{Tls, TlsOptions};

    #[tokio::test]
    async fn the_oldest_handshake_makes_room() {
        let mut running = Running::at_most(3);
        running.begin(async {});
        tokio::task::yield_now().await;
        for _ in 0..3 {
            running.begin(std::future::pending());
        }
        // the one that had ended made room for the last
        assert!(running.tasks.iter().all(|running| !running.is_finished()));
        let (first, second) = (running.tasks[0].clone(), running.tasks[1].clone());
        running.begin(std::future::pending());
        tokio::task::yield_now().await;
        assert!(first.is_finished() && !second.is_finished());
        assert_eq!(running.tasks.len(), 3);
    }

    /// A process that trusts itself.
    fn tls(dir: &std::path::Path) -> Tls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["here".to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        let file = |name: &str, text: String| {
            std::fs::write(dir.join(name), text).unwrap();
            Some(dir.join(name))
        };
        let options = TlsOptions {
            ca: file("ca.pem", cert.clone()),
            cert: file("cert.pem", cert),
            key: file("key.pem", key.serialize_pem()),
            ..TlsOptions::default()
        };
        Tls::open(&options).unwrap().unwrap()
    }

    #[tokio::test]
    async fn who_connects_and_says_nothing_keeps_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        let tls = tls(dir.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = shaken(tls.server(), TcpListenerStream::new(listener), 4);
        let mut incoming = Box::pin(incoming);
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let client = tls.client();
        let honest = async {
            let tcp = TcpStream::connect(address).await.unwrap();
            client.connect("here", tcp).await.unwrap()
        };
        // far below the limit of a handshake
        let second = Duration::from_secs(1);
        let both = futures::future::join(honest, incoming.next());
        let (_client, server) = timeout(second, both).await.unwrap();
        server.unwrap().unwrap();
    }
}
