//! Keeps leases alive from a thread of its own.
//!
//! The thread has its own small runtime, and what it tells the database goes over a connection of its
//! own where there are several: neither busy runtime threads, nor CPU work, nor a pool that others have
//! emptied can make a healthy worker look dead. A lease that is lost all the same cancels its attempt.

use std::{collections::HashMap, io, sync::Arc, thread, time::Duration};

use mediamesh_proto::JobId;
use mediamesh_store::{
    JobStore,
    job::{Lease, LeaseKeeper},
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

type Held = Arc<Mutex<HashMap<JobId, (Lease, CancellationToken)>>>;

/// The leases that this worker holds; dropping it ends the thread.
pub(crate) struct Heartbeat {
    held: Held,
    stop: CancellationToken,
}

impl Heartbeat {
    /// Starts the thread.
    ///
    /// Errors: the system allows no more threads.
    pub(crate) fn start(jobs: &dyn JobStore, every: Duration, lease: Duration) -> io::Result<Self> {
        let held: Held = Arc::default();
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut keeper = jobs.lease_keeper();
        let (leases, stopped) = (Arc::clone(&held), stop.clone());
        thread::Builder::new()
            .name("media-heartbeat".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    // Only the wait is cut short: a renewal under way ends, and with it its connection.
                    while stopped
                        .run_until_cancelled(tokio::time::sleep(every))
                        .await
                        .is_some()
                    {
                        renew(keeper.as_mut(), &leases, lease).await;
                    }
                });
            })?;
        Ok(Self { held, stop })
    }

    /// Keeps a lease alive until the guard is dropped.
    pub(crate) fn hold(&self, lease: Lease) -> HeldLease {
        let lost = CancellationToken::new();
        self.held.lock().insert(lease.job_id, (lease, lost.clone()));
        HeldLease {
            held: Arc::clone(&self.held),
            job_id: lease.job_id,
            lost,
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn renew(keeper: &mut dyn LeaseKeeper, held: &Held, lease: Duration) {
    let leases: Vec<Lease> = held.lock().values().map(|(lease, _)| *lease).collect();
    if leases.is_empty() {
        return;
    }
    match keeper.renew(&leases, lease).await {
        Ok(lost) => {
            let held = held.lock();
            for id in lost {
                if let Some((_, token)) = held.get(&id) {
                    tracing::warn!(job_id = %id, "lease lost, its attempt ends");
                    token.cancel();
                }
            }
        }
        // The next beat is soon, and several fit into a lease.
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "heartbeat failed"),
    }
}

/// A lease that is kept alive.
pub(crate) struct HeldLease {
    held: Held,
    job_id: JobId,
    lost: CancellationToken,
}

impl HeldLease {
    /// Completes when the lease is lost.
    pub(crate) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.held.lock().remove(&self.job_id);
    }
}
