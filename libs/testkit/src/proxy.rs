//! A TCP proxy in front of one endpoint, whose path can be cut, reset, slowed down and healed.
//!
//! What each fault looks like to the two ends:
//!
//! | fault | open connections | new connections |
//! |---|---|---|
//! | [`Proxy::cut`] | silent: nothing arrives, nothing is refused, no FIN, no RST | accepted, then silent |
//! | [`Proxy::reset`] | RST at once | accepted, then RST |
//! | [`Proxy::drop_connections`] | RST at once | served |
//! | [`Proxy::delay`] | every byte arrives later, in order | the same |
//!
//! A cut is what packets dropped in the network look like: bytes wait in the kernel's buffers as they
//! would wait for their retransmission, and arrive after [`Proxy::heal`].

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

mod pump;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// State of the path that a proxy stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Path {
    /// Nothing passes.
    cut: bool,
    /// Every connection is reset, new ones too.
    reset: bool,
    /// Time that a byte takes, each way.
    delay: Duration,
    /// Rises when all connections of the moment are to be reset.
    drops: u64,
}

/// A TCP proxy on loopback in front of one endpoint; it ends, and its connections with it, when it is
/// dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    path: watch::Sender<Path>,
    /// Connections that were accepted, and those that are open.
    counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl Proxy {
    /// Starts a proxy to `target` on a port of 127.0.0.1 chosen by the system.
    ///
    /// Errors: no port to be had. Must run inside a tokio runtime, which must outlive it.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        Self::bind(SocketAddr::from(([127, 0, 0, 1], 0)), target).await
    }

    /// Starts a proxy to `target` that listens at `address`; `target` need not listen yet.
    ///
    /// Errors: the address is in use.
    pub async fn bind(address: SocketAddr, target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("no proxy can listen at {address}"))?;
        let address = listener.local_addr()?;
        let (path, seen) = watch::channel(Path::default());
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(accept(listener, target, seen, Arc::clone(&counts)));
        Ok(Self {
            address,
            path,
            counts,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing pass any more and tells nobody.
    pub fn cut(&self) {
        self.path.send_modify(|path| path.cut = true);
    }

    /// Resets every connection, and new ones as soon as they are accepted, until [`Self::heal`].
    pub fn reset(&self) {
        self.path.send_modify(|path| path.reset = true);
    }

    /// Resets the connections of the moment.
    pub fn drop_connections(&self) {
        self.path.send_modify(|path| path.drops += 1);
    }

    /// Lets every byte take `delay` each way: a round trip takes twice as long.
    pub fn delay(&self, delay: Duration) {
        self.path.send_modify(|path| path.delay = delay);
    }

    /// Ends every fault; what was held back by a cut arrives.
    pub fn heal(&self) {
        self.path.send_modify(|path| {
            *path = Path {
                drops: path.drops,
                ..Path::default()
            };
        });
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Connections open at the moment.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts a connection as long as it lives.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.accepted.fetch_add(1, Ordering::SeqCst);
        counts.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    path: watch::Receiver<Path>,
    counts: Arc<Counts>,
) {
    // dropped with this task, and the connections with it
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let open = Open::new(&counts);
                let path = path.clone();
                connections.spawn(async move {
                    let _open = open;
                    connection(client, target, path).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection to its end.
async fn connection(client: TcpStream, target: SocketAddr, mut path: watch::Receiver<Path>) {
    let drops = path.borrow_and_update().drops;
    let dropped = {
        let mut path = path.clone();
        async move {
            // an error means that the proxy is gone
            let _ = path
                .wait_for(|path| path.reset || path.drops != drops)
                .await;
        }
    };
    let carried = async {
        let mut path = path.clone();
        // a cut path lets no SYN through either
        if path.wait_for(|path| !path.cut).await.is_err() {
            return None;
        }
        TcpStream::connect(target).await.ok()
    };
    tokio::pin!(dropped);
    let server = tokio::select! {
        biased;
        () = &mut dropped => None,
        server = carried => server,
    };
    let Some(server) = server else {
        // refused by the target, or reset here: to the client both are a lost connection
        abort(&client);
        return;
    };
    let set = [&client, &server].map(|stream| stream.set_nodelay(true));
    let ended = tokio::select! {
        () = &mut dropped => Err(io::ErrorKind::ConnectionReset.into()),
        ended = pump::both(&client, &server, &path) => ended,
    };
    if ended.is_err() || set.iter().any(Result::is_err) {
        abort(&client);
        abort(&server);
    }
}

/// Makes the coming close of `stream` a RST.
fn abort(stream: &TcpStream) {
    // one that fails has been closed by its peer already
    let _ = stream.set_zero_linger();
}
