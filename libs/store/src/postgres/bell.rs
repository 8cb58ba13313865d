//! Tells workers of all processes that there is something to claim, by LISTEN and NOTIFY.
//!
//! A note goes out after the commit, in a transaction of its own, and at most one in a while: the
//! server commits transactions with notes one after the other, and the queue must not. A note that is
//! lost, because its process died or a listener was not connected, costs the wait until the next poll.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use diesel::{sql_query, sql_types::Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::AbortHandle};
use uuid::Uuid;

use super::Database;
use crate::error::{Error, Result};

/// Least time between two notes of a process: nobody sees the difference, and thousands of jobs a
/// second cost no more than 200 notes.
const RING_EVERY: Duration = Duration::from_millis(5);
/// Wait before a lost connection is made anew.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// Wait between tries while the server is away: polls find the jobs meanwhile.
const MAX_RECONNECT_AFTER: Duration = Duration::from_secs(30);

/// Rings in this process and in others. Cheap to clone; the last one that goes ends the tasks.
#[derive(Clone)]
pub(super) struct Bell(Arc<Inner>);

struct Inner {
    db: Database,
    /// Rings for the worker of this process.
    here: Arc<Notify>,
    /// Rings for the task that tells other processes.
    far: Arc<Notify>,
    /// Name of this process in its notes, which it need not hear.
    name: String,
    tells: AtomicBool,
    listens: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in self.tasks.get_mut() {
            task.abort();
        }
    }
}

impl Bell {
    pub(super) fn new(db: Database) -> Self {
        Self(Arc::new(Inner {
            db,
            here: Arc::default(),
            far: Arc::default(),
            name: Uuid::now_v7().simple().to_string(),
            tells: AtomicBool::new(false),
            listens: AtomicBool::new(false),
            tasks: Mutex::default(),
        }))
    }

    pub(super) fn ring(&self) {
        let inner = &self.0;
        inner.here.notify_one();
        inner.far.notify_one();
        if !inner.tells.swap(true, Ordering::Relaxed) {
            let (db, far, name) = (inner.db.clone(), Arc::clone(&inner.far), inner.name.clone());
            inner.spawn(tell(db, far, name));
        }
    }

    /// Waits for a ring of any process; the first call connects the listener.
    pub(super) async fn rung(&self) {
        let inner = &self.0;
        if !inner.listens.swap(true, Ordering::Relaxed) {
            let (db, here, name) = (
                inner.db.clone(),
                Arc::clone(&inner.here),
                inner.name.clone(),
            );
            inner.spawn(listen(db, here, name));
        }
        inner.here.notified().await;
    }
}

impl Inner {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(task).abort_handle();
        self.tasks.lock().push(handle);
    }
}

async fn tell(db: Database, far: Arc<Notify>, name: String) {
    loop {
        far.notified().await;
        let name = name.clone();
        let told = db.write("ring_jobs", move |conn| note(conn, name).boxed());
        if let Err(error) = told.await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "other processes were not told of new jobs"
            );
        }
        tokio::time::sleep(RING_EVERY).await;
    }
}

async fn note(conn: &mut AsyncPgConnection, name: String) -> Result<()> {
    sql_query("SELECT pg_notify('mediamesh_jobs', $1)")
        .bind::<Text, _>(name)
        .execute(conn)
        .await?;
    Ok(())
}

async fn listen(db: Database, here: Arc<Notify>, name: String) {
    let mut wait = RECONNECT_AFTER;
    loop {
        match hear(&db, &here, &name).await {
            Ok(()) => wait = RECONNECT_AFTER,
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "notes of new jobs are not heard"
                );
                wait = (wait * 2).min(MAX_RECONNECT_AFTER);
            }
        }
        tokio::time::sleep(wait).await;
    }
}

/// Hears until the connection ends.
async fn hear(db: &Database, here: &Notify, name: &str) -> Result<()> {
    let mut conn = db.dedicated().await?;
    conn.batch_execute("LISTEN mediamesh_jobs").await?;
    // what was told before nobody heard
    here.notify_one();
    let mut notes = std::pin::pin!(conn.notifications_stream());
    while let Some(note) = notes.next().await {
        if note.map_err(Error::from_diesel)?.payload != name {
            here.notify_one();
        }
    }
    Ok(())
}
