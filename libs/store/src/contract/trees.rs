use std::time::Duration;

use mediamesh_proto::JobId;

use super::*;
use crate::{
    JobStore as _,
    error::Error,
    job::{Job, JobKind, JobState, Progress, Sweep, Turned},
    media::{MediaItem, State},
};

const LEASE: Duration = Duration::from_secs(60);

/// Queues steps, each with the places of those it needs; answers their ids, the first of which is the
/// tree's.
async fn queue(store: &Store, steps: &[&[usize]]) -> Vec<JobId> {
    let ids: Vec<JobId> = steps.iter().map(|_| JobId::generate()).collect();
    let step = |(place, needs): (usize, &&[usize])| NewJob {
        id: ids[place],
        tree_id: Some(ids[0]),
        step: format!("step-{place}"),
        needs: needs.iter().map(|need| ids[*need]).collect(),
        ..NewJob::new(TENANT, JobKind::EmbedMedia)
    };
    let jobs = steps.iter().enumerate().map(step).collect();
    store.enqueue_all(jobs).await.unwrap();
    ids
}

async fn claim(store: &Store) -> Vec<Job> {
    store.claim("w", LEASE, 99).await.unwrap()
}

async fn states(store: &Store, ids: &[JobId]) -> Vec<JobState> {
    let mut states = Vec::new();
    for id in ids {
        states.push(store.get_job(TENANT, *id).await.unwrap().unwrap().state);
    }
    states
}

/// One job that many need, and one that needs all of those.
const DIAMOND: [&[usize]; 5] = [&[], &[0], &[0], &[0], &[1, 2, 3]];

#[tokio::test]
async fn a_step_starts_when_all_that_it_needs_have_succeeded() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let ids = queue(&store, &DIAMOND).await;
    let first = claim(&store).await;
    assert_eq!(first.iter().map(|job| job.id).collect::<Vec<_>>(), ids[..1]);
    let told = store.queue_stats(Some(TENANT)).await.unwrap();
    assert_eq!((told.active, told.blocked, told.waiting), (1, 4, 0));
    // tried again, it has not succeeded yet
    store
        .retry(&first[0].lease(), "no luck", Duration::ZERO)
        .await
        .unwrap();
    let first = claim(&store).await;
    assert_eq!(first.len(), 1);
    store.complete(&first[0].lease()).await.unwrap();
    let middle = claim(&store).await;
    assert_eq!(middle.len(), 3);
    for job in &middle {
        assert!(claim(&store).await.is_empty());
        store.complete(&job.lease()).await.unwrap();
    }
    let last = claim(&store).await;
    assert_eq!(last.iter().map(|job| job.id).collect::<Vec<_>>(), ids[4..]);
    store.complete(&last[0].lease()).await.unwrap();
    assert_eq!(states(&store, &ids).await, [JobState::Succeeded; 5]);

    let steps = store.tree(TENANT, ids[0], 99).await.unwrap();
    assert_eq!(steps.len(), 5);
    let find = |place: usize| steps.iter().find(|step| step.job.id == ids[place]);
    let (root, end) = (find(0).unwrap(), find(4).unwrap());
    assert_eq!((root.job.step.as_str(), root.needs.len()), ("step-0", 0));
    assert_eq!((end.job.step.as_str(), end.needs.len()), ("step-4", 3));
    assert!(store.tree(STRANGER, ids[0], 99).await.unwrap().is_empty());
    let all = Sweep {
        succeeded_before: i64::MAX,
        cancelled_before: i64::MAX,
        failed_before: i64::MAX,
        limit: 99,
    };
    assert_eq!(store.sweep(all).await.unwrap(), 5);
    assert!(store.tree(TENANT, ids[0], 99).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_end_at_once_free_the_next_one_once() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    for _ in 0..5 {
        let ids = queue(&store, &[&[], &[], &[], &[0, 1, 2], &[0, 1, 2]]).await;
        let ends = claim(&store).await.into_iter().map(|job| {
            let store = store.clone();
            tokio::spawn(async move { store.complete(&job.lease()).await.unwrap() })
        });
        let ends = futures::future::try_join_all(ends).await.unwrap();
        assert_eq!(ends.len(), 3);
        let last = claim(&store).await;
        assert_eq!(last.len(), 2, "{:?}", states(&store, &ids).await);
        for job in last {
            store.complete(&job.lease()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_failure_of_a_step_cancels_what_needs_it_and_says_so() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    // 0 is needed by 1, which is needed by 3; 2 needs nothing
    let ids = queue(&store, &[&[], &[0], &[], &[1, 2]]).await;
    let claimed = claim(&store).await;
    let failing = claimed.iter().find(|job| job.id == ids[0]).unwrap();
    store.fail(&failing.lease(), "no such codec").await.unwrap();
    let [failed, cancelled, running] = [JobState::Failed, JobState::Cancelled, JobState::Running];
    assert_eq!(
        states(&store, &ids).await,
        [failed, cancelled, running, cancelled]
    );
    let last = store.get_job(TENANT, ids[3]).await.unwrap().unwrap();
    assert!(
        last.last_error.contains(&ids[0].to_string()),
        "{}",
        last.last_error
    );
    assert!(
        last.last_error.contains("no such codec"),
        "{}",
        last.last_error
    );
    assert!(last.end_time.is_some());

    // what was cancelled with it comes back with it, and only with it
    let alone = store.requeue_job(TENANT, ids[3]).await.unwrap();
    assert!(matches!(alone, Some(Turned::Unfit(_))));
    let free = claimed.iter().find(|job| job.id == ids[2]).unwrap();
    store.complete(&free.lease()).await.unwrap();
    assert_eq!(store.requeue_failed(TENANT, None, 9).await.unwrap(), 1);
    for place in [0, 1, 3] {
        let next = claim(&store).await;
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].id, ids[place]);
        store.complete(&next[0].lease()).await.unwrap();
    }
    assert_eq!(states(&store, &ids).await, [JobState::Succeeded; 4]);
}

#[tokio::test]
async fn a_step_that_is_cancelled_takes_along_what_needs_it() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let running = claim(&store).await.remove(0);
    let ids = [JobId::generate(), JobId::generate(), JobId::generate()];
    let step = |place: usize, needs: &[usize]| NewJob {
        id: ids[place],
        tree_id: Some(ids[0]),
        needs: needs.iter().map(|need| ids[*need]).collect(),
        ..NewJob::new(TENANT, JobKind::EmbedMedia)
    };
    let process = NewJob {
        kind: JobKind::ProcessMedia,
        media_item_id: Some(item.id),
        ..step(2, &[1])
    };
    let jobs = vec![step(0, &[]), step(1, &[0]), process];
    store.enqueue_all(jobs).await.unwrap();
    // one that has not begun can be cancelled
    let done = store.cancel_job(TENANT, ids[1]).await.unwrap();
    assert!(matches!(done, Some(Turned::Done(_))));
    let [queued, cancelled] = [JobState::Queued, JobState::Cancelled];
    assert_eq!(states(&store, &ids).await, [queued, cancelled, cancelled]);
    // the item does not wait for ever; and whoever still works at it is not disturbed
    let found = store.get_items(TENANT, &[item.id]).await.unwrap().remove(0);
    assert_eq!(found.state, State::Failed);
    assert!(
        store
            .cancel_job(TENANT, running.id)
            .await
            .unwrap()
            .is_some()
    );
    let step = claim(&store).await.remove(0);
    assert_eq!(step.id, ids[0]);
    store.cancel_job(TENANT, step.id).await.unwrap();
    assert!(matches!(
        store.complete(&step.lease()).await,
        Err(Error::LeaseLost { .. })
    ));
    assert_eq!(states(&store, &ids).await, [cancelled; 3]);
}

#[tokio::test]
async fn an_item_that_is_deleted_takes_along_the_rest_of_its_trees() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let other = insert(&store, new_item(2, "b.jpg")).await;
    let _running = claim(&store).await;
    let ids: Vec<JobId> = (0..6).map(|_| JobId::generate()).collect();
    let step = |place: usize, needs: &[usize], of: Option<&MediaItem>| NewJob {
        id: ids[place],
        tree_id: Some(ids[place / 3 * 3]),
        needs: needs.iter().map(|need| ids[*need]).collect(),
        media_item_id: of.map(|item| item.id),
        ..NewJob::new(TENANT, JobKind::ProcessMedia)
    };
    let jobs = vec![
        step(0, &[], Some(&item)),
        step(1, &[0], Some(&item)),
        step(2, &[1], Some(&other)),
        // here a step of the item waits, and no step of it is queued
        step(3, &[], None),
        step(4, &[3], Some(&item)),
        step(5, &[4], None),
    ];
    store.enqueue_all(jobs).await.unwrap();
    store.delete_item(TENANT, item.id, None).await.unwrap();
    let [queued, cancelled] = [JobState::Queued, JobState::Cancelled];
    assert_eq!(
        states(&store, &ids).await,
        [
            cancelled, cancelled, cancelled, queued, cancelled, cancelled
        ]
    );
    let told = store.queue_stats(Some(TENANT)).await.unwrap();
    assert_eq!(told.blocked, 0);
    let last = store.get_job(TENANT, ids[2]).await.unwrap().unwrap();
    assert!(last.last_error.contains("deleted"), "{}", last.last_error);
    // nobody waits for what will not be done
    let found = store.get_items(TENANT, &[other.id]).await.unwrap();
    assert_eq!(found[0].state, State::Failed);
}

/// Fails the claimed ones of some jobs.
async fn fail(store: &Store, claimed: &[Job], ids: &[JobId]) {
    for job in claimed.iter().filter(|job| ids.contains(&job.id)) {
        store.fail(&job.lease(), "no luck").await.unwrap();
    }
}

#[tokio::test]
async fn a_step_waits_again_when_nothing_that_it_needs_has_failed() {
    use JobState::{Blocked, Cancelled, Failed, Queued, Succeeded};
    let Some((_dir, store)) = store().await else {
        return;
    };
    // 2 needs 0 and 1; 3 needs 2 and 1
    let ids = queue(&store, &[&[], &[], &[0, 1], &[1, 2]]).await;
    fail(&store, &claim(&store).await, &ids).await;
    assert_eq!(
        states(&store, &ids).await,
        [Failed, Failed, Cancelled, Cancelled]
    );
    // it could never start, so it does not wait
    store.requeue_job(TENANT, ids[0]).await.unwrap();
    assert_eq!(
        states(&store, &ids).await,
        [Queued, Failed, Cancelled, Cancelled]
    );
    let again = claim(&store).await;
    store.complete(&again[0].lease()).await.unwrap();
    // what succeeded is not missed, even if it is swept
    let succeeded = Sweep {
        succeeded_before: i64::MAX,
        cancelled_before: 0,
        failed_before: 0,
        limit: 99,
    };
    assert_eq!(store.sweep(succeeded).await.unwrap(), 1);
    store.requeue_job(TENANT, ids[1]).await.unwrap();
    assert_eq!(states(&store, &ids[1..]).await, [Queued, Blocked, Blocked]);
    for id in &ids[1..] {
        let next = claim(&store).await;
        assert_eq!(next.iter().map(|job| job.id).collect::<Vec<_>>(), [*id]);
        store.complete(&next[0].lease()).await.unwrap();
    }
    assert_eq!(states(&store, &ids[1..]).await, [Succeeded; 3]);

    // both at once
    let ids = queue(&store, &[&[], &[], &[0, 1], &[1, 2]]).await;
    fail(&store, &claim(&store).await, &ids).await;
    assert_eq!(store.requeue_failed(TENANT, None, 9).await.unwrap(), 2);
    assert_eq!(
        states(&store, &ids).await,
        [Queued, Queued, Blocked, Blocked]
    );
}

#[tokio::test]
async fn what_a_person_cancelled_stays_so_until_a_person_wants_it() {
    use JobState::{Blocked, Cancelled, Failed, Queued, Running, Succeeded};
    let Some((_dir, store)) = store().await else {
        return;
    };
    // 1, 3 and 4 need 0, and 2 needs 1
    let ids = queue(&store, &[&[], &[0], &[1], &[0], &[0]]).await;
    let first = claim(&store).await;
    store.cancel_job(TENANT, ids[1]).await.unwrap();
    assert_eq!(
        states(&store, &ids).await,
        [Running, Cancelled, Cancelled, Blocked, Blocked]
    );
    fail(&store, &first, &ids).await;
    assert_eq!(
        states(&store, &ids).await,
        [Failed, Cancelled, Cancelled, Cancelled, Cancelled]
    );
    // and so does what was cancelled already, with another
    store.cancel_job(TENANT, ids[4]).await.unwrap();
    store.requeue_job(TENANT, ids[0]).await.unwrap();
    assert_eq!(
        states(&store, &ids).await,
        [Queued, Cancelled, Cancelled, Blocked, Cancelled]
    );
    for place in [0, 3] {
        let next = claim(&store).await.remove(0);
        assert_eq!(next.id, ids[place]);
        store.complete(&next.lease()).await.unwrap();
    }
    let done = store.requeue_job(TENANT, ids[1]).await.unwrap();
    assert!(matches!(done, Some(Turned::Done(_))));
    assert_eq!(
        states(&store, &ids).await,
        [Succeeded, Queued, Blocked, Succeeded, Cancelled]
    );
}

#[tokio::test]
async fn all_steps_are_counted_however_few_are_listed() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let ids = queue(&store, &[&[], &[], &[], &[0, 1], &[2]]).await;
    let claimed = claim(&store).await;
    let of = |place: usize| claimed.iter().find(|job| job.id == ids[place]).unwrap();
    let half = Progress::of(1, 2, "half");
    store.progress(&of(1).lease(), half).await.unwrap();
    store.complete(&of(0).lease()).await.unwrap();
    fail(&store, &claimed, &ids[2..3]).await;
    let mut counts = store.tree_counts(TENANT, ids[0]).await.unwrap();
    counts.sort_by_key(|count| count.state as i16);
    let told = counts.iter().map(|of| (of.state, of.jobs, of.progress));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (JobState::Running, 1, 0.5),
            (JobState::Succeeded, 1, 1.0),
            (JobState::Failed, 1, 0.0),
            (JobState::Cancelled, 1, 0.0),
            (JobState::Blocked, 1, 0.0),
        ]
    );
    assert_eq!(store.tree(TENANT, ids[0], 2).await.unwrap().len(), 2);
    let nothing = store.tree_counts(STRANGER, ids[0]).await.unwrap();
    assert!(nothing.is_empty());
}

#[tokio::test]
async fn many_jobs_are_queued_with_one_call() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let jobs = (0..2_500).map(|_| job(None)).collect();
    store.enqueue_all(jobs).await.unwrap();
    let claimed = store.claim("w", LEASE, 3_000).await.unwrap();
    assert_eq!(claimed.len(), 2_500);
    let tokens = claimed.iter().map(|job| (job.lease_token, job.attempts));
    assert!(tokens.clone().all(|of| of == (1, 1)));
    store.enqueue_all(Vec::new()).await.unwrap();
}
