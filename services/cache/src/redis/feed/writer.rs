//! Writes changes to the feed, in order, until Redis has them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prost::Message as _;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{CHANGE, Change, ORIGIN};
use crate::redis::{connection::Connection, fault::Fault, store::Redis};

/// Changes that wait for Redis; beyond, all processes are told to drop everything.
const WAITING: usize = 8192;
/// Changes written at once.
const AT_ONCE: usize = 256;
/// Wait before writing again what Redis did not take.
const RETRY: Duration = Duration::from_millis(100);

struct Item {
    change: Change,
    written: oneshot::Sender<()>,
}

/// Hands changes to the task that writes them.
pub(crate) struct Writer {
    items: mpsc::Sender<Item>,
    overflown: Arc<AtomicBool>,
    patience: Duration,
}

/// What is to be written.
pub(crate) struct Queue {
    items: mpsc::Receiver<Item>,
    overflown: Arc<AtomicBool>,
}

impl Writer {
    pub(crate) fn new(patience: Duration) -> (Self, Queue) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let overflown = Arc::new(AtomicBool::new(false));
        let queue = Queue {
            items: receiver,
            overflown: Arc::clone(&overflown),
        };
        let writer = Self {
            items: sender,
            overflown,
            patience,
        };
        (writer, queue)
    }

    /// Writes a change; if `wait`, waits until Redis has it, but no longer than one call may take.
    /// It is written later if Redis is away.
    pub(crate) async fn tell(&self, change: Change, wait: bool) {
        let (written, done) = oneshot::channel();
        match self.items.try_send(Item { change, written }) {
            Ok(()) if wait => drop(timeout(self.patience, done).await),
            Ok(()) => {}
            Err(_) => self.overflown.store(true, Ordering::SeqCst),
        }
    }
}

/// Writes what comes, for as long as there is a [`Writer`].
pub(crate) async fn write(redis: Arc<Redis>, origin: String, mut queue: Queue) {
    let mut items = Vec::new();
    while queue.items.recv_many(&mut items, AT_ONCE).await > 0 {
        let mut changes: Vec<Vec<u8>> = (items.iter())
            .map(|item| item.change.encode_to_vec())
            .collect();
        loop {
            let overflown = queue.overflown.swap(false, Ordering::SeqCst);
            if overflown {
                changes.push(everything().encode_to_vec());
            }
            if append(&redis, &origin, &changes).await.is_ok() {
                break;
            }
            if overflown {
                changes.pop();
                queue.overflown.store(true, Ordering::SeqCst);
            }
            sleep(RETRY).await;
        }
        for item in items.drain(..) {
            // who waited may have given up
            let _ = item.written.send(());
        }
    }
}

fn everything() -> Change {
    Change {
        everything: true,
        ..Change::default()
    }
}

async fn append(redis: &Redis, origin: &str, changes: &[Vec<u8>]) -> Result<(), Fault> {
    redis
        .call("feed", changes.len(), async |mut connection: Connection| {
            let mut pipe = redis::pipe();
            for change in changes {
                pipe.cmd("XADD")
                    .arg(redis.keys.feed())
                    .arg("MAXLEN")
                    .arg("~")
                    .arg(redis.options.feed_length)
                    .arg("*")
                    .arg(ORIGIN)
                    .arg(origin)
                    .arg(CHANGE)
                    .arg(&change[..])
                    .ignore();
            }
            pipe.exec_async(&mut connection).await
        })
        .await
}
