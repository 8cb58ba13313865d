use std::{collections::HashMap, time::Duration};

use mediamesh_proto::TenantId;
use uuid::Uuid;

use super::*;
use crate::{
    JobStore as _,
    job::{Job, JobKind},
    limit::{Bound, ClaimLimits, Limit, Limits, Reached},
};

const LEASE: Duration = Duration::from_secs(60);
const EMBED: JobKind = JobKind::EmbedMedia;
const PROCESS: JobKind = JobKind::ProcessMedia;

fn running(all: Option<i64>, tenant: Option<i64>) -> Limits {
    let limit = |running| Limit {
        running,
        per_minute: None,
    };
    Limits {
        all: limit(all),
        tenant: limit(tenant),
    }
}

fn per_minute(all: Option<i64>, tenant: Option<i64>) -> Limits {
    let limit = |per_minute| Limit {
        running: None,
        per_minute,
    };
    Limits {
        all: limit(all),
        tenant: limit(tenant),
    }
}

fn of_all(jobs: Limits) -> ClaimLimits {
    ClaimLimits {
        jobs,
        kinds: Vec::new(),
    }
}

fn of_kind(kind: JobKind, limits: Limits) -> ClaimLimits {
    ClaimLimits {
        jobs: Limits::default(),
        kinds: vec![(kind, limits)],
    }
}

async fn queue(store: &Store, tenant: TenantId, kind: JobKind, count: usize) {
    for _ in 0..count {
        store.enqueue(NewJob::new(tenant, kind)).await.unwrap();
    }
}

async fn claim(store: &Store, limit: i64, limits: &ClaimLimits) -> Vec<Job> {
    let claimed = store.claim_within("w", LEASE, limit, limits.clone()).await;
    claimed.unwrap()
}

async fn complete(store: &Store, jobs: &[Job]) {
    for job in jobs {
        store.complete(&job.lease()).await.unwrap();
    }
}

/// Jobs by tenant and kind.
fn counts(jobs: &[Job]) -> HashMap<(TenantId, JobKind), usize> {
    let mut counts = HashMap::new();
    for job in jobs {
        *counts.entry((job.tenant_id, job.kind)).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn as_many_run_as_may_and_a_free_place_is_taken() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    queue(&store, TENANT, PROCESS, 5).await;
    queue(&store, STRANGER, PROCESS, 1).await;
    let limits = of_all(running(None, Some(2)));
    let first = claim(&store, 9, &limits).await;
    let counted = counts(&first);
    assert_eq!(counted[&(TENANT, PROCESS)], 2);
    assert_eq!(counted[&(STRANGER, PROCESS)], 1);
    assert!(claim(&store, 9, &limits).await.is_empty());
    let ours = first.iter().find(|job| job.tenant_id == TENANT).unwrap();
    store.complete(&ours.lease()).await.unwrap();
    assert_eq!(claim(&store, 9, &limits).await.len(), 1);
    // over all tenants: two of ours run, and the stranger's
    let limits = of_all(running(Some(4), None));
    assert_eq!(claim(&store, 9, &limits).await.len(), 1);
    assert!(claim(&store, 9, &limits).await.is_empty());
}

#[tokio::test]
async fn a_kind_that_is_full_is_not_in_the_way_of_others() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    queue(&store, TENANT, EMBED, 20).await;
    queue(&store, TENANT, PROCESS, 3).await;
    queue(&store, STRANGER, EMBED, 1).await;
    let limits = of_kind(EMBED, running(Some(2), Some(1)));
    let counted = counts(&claim(&store, 9, &limits).await);
    assert_eq!(counted[&(TENANT, EMBED)], 1);
    assert_eq!(counted[&(STRANGER, EMBED)], 1);
    assert_eq!(counted[&(TENANT, PROCESS)], 3);
    assert!(claim(&store, 9, &limits).await.is_empty());
    let reached = store.reached_limits(Some(TENANT), limits.clone()).await;
    let reached: Vec<_> = reached.unwrap();
    let told: Vec<_> = reached
        .iter()
        .map(|found| (found.scope.tenant, found.scope.kind, found.bound))
        .collect();
    let expected = [
        (None, Some(EMBED), Bound::Running),
        (Some(TENANT), Some(EMBED), Bound::Running),
    ];
    assert_eq!(told, expected);
    let numbers = |found: &Reached| (found.limit, found.held_back);
    assert_eq!(
        reached.iter().map(numbers).collect::<Vec<_>>(),
        [(2, 19), (1, 19)]
    );
    let stranger = store.reached_limits(Some(STRANGER), limits).await;
    assert!(stranger.unwrap().is_empty(), "nothing of it waits");
}

#[tokio::test]
async fn a_tenant_with_ten_thousand_jobs_starves_nobody() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    queue(&store, TENANT, PROCESS, 300).await;
    queue(&store, STRANGER, PROCESS, 1).await;
    let none = ClaimLimits::default();
    // one place at a time, and work that is over at once: in two turns everybody had one
    let mut served = Vec::new();
    for _ in 0..2 {
        let claimed = claim(&store, 1, &none).await;
        complete(&store, &claimed).await;
        served.push(claimed[0].tenant_id);
    }
    assert!(served.contains(&STRANGER), "{served:?}");

    // many places: half of them each, and what one does not need the other gets
    queue(&store, STRANGER, PROCESS, 7).await;
    let counted = counts(&claim(&store, 10, &none).await);
    assert_eq!(counted[&(TENANT, PROCESS)], 5);
    assert_eq!(counted[&(STRANGER, PROCESS)], 5);
    let counted = counts(&claim(&store, 10, &none).await);
    assert_eq!(counted[&(TENANT, PROCESS)], 8);
    assert_eq!(counted[&(STRANGER, PROCESS)], 2);
    // who comes now has nothing running, so the next places are its own
    let third = TenantId(Uuid::from_u128(3));
    queue(&store, third, PROCESS, 4).await;
    let counted = counts(&claim(&store, 4, &none).await);
    assert_eq!(counted[&(third, PROCESS)], 4);
}

#[tokio::test]
async fn a_hundred_tenants_are_served_in_a_hundred_turns() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    queue(&store, TENANT, PROCESS, 120).await;
    let others = (10..110).map(|n| TenantId(Uuid::from_u128(n)));
    for tenant in others.clone() {
        queue(&store, tenant, EMBED, 1).await;
    }
    let none = ClaimLimits::default();
    let mut served = Vec::new();
    for _ in 0..26 {
        let claimed = claim(&store, 4, &none).await;
        complete(&store, &claimed).await;
        served.extend(claimed);
    }
    let counted = counts(&served);
    for tenant in others {
        assert_eq!(counted.get(&(tenant, EMBED)), Some(&1), "{tenant}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_do_not_give_away_a_place_twice() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    queue(&store, TENANT, PROCESS, 60).await;
    queue(&store, STRANGER, PROCESS, 60).await;
    let mut limits = of_all(running(Some(7), Some(5)));
    limits.jobs.tenant.per_minute = Some(60 * 4);
    let racers = (0..8).map(|_| {
        let (store, limits) = (store.clone(), limits.clone());
        tokio::spawn(async move { claim(&store, 3, &limits).await })
    });
    let claimed = futures::future::try_join_all(racers).await.unwrap();
    let claimed: Vec<Job> = claimed.into_iter().flatten().collect();
    let counted = counts(&claimed);
    assert_eq!(claimed.len(), 7, "{counted:?}");
    assert!(counted.values().all(|count| *count <= 4), "{counted:?}");
}

#[tokio::test]
async fn the_places_of_a_dead_worker_come_back_with_its_leases() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    queue(&store, TENANT, PROCESS, 4).await;
    let limits = of_all(running(Some(2), None));
    let short = Duration::from_millis(150);
    let dead = store.claim_within("dead", short, 9, limits.clone()).await;
    assert_eq!(dead.unwrap().len(), 2);
    assert!(claim(&store, 9, &limits).await.is_empty());
    tokio::time::sleep(2 * short).await;
    // before anybody has rescued its jobs
    assert_eq!(claim(&store, 9, &limits).await.len(), 2);
    assert_eq!(store.rescue(false).await.unwrap(), 2);
    assert!(claim(&store, 9, &limits).await.is_empty());
}

#[tokio::test]
async fn starts_are_spread_over_the_minute() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    queue(&store, TENANT, EMBED, 40).await;
    queue(&store, STRANGER, EMBED, 1).await;
    queue(&store, TENANT, PROCESS, 2).await;
    // two at once, and ten in a second
    let limits = of_kind(EMBED, per_minute(None, Some(600)));
    let first = claim(&store, 99, &limits).await;
    let counted = counts(&first);
    assert_eq!(counted[&(TENANT, EMBED)], 10);
    assert_eq!(counted[&(STRANGER, EMBED)], 1);
    assert_eq!(counted[&(TENANT, PROCESS)], 2);
    // that they ended makes no room
    complete(&store, &first).await;
    let reached = store.reached_limits(Some(TENANT), limits.clone()).await;
    let reached: Vec<_> = reached.unwrap();
    assert!(
        matches!(
            reached[..],
            [Reached {
                bound: Bound::Starts,
                limit: 600,
                held_back: 30,
                ..
            }]
        ),
        "{reached:?}"
    );
    tokio::time::sleep(Duration::from_millis(550)).await;
    let more = claim(&store, 99, &limits).await.len();
    assert!((5..=8).contains(&more), "{more}");
}

#[tokio::test]
async fn what_waits_for_its_time_or_is_paused_takes_no_place() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    queue(&store, TENANT, PROCESS, 2).await;
    queue(&store, TENANT, EMBED, 2).await;
    let limits = of_all(running(Some(2), Some(2)));
    store.pause(TENANT, Some(PROCESS), None).await.unwrap();
    let claimed = claim(&store, 9, &limits).await;
    assert_eq!(counts(&claimed)[&(TENANT, EMBED)], 2);
    for job in &claimed {
        store.retry(&job.lease(), "no luck", LEASE).await.unwrap();
    }
    assert!(claim(&store, 9, &limits).await.is_empty());
    store.resume(TENANT, Some(PROCESS)).await.unwrap();
    assert_eq!(claim(&store, 9, &limits).await.len(), 2);
}
