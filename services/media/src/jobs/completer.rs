//! Ends jobs that succeeded, many with one transaction.
//!
//! Whatever has ended while the last transaction ran goes into the next one: at rest a job's end is
//! written at once, and under load the cost of a commit is shared. Each end is still fenced by its own
//! lease, and whoever did the work hears of its own job.

use std::{collections::HashSet, sync::Arc, time::Duration};

use mediamesh_mesh::priority;
use mediamesh_store::{JobStore, job::Lease};
use tokio::sync::{mpsc, oneshot};

/// Ends in one transaction: some milliseconds of a database.
const MOST: usize = 500;
/// Waits before a batch that failed is tried again: together far shorter than a lease, which is
/// renewed all the while.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// What became of the end of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is stored.
    Kept,
    /// Somebody else has the job, or nobody needs it.
    Lost,
    /// The store failed: the lease runs out and the job is claimed again.
    Failed,
}

struct End {
    lease: Lease,
    answer: oneshot::Sender<Written>,
}

/// Takes the ends of jobs; clones share it.
#[derive(Clone)]
pub(crate) struct Completer(mpsc::Sender<End>);

impl Completer {
    /// Starts the task that writes; it ends when the last clone is gone.
    pub(crate) fn start(jobs: Arc<dyn JobStore>) -> Self {
        let (sender, ends) = mpsc::channel(MOST);
        tokio::spawn(priority::background(write(jobs, ends)));
        Self(sender)
    }

    /// Ends a job with success.
    pub(crate) async fn complete(&self, lease: Lease) -> Written {
        let (answer, written) = oneshot::channel();
        if self.0.send(End { lease, answer }).await.is_err() {
            return Written::Failed;
        }
        written.await.unwrap_or(Written::Failed)
    }
}

async fn write(jobs: Arc<dyn JobStore>, mut ends: mpsc::Receiver<End>) {
    let mut batch = Vec::with_capacity(MOST);
    while ends.recv_many(&mut batch, MOST).await > 0 {
        let leases: Vec<Lease> = batch.iter().map(|end| end.lease).collect();
        let lost = end(jobs.as_ref(), &leases).await;
        for End { lease, answer } in batch.drain(..) {
            let written = match &lost {
                None => Written::Failed,
                Some(lost) if lost.contains(&lease) => Written::Lost,
                Some(_) => Written::Kept,
            };
            // who waited may be gone at shutdown
            let _ = answer.send(written);
        }
    }
}

/// Ends jobs, and tries again if the store fails: an end that was stored all the same is refused the
/// second time. Answers the leases that are lost; none if it failed each time.
async fn end(jobs: &dyn JobStore, leases: &[Lease]) -> Option<HashSet<Lease>> {
    let mut waits = AGAIN_AFTER.into_iter();
    loop {
        let error = match jobs.complete_all(leases).await {
            Ok(lost) => return Some(lost.into_iter().collect()),
            Err(error) => error,
        };
        let wait = waits.next();
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            jobs = leases.len(),
            again = wait.is_some(),
            "the ends of jobs could not be stored"
        );
        tokio::time::sleep(wait?).await;
    }
}
