use std::time::Duration;

use super::*;
use crate::{JobStore as _, error::Error, job::JobState};

const LEASE: Duration = Duration::from_secs(60);

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
        store.heartbeat(&[first.lease()], LEASE).await.unwrap(),
        [first.id]
    );
    assert!(
        store
            .heartbeat(&[second.lease()], LEASE)
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
    assert_eq!(store.sweep(i64::MAX).await.unwrap(), 1);
    let left = store.list_jobs(TENANT, None, None, 10).await.unwrap();
    assert_eq!(left.iter().map(|job| job.id).collect::<Vec<_>>(), [waiting]);
}
