//! Ends jobs that succeeded, many with one transaction.
//!
//! Whatever has ended while the last transaction ran goes into the next one: at rest a job's end is
//! written at once, and under load the cost of a commit is shared. Each end is still fenced by its own
//! lease, and whoever did the work hears of its own job.

use std::{collections::HashSet, sync::Arc};

use mediamesh_store::{JobStore, job::Lease};
use tokio::sync::{mpsc, oneshot};

/// Ends in one transaction: some milliseconds of a database.
const MOST: usize = 500;

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
        tokio::spawn(write(jobs, ends));
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
        let lost: Option<HashSet<Lease>> = match jobs.complete_all(&leases).await {
            Ok(lost) => Some(lost.into_iter().collect()),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    jobs = leases.len(),
                    "the ends of jobs could not be stored"
                );
                None
            }
        };
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
