use std::time::Duration;

use mediamesh_proto::time::now_micros;

use super::*;
use crate::{
    JobStore as _,
    error::Error,
    job::{AGING_PER_PRIORITY, Job, JobFilter, JobKind, JobState, Progress, Sweep},
};

const LEASE: Duration = Duration::from_secs(60);
const ALL: Sweep = Sweep {
    succeeded_before: i64::MAX,
    cancelled_before: i64::MAX,
    failed_before: i64::MAX,
    limit: 9,
};

#[tokio::test]
async fn urgent_jobs_go_first() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let slow = store
        .enqueue(NewJob {
            priority: 9,
            ..job(None)
        })
        .await
        .unwrap();
    let fast = store
        .enqueue(NewJob {
            priority: 1,
            ..job(None)
        })
        .await
        .unwrap();
    let claimed = store.claim("w", LEASE, 1).await.unwrap();
    assert_eq!(claimed.iter().map(|job| job.id).collect::<Vec<_>>(), [fast]);
    assert_eq!(store.claim("w", LEASE, 9).await.unwrap()[0].id, slow);
    assert!(store.claim("w", LEASE, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_the_current_lease_may_write() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    store.enqueue(job(None)).await.unwrap();
    let first = store
        .claim("w1", Duration::ZERO, 1)
        .await
        .unwrap()
        .remove(0);
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(store.rescue(false).await.unwrap(), 1);
    let second = store.claim("w2", LEASE, 1).await.unwrap().remove(0);
    assert_eq!((second.id, second.attempts), (first.id, 2));
    assert!(matches!(
        store.complete(&first.lease()).await,
        Err(Error::LeaseLost { .. })
    ));
    assert_eq!(
        store
            .lease_keeper()
            .renew(&[first.lease()], LEASE)
            .await
            .unwrap(),
        [first.id]
    );
    assert!(
        store
            .lease_keeper()
            .renew(&[second.lease()], LEASE)
            .await
            .unwrap()
            .is_empty()
    );
    store.complete(&second.lease()).await.unwrap();
    let done = store.get_job(TENANT, second.id).await.unwrap().unwrap();
    assert_eq!(done.state, JobState::Succeeded);
    assert!(store.get_job(STRANGER, second.id).await.unwrap().is_none());
}

#[tokio::test]
async fn retried_job_waits_for_its_time() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    store.enqueue(job(None)).await.unwrap();
    let claimed = store.claim("w", LEASE, 1).await.unwrap().remove(0);
    store
        .retry(&claimed.lease(), "no luck", LEASE)
        .await
        .unwrap();
    assert!(store.claim("w", LEASE, 1).await.unwrap().is_empty());
    let stats = store.queue_stats(Some(TENANT)).await.unwrap();
    assert_eq!((stats.waiting, stats.delayed), (0, 1));
    let kept = store.get_job(TENANT, claimed.id).await.unwrap().unwrap();
    assert_eq!(kept.last_error, "no luck");
}

#[tokio::test]
async fn unique_job_waits_once() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let unique = || NewJob {
        unique_key: Some("k".into()),
        ..job(None)
    };
    let first = store.enqueue(unique()).await.unwrap();
    assert_eq!(store.enqueue(unique()).await.unwrap(), first);
    let claimed = store.claim("w", LEASE, 1).await.unwrap().remove(0);
    let next = store.enqueue(unique()).await.unwrap();
    assert_ne!(next, first);
    // The running one fails and waits again beside its twin.
    store
        .retry(&claimed.lease(), "again", Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(store.claim("w", LEASE, 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn ended_jobs_are_swept() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    store.enqueue(job(None)).await.unwrap();
    let waiting = store
        .enqueue(NewJob {
            priority: 9,
            ..job(None)
        })
        .await
        .unwrap();
    let claimed = store.claim("w", LEASE, 1).await.unwrap().remove(0);
    store.fail(&claimed.lease(), "broken").await.unwrap();
    assert_eq!(store.sweep(ALL).await.unwrap(), 1);
    let left = store
        .list_jobs(TENANT, JobFilter::default(), None, 10)
        .await
        .unwrap();
    assert_eq!(left.iter().map(|job| job.id).collect::<Vec<_>>(), [waiting]);
}

#[tokio::test]
async fn an_attempt_that_is_handed_back_does_not_count() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    store.enqueue(job(None)).await.unwrap();
    for _ in 0..5 {
        let claimed = store.claim("w", LEASE, 1).await.unwrap().remove(0);
        assert_eq!(claimed.attempts, 1);
        store.hand_back(&claimed.lease()).await.unwrap();
        // its worker is gone; what it says later is refused
        assert!(matches!(
            store.complete(&claimed.lease()).await,
            Err(Error::LeaseLost { .. })
        ));
    }
}

#[tokio::test]
async fn a_low_priority_ages_into_its_turn() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let with = |priority| NewJob {
        priority,
        ..job(None)
    };
    let (old, fresh) = (with(9), with(1));
    let order = [old.id, fresh.id];
    let aged = i64::try_from((8 * AGING_PER_PRIORITY).as_micros()).unwrap() + 1;
    let long_ago = now_micros() - aged;
    store.enqueue(fresh).await.unwrap();
    store
        .db
        .write("enqueue_job", move |conn| {
            Box::pin(super::super::jobs::enqueue(conn, old, long_ago))
        })
        .await
        .unwrap();
    let claimed = store.claim("w", LEASE, 9).await.unwrap();
    assert_eq!(claimed.iter().map(|job| job.id).collect::<Vec<_>>(), order);
}

#[tokio::test]
async fn progress_is_told_in_steps_and_only_by_who_holds_the_lease() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let id = store.enqueue(job(None)).await.unwrap();
    let first = store
        .claim("w1", Duration::ZERO, 1)
        .await
        .unwrap()
        .remove(0);
    tokio::time::sleep(Duration::from_millis(5)).await;
    store.rescue(false).await.unwrap();
    let second = store.claim("w2", LEASE, 1).await.unwrap().remove(0);
    let half = Progress::of(2, 4, "storing");
    store.progress(&second.lease(), half.clone()).await.unwrap();
    let late = Progress::of(1, 4, "late");
    store.progress(&first.lease(), late).await.unwrap();
    let known = store.get_job(TENANT, id).await.unwrap().unwrap();
    assert_eq!((known.progress.share(), known.progress), (0.5, half));
    store.complete(&second.lease()).await.unwrap();
    let done = store.get_job(TENANT, id).await.unwrap().unwrap();
    assert_eq!(done.progress, Progress::of(4, 4, "storing"));
}

#[tokio::test]
async fn a_page_of_jobs_is_of_the_kind_and_state_that_was_asked_for() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let other = NewJob {
        kind: JobKind::EmbedMedia,
        ..job(None)
    };
    let embed = store.enqueue(other).await.unwrap();
    let process = store.enqueue(job(None)).await.unwrap();
    for (kind, wanted) in [(1, process), (2, embed)] {
        let filter = JobFilter {
            kind: Some(kind),
            state: Some(1),
        };
        let found = store.list_jobs(TENANT, filter, None, 9).await.unwrap();
        assert_eq!(found.iter().map(|job| job.id).collect::<Vec<_>>(), [wanted]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_ends_are_written_at_once_and_each_is_fenced() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let jobs = (0..40).map(|_| job(None)).collect();
    store.enqueue_all(jobs).await.unwrap();
    // some were claimed once, some twice, and some by somebody else meanwhile
    let stale = store.claim("w1", Duration::ZERO, 10).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(store.rescue(false).await.unwrap(), 10);
    let fresh = store.claim("w2", LEASE, 99).await.unwrap();
    assert_eq!(fresh.len(), 40);
    let cancelled = fresh[39].id;
    store.cancel_job(TENANT, cancelled).await.unwrap();
    let old: Vec<_> = stale.iter().map(Job::lease).collect();
    let lost = store.complete_all(&old).await.unwrap();
    assert_eq!(lost.len(), 10);
    assert_eq!(
        store.lease_keeper().renew(&old, LEASE).await.unwrap().len(),
        10
    );
    let mut leases: Vec<_> = fresh.iter().map(Job::lease).collect();
    leases.extend(&old);
    // many at once, in any order, while signs of life go on
    let racers = leases.chunks(7).map(|chunk| {
        let (store, mut chunk) = (store.clone(), chunk.to_vec());
        tokio::spawn(async move {
            store.lease_keeper().renew(&chunk, LEASE).await.unwrap();
            chunk.reverse();
            store.complete_all(&chunk).await.unwrap()
        })
    });
    let lost = futures::future::try_join_all(racers).await.unwrap();
    let lost: Vec<_> = lost.into_iter().flatten().collect();
    assert_eq!(lost.len(), 11, "{lost:?}");
    assert!(lost.iter().any(|lease| lease.job_id == cancelled));
    let stats = store.queue_stats(Some(TENANT)).await.unwrap();
    assert_eq!((stats.completed, stats.cancelled, stats.active), (39, 1, 0));
    assert!(store.complete_all(&[]).await.unwrap().is_empty());
}
