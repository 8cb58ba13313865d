use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mediamesh_proto::{JobId, TenantId};

use super::*;
use crate::{
    JobStore as _,
    job::{JobKind, Lease, NewJob},
};

const LEASE: Duration = Duration::from_secs(60);
/// Steps of a tree that need nothing; one more needs all of them.
const FIRST: usize = 36;
const BATCHES: usize = 12;

/// Queues a tree for a tenant; answers its last step.
async fn queue(store: &Store, tenant: TenantId) -> JobId {
    let ids: Vec<JobId> = (0..=FIRST).map(|_| JobId::generate()).collect();
    let step = |(place, id): (usize, &JobId)| NewJob {
        id: *id,
        tree_id: Some(ids[0]),
        needs: match place {
            FIRST => ids[..FIRST].to_vec(),
            _ => Vec::new(),
        },
        ..NewJob::new(tenant, JobKind::EmbedMedia)
    };
    let jobs = ids.iter().enumerate().map(step).collect();
    store.enqueue_all(jobs).await.unwrap();
    ids[FIRST]
}

async fn claim(store: &Store) -> Vec<Lease> {
    let claimed = store.claim("w", LEASE, 999).await.unwrap();
    let mut leases: Vec<Lease> = claimed.iter().map(|job| job.lease()).collect();
    leases.sort_by_key(|lease| lease.job_id.0);
    leases
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_in_any_order_do_not_wait_for_each_other_or_for_renewals() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    for _ in 0..3 {
        let tenants = [TENANT, STRANGER, TenantId(uuid::Uuid::from_u128(3))];
        let mut last = Vec::new();
        for tenant in tenants {
            last.push(queue(&store, tenant).await);
        }
        let leases = claim(&store).await;
        assert_eq!(leases.len(), FIRST * tenants.len());
        let ended = Arc::new(AtomicBool::new(false));
        let renewals = (0..2).map(|_| {
            let (store, leases, ended) = (store.clone(), leases.clone(), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut keeper = store.lease_keeper();
                while !ended.load(Ordering::Relaxed) {
                    keeper.renew(&leases, LEASE).await.unwrap();
                }
            })
        });
        let renewals: Vec<_> = renewals.collect();
        // each holds steps of every tree, every other one backwards, and each step is in two of them
        let batches = (0..2 * BATCHES).map(|place| {
            let batch = leases.iter().skip(place % BATCHES).step_by(BATCHES);
            let mut batch: Vec<Lease> = batch.copied().collect();
            if place % 2 == 1 {
                batch.reverse();
            }
            if place >= BATCHES {
                batch.rotate_left(2);
            }
            let store = store.clone();
            tokio::spawn(async move { store.complete_all(&batch).await.unwrap().len() })
        });
        let lost = futures::future::try_join_all(batches).await;
        ended.store(true, Ordering::Relaxed);
        futures::future::try_join_all(renewals).await.unwrap();
        let lost: usize = lost.unwrap().iter().sum();
        assert_eq!(lost, leases.len());
        // every end was counted once, so the last steps are free
        let free = claim(&store).await;
        let ids: Vec<JobId> = free.iter().map(|lease| lease.job_id).collect();
        last.sort_by_key(|id| id.0);
        assert_eq!(ids, last);
        assert!(store.complete_all(&free).await.unwrap().is_empty());
    }
}
