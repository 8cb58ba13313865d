//! How many of the pool's connections may wait for one tenant.
//!
//! Writes of a tenant take turns by a lock of the server, and who waits for that holds a connection. Were
//! there no bound, one tenant whose lock is held by a process that was stopped would soon have all of
//! them, and every other tenant none.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mediamesh_proto::TenantId;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::error::{Error, Result};

/// Part of the pool that one tenant's writes may have.
const PART: usize = 4;

/// Who writes for which tenant; clones share it.
#[derive(Clone)]
pub(super) struct Turns {
    most: usize,
    writers: Arc<Mutex<HashMap<TenantId, Arc<Semaphore>>>>,
}

/// Room for one write of a tenant; given back when it is dropped.
pub(super) struct Turn {
    tenant: TenantId,
    turns: Turns,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// For a pool of so many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self {
            most: connections.div_ceil(PART).max(1),
            writers: Arc::default(),
        }
    }

    /// Waits for room.
    ///
    /// Errors: `Locked` if there is none in time.
    pub(super) async fn wait(&self, tenant: TenantId, patience: Duration) -> Result<Turn> {
        let room = {
            let mut writers = self.writers.lock();
            let new = || Arc::new(Semaphore::new(self.most));
            Arc::clone(writers.entry(tenant).or_insert_with(new))
        };
        let mut turn = Turn {
            tenant,
            turns: self.clone(),
            permit: None,
        };
        match timeout(patience, room.acquire_owned()).await {
            Ok(Ok(permit)) => turn.permit = Some(permit),
            Ok(Err(_)) | Err(_) => return Err(Error::Locked),
        }
        Ok(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut writers = self.turns.writers.lock();
        // clones are made under this lock only: nobody writes and nobody waits
        let unused = |room: &Arc<Semaphore>| Arc::strong_count(room) == 1;
        if writers.get(&self.tenant).is_some_and(unused) {
            writers.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_tenant_has_its_part_of_the_pool_and_leaves_nothing_behind() {
        let (turns, patience) = (Turns::new(8), Duration::from_millis(40));
        let [one, other] = [TenantId::generate(), TenantId::generate()];
        let first = turns.wait(one, patience).await.unwrap();
        let held = turns.wait(one, patience).await.unwrap();
        let late = turns.wait(one, patience).await.map(|_| ());
        assert!(matches!(late, Err(Error::Locked)), "{late:?}");
        drop(turns.wait(other, patience).await.unwrap());
        drop(first);
        let again = turns.wait(one, patience).await.unwrap();
        // one that goes away while it waits
        timeout(patience / 2, turns.wait(one, patience))
            .await
            .map(|_| ())
            .unwrap_err();
        drop((held, again));
        assert!(turns.writers.lock().is_empty());
    }
}
