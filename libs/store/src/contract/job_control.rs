//! What operators do with jobs.

use std::time::Duration;

use mediamesh_proto::{JobId, time::now_micros};

use super::*;
use crate::{
    JobStore as _,
    error::Error,
    job::{Job, JobKind, JobState, Pause, Sweep, Turned, UniquePeriod},
    media::State,
};

const LEASE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const ALL: Sweep = Sweep {
    succeeded_before: i64::MAX,
    cancelled_before: i64::MAX,
    failed_before: i64::MAX,
    limit: 9,
};

async fn claim(store: &Store) -> Vec<Job> {
    store.claim("w", LEASE, 9).await.unwrap()
}

async fn state(store: &Store, id: JobId) -> JobState {
    store.get_job(TENANT, id).await.unwrap().unwrap().state
}

/// Queues a job and ends it with failure.
async fn dead_letter(store: &Store, new: NewJob) -> JobId {
    let id = store.enqueue(new).await.unwrap();
    let claimed = claim(store).await.remove(0);
    assert_eq!(claimed.id, id);
    store.fail(&claimed.lease(), "broken").await.unwrap();
    id
}

fn within(key: &str, length: Duration) -> NewJob {
    NewJob {
        period: Some(UniquePeriod {
            key: key.to_owned(),
            length,
            states: UniquePeriod::STATES.to_vec(),
        }),
        ..job(None)
    }
}

#[tokio::test]
async fn the_same_work_is_queued_once_in_its_period_even_when_it_is_done() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let first = store.enqueue(within("k", HOUR)).await.unwrap();
    assert_eq!(store.enqueue(within("k", HOUR)).await.unwrap(), first);
    let running = claim(&store).await.remove(0);
    assert_eq!(store.enqueue(within("k", HOUR)).await.unwrap(), first);
    // tried again, it is still the one
    store
        .retry(&running.lease(), "no luck", Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(store.enqueue(within("k", HOUR)).await.unwrap(), first);
    let running = claim(&store).await.remove(0);
    store.complete(&running.lease()).await.unwrap();
    assert_eq!(store.enqueue(within("k", HOUR)).await.unwrap(), first);
    // the sweep leaves it while its period goes on
    assert_eq!(store.sweep(ALL).await.unwrap(), 0);

    let other = store.enqueue(within("l", HOUR)).await.unwrap();
    assert_ne!(other, first);
    let of_stranger = NewJob {
        tenant_id: STRANGER,
        ..within("k", HOUR)
    };
    assert_ne!(store.enqueue(of_stranger).await.unwrap(), first);
}

#[tokio::test]
async fn a_period_ends_and_what_failed_does_not_count() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let short = Duration::from_millis(30);
    let first = store.enqueue(within("k", short)).await.unwrap();
    tokio::time::sleep(2 * short).await;
    let second = store.enqueue(within("k", short)).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(claim(&store).await.len(), 2);

    let failed = dead_letter(&store, within("f", HOUR)).await;
    let again = store.enqueue(within("f", HOUR)).await.unwrap();
    assert_ne!(again, failed);
    let mut any_state = within("f", HOUR);
    let period = any_state.period.as_mut().unwrap();
    period.states = vec![JobState::Failed];
    assert_eq!(store.enqueue(any_state).await.unwrap(), failed);
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_and_its_item_does_not_wait_for_ever() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let filter = crate::job::JobFilter::default();
    let id = store.list_jobs(TENANT, filter, None, 1).await.unwrap()[0].id;
    assert!(store.cancel_job(STRANGER, id).await.unwrap().is_none());
    for _ in 0..2 {
        let cancelled = store.cancel_job(TENANT, id).await.unwrap();
        assert!(matches!(cancelled, Some(Turned::Done(job)) if job.state == JobState::Cancelled));
    }
    assert!(claim(&store).await.is_empty());
    let item = store.get_items(TENANT, &[item.id]).await.unwrap().remove(0);
    assert_eq!(
        (item.state, item.failure_reason.as_str()),
        (State::Failed, "ERROR_REASON_CANCELLED")
    );
    // queued again, it is processed as if nothing had been
    let again = store.requeue_job(TENANT, id).await.unwrap();
    assert!(matches!(again, Some(Turned::Done(_))));
    finish(&store, &item, processed(4, 3)).await;
    let item = store.get_items(TENANT, &[item.id]).await.unwrap().remove(0);
    assert_eq!(
        (item.state, item.failure_reason.as_str()),
        (State::Ready, "")
    );
}

#[tokio::test]
async fn a_running_job_that_is_cancelled_writes_nothing_any_more() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let running = claim(&store).await.remove(0);
    let cancelled = store.cancel_job(TENANT, running.id).await.unwrap();
    assert!(matches!(cancelled, Some(Turned::Done(_))));
    let lease = running.lease();
    let finished = store
        .finish_processing(&lease, TENANT, item.id, processed(4, 3), None)
        .await;
    assert!(matches!(finished, Err(Error::LeaseLost { .. })));
    let failed = store
        .fail_processing(&lease, TENANT, item.id, "ERROR_REASON_INTERNAL", "late")
        .await;
    assert!(matches!(failed, Err(Error::LeaseLost { .. })));
    // the next sign of life tells its worker
    assert_eq!(
        store.lease_keeper().renew(&[lease], LEASE).await.unwrap(),
        [running.id]
    );
    let item = store.get_items(TENANT, &[item.id]).await.unwrap().remove(0);
    assert_eq!(item.failure_reason, "ERROR_REASON_CANCELLED");
    assert_eq!(state(&store, running.id).await, JobState::Cancelled);
}

#[tokio::test]
async fn an_item_and_its_job_fail_together() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let running = claim(&store).await.remove(0);
    store
        .fail_processing(&running.lease(), TENANT, item.id, "REASON", "no picture")
        .await
        .unwrap();
    let known = store.get_job(TENANT, running.id).await.unwrap().unwrap();
    assert_eq!(
        (known.state, known.last_error.as_str()),
        (JobState::Failed, "no picture")
    );
    let item = store.get_items(TENANT, &[item.id]).await.unwrap().remove(0);
    assert_eq!(
        (item.state, item.failure_reason.as_str()),
        (State::Failed, "REASON")
    );
    let done = store.cancel_job(TENANT, running.id).await.unwrap();
    assert!(matches!(done, Some(Turned::Unfit(job)) if job.state == JobState::Failed));
}

#[tokio::test]
async fn dead_letters_are_queued_again_one_or_all_with_all_their_attempts() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let unique = NewJob {
        unique_key: Some("k".into()),
        ..job(None)
    };
    let one = dead_letter(&store, unique.clone()).await;
    // a twin waits: the letter comes back beside it
    let twin = store
        .enqueue(NewJob {
            id: JobId::generate(),
            ..unique
        })
        .await
        .unwrap();
    assert!(store.requeue_job(STRANGER, one).await.unwrap().is_none());
    let again = store.requeue_job(TENANT, one).await.unwrap();
    assert!(matches!(again, Some(Turned::Done(job)) if job.attempts == 0));
    let again = store.requeue_job(TENANT, one).await.unwrap();
    assert!(matches!(again, Some(Turned::Unfit(_))), "it waits already");
    let mut both: Vec<_> = claim(&store).await.iter().map(|job| job.id).collect();
    both.sort_by_key(|id| id.0);
    let mut expected = [one, twin];
    expected.sort_by_key(|id| id.0);
    assert_eq!(both, expected);

    for kind in [
        JobKind::EmbedMedia,
        JobKind::DeleteBlobs,
        JobKind::EmbedMedia,
    ] {
        dead_letter(&store, NewJob { kind, ..job(None) }).await;
    }
    let embeds = Some(JobKind::EmbedMedia);
    assert_eq!(store.requeue_failed(STRANGER, None, 9).await.unwrap(), 0);
    assert_eq!(store.requeue_failed(TENANT, embeds, 1).await.unwrap(), 1);
    assert_eq!(store.requeue_failed(TENANT, None, 9).await.unwrap(), 2);
    assert_eq!(store.requeue_failed(TENANT, None, 9).await.unwrap(), 0);
    assert_eq!(claim(&store).await.len(), 3);
}

#[tokio::test]
async fn each_end_of_a_job_is_kept_for_its_own_time() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let letter = dead_letter(&store, job(None)).await;
    let cancelled = store.enqueue(job(None)).await.unwrap();
    store.cancel_job(TENANT, cancelled).await.unwrap();
    for _ in 0..3 {
        store.enqueue(job(None)).await.unwrap();
    }
    for good in claim(&store).await {
        store.complete(&good.lease()).await.unwrap();
    }
    let long_ago = now_micros() - 1_000_000_000;
    let mut sweep = Sweep {
        cancelled_before: long_ago,
        failed_before: long_ago,
        limit: 2,
        ..ALL
    };
    for removed in [2, 1, 0] {
        assert_eq!(store.sweep(sweep).await.unwrap(), removed);
    }
    assert_eq!(state(&store, letter).await, JobState::Failed);
    sweep.cancelled_before = i64::MAX;
    assert_eq!(store.sweep(sweep).await.unwrap(), 1);
    assert!(store.get_job(TENANT, cancelled).await.unwrap().is_none());
    assert_eq!(state(&store, letter).await, JobState::Failed);
}

#[tokio::test]
async fn what_is_paused_waits_and_the_rest_goes_on() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let embed = || NewJob {
        kind: JobKind::EmbedMedia,
        ..job(None)
    };
    let paused = store.enqueue(embed()).await.unwrap();
    let other = store.enqueue(job(None)).await.unwrap();
    let of_stranger = NewJob {
        tenant_id: STRANGER,
        ..embed()
    };
    let foreign = store.enqueue(of_stranger).await.unwrap();
    let kind = Some(JobKind::EmbedMedia);
    store.pause(TENANT, kind, Some(1)).await.unwrap();
    assert!(store.pauses(TENANT).await.unwrap().is_empty(), "it passed");
    store.pause(TENANT, kind, None).await.unwrap();
    let claimed: Vec<_> = claim(&store).await.iter().map(|job| job.id).collect();
    assert_eq!(claimed, [other, foreign]);
    let known = store.pauses(TENANT).await.unwrap();
    assert!(matches!(
        known[..],
        [Pause {
            kind: Some(JobKind::EmbedMedia),
            until: None,
            ..
        }]
    ));
    assert!(store.pauses(STRANGER).await.unwrap().is_empty());

    assert!(
        !store.resume(TENANT, None).await.unwrap(),
        "of all kinds there is none"
    );
    assert!(store.resume(TENANT, kind).await.unwrap());
    store.pause(TENANT, None, None).await.unwrap();
    assert!(claim(&store).await.is_empty());
    let soon = now_micros() + 50_000;
    store.pause(TENANT, None, Some(soon)).await.unwrap();
    assert!(claim(&store).await.is_empty());
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(claim(&store).await[0].id, paused, "its time has come");
}

#[tokio::test]
async fn what_has_ended_is_counted_through_every_turn() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let counts = async |tenant| {
        let stats = store.queue_stats(tenant).await.unwrap();
        (stats.completed, stats.failed, stats.cancelled)
    };
    assert_eq!(counts(None).await, (0, 0, 0));
    for _ in 0..6 {
        store.enqueue(job(None)).await.unwrap();
    }
    let running = claim(&store).await;
    let leases: Vec<_> = running.iter().map(Job::lease).collect();
    store.complete_all(&leases[..2]).await.unwrap();
    store.fail(&leases[2], "broken").await.unwrap();
    store.fail(&leases[3], "broken").await.unwrap();
    store.cancel_job(TENANT, running[4].id).await.unwrap();
    assert_eq!(counts(Some(TENANT)).await, (2, 2, 1));
    assert_eq!(counts(None).await, (2, 2, 1));
    assert_eq!(counts(Some(STRANGER)).await, (0, 0, 0));

    store.requeue_job(TENANT, running[2].id).await.unwrap();
    store.requeue_job(TENANT, running[4].id).await.unwrap();
    assert_eq!(counts(Some(TENANT)).await, (2, 1, 0));
    let sweep = Sweep {
        succeeded_before: i64::MAX,
        cancelled_before: 0,
        failed_before: 0,
        limit: 10,
    };
    // twice: what connections have counted is put together first
    assert_eq!(store.sweep(sweep).await.unwrap(), 2);
    assert_eq!(store.sweep(sweep).await.unwrap(), 0);
    assert_eq!(counts(Some(TENANT)).await, (0, 1, 0));
    let stats = store.queue_stats(None).await.unwrap();
    assert_eq!((stats.waiting, stats.active), (2, 1));
    let mut kinds = stats.kinds;
    kinds.sort_unstable();
    assert_eq!(kinds, [(1, 1, 2), (1, 2, 1), (1, 4, 1)], "nothing of none");
}

#[tokio::test]
async fn the_counts_say_what_stalls_and_how_fast_it_goes() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    dead_letter(&store, job(None)).await;
    for _ in 0..3 {
        store.enqueue(job(None)).await.unwrap();
    }
    let running = claim(&store).await;
    store.complete(&running[0].lease()).await.unwrap();
    store.cancel_job(TENANT, running[1].id).await.unwrap();
    let stats = store.queue_stats(Some(TENANT)).await.unwrap();
    assert_eq!((stats.active, stats.stalled), (1, 0));
    assert_eq!((stats.completed, stats.failed, stats.cancelled), (1, 1, 1));
    assert_eq!((stats.succeeded_lately, stats.failed_lately), (1, 1));
    let mut kinds = stats.kinds;
    kinds.sort_unstable();
    assert_eq!(kinds, [(1, 2, 1), (1, 3, 1), (1, 4, 1), (1, 5, 1)]);

    store.hand_back(&running[2].lease()).await.unwrap();
    store.claim("w", Duration::ZERO, 1).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let stats = store.queue_stats(None).await.unwrap();
    assert_eq!((stats.active, stats.stalled), (1, 1));
}
