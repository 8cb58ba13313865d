//! What callers and operators do with the queue, over gRPC.

use std::{sync::atomic::Ordering, time::Duration};

use futures::TryStreamExt as _;
use mediamesh_media::service::SYSTEM_TENANT;
use mediamesh_proto::{
    ErrorReason, JobId,
    media::v1::{
        CancelJobRequest, CreateJobRequest, CreateJobTreeRequest, GetJobRequest, GetJobTreeRequest,
        GetQueueStatsRequest, GetQueueStatsResponse, Job, JobStep, JobTree, ListJobsRequest,
        ListSchedulesRequest, PauseQueueRequest, ResumeQueueRequest, RetryFailedJobsRequest,
        RetryJobRequest, Schedule, WatchJobRequest, job,
        media_item::State,
        queue_limit::{Bound, Scope},
    },
    pbjson_types,
    time::{duration, micros, now_micros, timestamp},
};
use mediamesh_store::{
    JobStore as _, ScheduleStore as _,
    job::{JobKind, NewJob},
    schedule::Due,
};

use crate::rig::{Rig, TENANT, photo, quick, refused};

async fn upload(rig: &Rig) -> (String, String) {
    let stored = rig.upload("cat.jpg", photo("cat.jpg")).await.unwrap();
    (stored.media_item.unwrap().id, stored.job_id)
}

async fn stats(rig: &Rig) -> GetQueueStatsResponse {
    let mut jobs = rig.jobs.clone();
    let answer = jobs.get_queue_stats(GetQueueStatsRequest {}).await;
    answer.unwrap().into_inner()
}

async fn watched(rig: &Rig, id: &str) -> Vec<Job> {
    let request = WatchJobRequest {
        job_id: id.to_owned(),
    };
    let changes = rig.jobs.clone().watch_job(request).await.unwrap();
    let changes: Vec<_> = changes.into_inner().try_collect().await.unwrap();
    changes
        .into_iter()
        .map(|change| change.job.unwrap())
        .collect()
}

fn hangs(rig: &Rig) -> usize {
    rig.seen.hanging.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_that_is_cancelled_stops_at_the_next_sign_of_life() {
    let rig = Rig::working(quick()).await;
    rig.seen.embedding_hangs.store(true, Ordering::SeqCst);
    let (_, id) = upload(&rig).await;
    rig.until("the job waits for a model", async || hangs(&rig) == 1)
        .await;
    let cancel = CancelJobRequest { job_id: id.clone() };
    let mut jobs = rig.jobs.clone();
    for _ in 0..2 {
        let job = jobs.cancel_job(cancel.clone()).await.unwrap();
        let job = job.into_inner().job.unwrap();
        assert_eq!(job.state(), job::State::Cancelled);
    }
    rig.until("its work is dropped", async || hangs(&rig) == 0)
        .await;
    assert_eq!(stats(&rig).await.cancelled, 1);

    rig.seen.embedding_hangs.store(false, Ordering::SeqCst);
    let retry = RetryJobRequest { job_id: id.clone() };
    jobs.retry_job(retry.clone()).await.unwrap();
    let last = watched(&rig, &id).await.pop().unwrap();
    assert_eq!((last.state(), last.attempts), (job::State::Succeeded, 1));
    let late = refused(jobs.retry_job(retry).await, ErrorReason::JobStateUnfit);
    assert!(late.message().contains("succeeded"), "{late:?}");
    refused(jobs.cancel_job(cancel).await, ErrorReason::JobStateUnfit);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_takes_too_long_is_killed_and_its_dead_letter_can_be_retried() {
    let mut options = quick();
    options.worker.job_timeout_secs = 1;
    let rig = Rig::working(options).await;
    rig.seen.embedding_hangs.store(true, Ordering::SeqCst);
    let (item, id) = upload(&rig).await;
    let last = watched(&rig, &id).await.pop().unwrap();
    assert_eq!((last.state(), last.attempts), (job::State::Failed, 3));
    assert!(last.last_error.contains("longer than 1 s"), "{last:?}");
    rig.until("its work is dropped", async || hangs(&rig) == 0)
        .await;
    let letters = ListJobsRequest {
        state: job::State::Failed as i32,
        ..ListJobsRequest::default()
    };
    let letters = rig.jobs.clone().list_jobs(letters).await.unwrap();
    assert_eq!(letters.into_inner().jobs[0].id, id);

    rig.seen.embedding_hangs.store(false, Ordering::SeqCst);
    let none = RetryFailedJobsRequest {
        kind: job::Kind::DeleteBlobs as i32,
        max_count: 0,
    };
    let all = RetryFailedJobsRequest::default();
    for (request, count) in [(none, 0), (all, 1)] {
        let retried = rig.jobs.clone().retry_failed_jobs(request).await.unwrap();
        assert_eq!(retried.into_inner().retried_count, count);
    }
    let last = watched(&rig, &id).await.pop().unwrap();
    assert_eq!(last.state(), job::State::Succeeded, "{last:?}");
    assert_eq!(rig.settled(&item).await.state(), State::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_a_job_sees_its_steps_and_the_end() {
    let mut rig = Rig::new(quick()).await;
    let (_, id) = upload(&rig).await;
    let request = WatchJobRequest { job_id: id };
    let answer = rig.jobs.clone().watch_job(request).await.unwrap();
    let mut changes = answer.into_inner();
    let first = changes.message().await.unwrap().unwrap().job.unwrap();
    assert_eq!((first.state(), first.progress), (job::State::Queued, 0.0));
    rig.start();
    let rest: Vec<_> = changes.try_collect().await.unwrap();
    let rest: Vec<Job> = rest.into_iter().map(|change| change.job.unwrap()).collect();
    assert!(
        rest.is_sorted_by_key(|job| job.progress_current),
        "{rest:?}"
    );
    let last = rest.last().unwrap();
    assert_eq!((last.state(), last.progress), (job::State::Succeeded, 1.0));
    assert_eq!((last.progress_current, last.progress_total), (4, 4));

    let unknown = WatchJobRequest {
        job_id: "0190a5a5-0000-7000-8000-000000000000".to_owned(),
    };
    let refusal = rig.jobs.clone().watch_job(unknown).await;
    assert_eq!(
        mediamesh_proto::status::reason_of(&refusal.unwrap_err()),
        Some(ErrorReason::JobNotFound)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_queue_waits_and_goes_on_when_it_is_resumed() {
    let rig = Rig::working(quick()).await;
    let kind = job::Kind::ProcessMedia as i32;
    let mut jobs = rig.jobs.clone();
    let past = PauseQueueRequest {
        kind,
        until_time: Some(timestamp(now_micros() - 1)),
    };
    refused(jobs.pause_queue(past).await, ErrorReason::InvalidField);
    let pause = PauseQueueRequest {
        kind,
        until_time: None,
    };
    let pauses = jobs.pause_queue(pause).await.unwrap().into_inner().pauses;
    assert_eq!(pauses.len(), 1);
    let (item, _) = upload(&rig).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let waits = stats(&rig).await;
    assert_eq!((waits.waiting, waits.active), (1, 0));
    assert_eq!(waits.pauses, pauses);
    let resume = ResumeQueueRequest { kind };
    let left = jobs.resume_queue(resume).await.unwrap().into_inner().pauses;
    assert!(left.is_empty());
    assert_eq!(rig.settled(&item).await.state(), State::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_work_is_done_once_in_its_period() {
    let rig = Rig::working(quick()).await;
    let (item, id) = upload(&rig).await;
    watched(&rig, &id).await;
    let wanted = CreateJobRequest {
        media_item_id: item,
        priority: 1,
        unique_key: "user-7-cat".to_owned(),
        unique_period: Some(duration(Duration::from_secs(3_600))),
        ..CreateJobRequest::default()
    };
    let mut jobs = rig.jobs.clone();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let job = jobs.create_job(wanted.clone()).await.unwrap().into_inner();
        assert_eq!(job.job.as_ref().unwrap().priority, 1);
        watched(&rig, &job.job_id).await;
        ids.push(job.job_id);
    }
    assert!(ids.iter().all(|other| *other == ids[0]), "{ids:?}");
    assert_ne!(ids[0], id);

    let bad = CreateJobRequest {
        priority: 10,
        unique_period: Some(pbjson_types::Duration::default()),
        unique_states: vec![99],
        ..wanted
    };
    let status = refused(jobs.create_job(bad).await, ErrorReason::InvalidField);
    for field in ["priority", "unique_period", "unique_states"] {
        assert!(format!("{status:?}").contains(field), "{status:?}");
    }
}

async fn schedules(rig: &Rig) -> Vec<Schedule> {
    let request = ListSchedulesRequest {};
    let answer = rig.jobs.clone().list_schedules(request).await.unwrap();
    answer.into_inner().schedules
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_scheduled_is_done_at_its_times_and_its_outcome_is_told() {
    let mut options = quick();
    options.worker.schedules.sweep_jobs.cron = "* * * * * *".to_owned();
    options.worker.schedules.sweep_blobs.time_zone = "Asia/Tokyo".to_owned();
    options.worker.keep_succeeded_secs = 0;
    let rig = Rig::working(options).await;
    let (_, id) = upload(&rig).await;
    rig.until("the finished job is swept", async || {
        let request = GetJobRequest { job_id: id.clone() };
        rig.jobs.clone().get_job(request).await.is_err()
    })
    .await;
    rig.until("a sweep's end is told", async || {
        let found = schedules(&rig).await;
        let last = found.iter().find_map(|known| known.last_job.clone());
        last.is_some_and(|job| job.state() == job::State::Succeeded)
    })
    .await;
    let found = schedules(&rig).await;
    let names: Vec<_> = found.iter().map(|known| known.name.as_str()).collect();
    assert_eq!(names, ["check_blobs", "sweep_blobs", "sweep_jobs"]);
    assert!(found[1].last_job.is_none(), "its hour has not come");
    assert!(micros(found[1].next_time.as_ref().unwrap()) > now_micros());
    assert_eq!(found[1].time_zone, "Asia/Tokyo");
    let last = found[2].last_job.as_ref().unwrap();
    assert_eq!(last.schedule, "sweep_jobs");
    assert_eq!(last.schedule_time, found[2].last_time);
    // it belongs to no tenant
    let listed = ListJobsRequest::default();
    let listed = rig.jobs.clone().list_jobs(listed).await.unwrap();
    assert!(listed.into_inner().jobs.is_empty());
    let wanted = CreateJobRequest {
        kind: job::Kind::SweepJobs as i32,
        ..CreateJobRequest::default()
    };
    let refusal = rig.jobs.clone().create_job(wanted).await;
    refused(refusal, ErrorReason::InvalidField);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_ran_ahead_stops_no_schedule() {
    let mut options = quick();
    options.worker.schedules.sweep_jobs.cron = "* * * * * *".to_owned();
    let rig = Rig::working(options).await;
    let known = async || {
        let known = rig.store.schedules(SYSTEM_TENANT).await.unwrap();
        let mut known = known.into_iter();
        known.find(|known| known.definition.name == "sweep_jobs")
    };
    rig.until("the schedule has ticked", async || {
        known().await.is_some_and(|known| known.last_job.is_some())
    })
    .await;
    // another process, whose clock is two days ahead, is faster than the worker once
    let ahead = now_micros() + 2 * 86_400_000_000;
    rig.until("a tick is noted far ahead", async || {
        let due = Due {
            tenant_id: SYSTEM_TENANT,
            schedule: "sweep_jobs".to_owned(),
            last_tick: known().await.unwrap().last_tick,
            until: ahead,
            jobs: Vec::new(),
        };
        rig.store.fire(due).await.unwrap()
    })
    .await;
    let since = now_micros();
    rig.until("the schedule ticks again", async || {
        let last = known().await.and_then(|known| known.last_job);
        last.is_some_and(|job| job.create_time > since)
    })
    .await;
    assert!(known().await.unwrap().last_tick < ahead);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_kept_and_it_is_told_what_it_holds_back() {
    let mut options = quick();
    options.worker.concurrency = 4;
    options.worker.limits.process_media.max_running_per_tenant = 1;
    options.worker.job_timeout_secs = 2;
    let rig = Rig::working(options).await;
    rig.seen.embedding_hangs.store(true, Ordering::SeqCst);
    let mut items = Vec::new();
    for index in 0..3 {
        let mut bytes = photo("cat.jpg");
        bytes.push(index);
        let stored = rig.upload("cat.jpg", bytes).await.unwrap();
        items.push(stored.media_item.unwrap().id);
    }
    rig.until("one waits for a model", async || hangs(&rig) == 1)
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = stats(&rig).await;
    assert_eq!((told.active, told.waiting), (1, 2));
    let limit = &told.limits[0];
    assert_eq!(told.limits.len(), 1);
    assert_eq!(
        (limit.scope(), limit.kind(), limit.bound()),
        (Scope::Tenant, job::Kind::ProcessMedia, Bound::Running)
    );
    assert_eq!((limit.limit, limit.held_back_count), (1, 2));
    let gauge = "mediamesh_media_queue_held_back_jobs{tenants=\"one\",kind=\"process_media\",bound=\"running\"} 2";
    rig.until("the gauge shows it", async || {
        rig.metrics.encode().contains(gauge)
    })
    .await;
    rig.seen.embedding_hangs.store(false, Ordering::SeqCst);
    for item in items {
        assert_eq!(rig.settled(&item).await.state(), State::Ready);
    }
    rig.until("nothing is held back any more", async || {
        stats(&rig).await.limits.is_empty() && !rig.metrics.encode().contains("held_back_jobs{")
    })
    .await;
}

fn step(name: &str, kind: job::Kind, item: &str, needs: &[&str]) -> JobStep {
    JobStep {
        name: name.to_owned(),
        kind: kind as i32,
        media_item_id: item.to_owned(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        priority: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_run_one_after_the_other_with_one_status() {
    let mut rig = Rig::new(quick()).await;
    let (item, _) = upload(&rig).await;
    let [process, embed] = [job::Kind::ProcessMedia, job::Kind::EmbedMedia];
    let steps = vec![
        step("ready", embed, &item, &["embed", "words"]),
        step("embed", embed, &item, &["probe"]),
        step("words", embed, &item, &["probe"]),
        step("probe", process, &item, &[]),
    ];
    let mut jobs = rig.jobs.clone();
    let request = CreateJobTreeRequest { steps };
    let tree = jobs.create_job_tree(request.clone()).await.unwrap();
    let tree = tree.into_inner().job_tree.unwrap();
    assert_eq!((tree.state(), tree.steps.len()), (job::State::Queued, 4));
    assert_eq!(tree.progress, 0.0);
    let of = |tree: &JobTree, name: &str| {
        let found = tree.steps.iter().map(|step| step.job.clone().unwrap());
        found.into_iter().find(|job| job.step == name).unwrap()
    };
    assert_eq!(of(&tree, "ready").state(), job::State::Blocked);
    assert_eq!(of(&tree, "probe").state(), job::State::Queued);
    assert_eq!(stats(&rig).await.blocked, 3);
    rig.start();
    watched(&rig, &of(&tree, "ready").id).await;
    let request_tree = GetJobTreeRequest {
        job_tree_id: tree.id.clone(),
    };
    let done = jobs.get_job_tree(request_tree).await.unwrap();
    let done = done.into_inner().job_tree.unwrap();
    assert_eq!((done.state(), done.progress), (job::State::Succeeded, 1.0));
    assert_eq!(done.succeeded_count, 4);
    let (first, last) = (of(&done, "probe"), of(&done, "ready"));
    assert!(micros(&first.end_time.unwrap()) <= micros(&last.start_time.unwrap()));

    let mut cycle = request.clone();
    cycle.steps[3].needs.push("ready".to_owned());
    let status = refused(jobs.create_job_tree(cycle).await, ErrorReason::InvalidField);
    assert!(
        format!("{status:?}").contains("wait for each other"),
        "{status:?}"
    );
    let many = CreateJobTreeRequest {
        steps: (0..65)
            .map(|n| step(&n.to_string(), embed, &item, &[]))
            .collect(),
    };
    let bad = CreateJobTreeRequest {
        steps: vec![step("A b", job::Kind::SweepJobs, "no id", &["gone"])],
    };
    let none = CreateJobTreeRequest::default();
    for request in [many, none, bad.clone()] {
        refused(
            jobs.create_job_tree(request).await,
            ErrorReason::InvalidField,
        );
    }
    let status = jobs.create_job_tree(bad).await.unwrap_err();
    for field in ["name", "kind", "media_item_id", "needs"] {
        let field = format!("steps[0].{field}");
        assert!(
            format!("{status:?}").contains(&field),
            "{field}: {status:?}"
        );
    }
    let unknown = "0190a5a5-0000-7000-8000-000000000000";
    let nothing = CreateJobTreeRequest {
        steps: vec![step("a", embed, unknown, &[])],
    };
    refused(
        jobs.create_job_tree(nothing).await,
        ErrorReason::MediaItemNotFound,
    );
    let nowhere = GetJobTreeRequest {
        job_tree_id: unknown.to_owned(),
    };
    refused(jobs.get_job_tree(nowhere).await, ErrorReason::JobNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_tree_is_that_of_all_its_jobs_however_many_are_listed() {
    let rig = Rig::new(quick()).await;
    let tree = JobId::generate();
    let step = |place: i32| NewJob {
        id: if place == 0 { tree } else { JobId::generate() },
        tree_id: Some(tree),
        ..NewJob::new(TENANT, JobKind::EmbedMedia)
    };
    let jobs = (0..80).map(step).collect();
    rig.store.enqueue_all(jobs).await.unwrap();
    let request = GetJobTreeRequest {
        job_tree_id: tree.to_string(),
    };
    let mut jobs = rig.jobs.clone();
    let listed = jobs.get_job_tree(request.clone()).await.unwrap();
    let listed = listed.into_inner().job_tree.unwrap().steps;
    let oldest: Vec<String> = listed
        .into_iter()
        .map(|step| step.job.unwrap().id)
        .collect();
    assert_eq!(oldest.len(), 64);
    let lease = Duration::from_secs(60);
    for job in rig.store.claim("w", lease, 80).await.unwrap() {
        match oldest.contains(&job.id.to_string()) {
            true => rig.store.complete(&job.lease()).await.unwrap(),
            false => rig.store.fail(&job.lease(), "no luck").await.unwrap(),
        }
    }
    let done = jobs.get_job_tree(request).await.unwrap();
    let done = done.into_inner().job_tree.unwrap();
    assert_eq!((done.state(), done.progress), (job::State::Failed, 0.8));
    assert_eq!((done.succeeded_count, done.steps.len()), (64, 64));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upload_leaves_to_later_is_seen_as_steps_of_its_job() {
    let mut options = quick();
    options.worker.max_embed_attempts = 1;
    let rig = Rig::working(options).await;
    rig.seen.embedding_down.store(true, Ordering::SeqCst);
    let (_, id) = upload(&rig).await;
    watched(&rig, &id).await;
    let request = GetJobTreeRequest {
        job_tree_id: id.clone(),
    };
    rig.until("the embedding has failed", async || {
        let tree = rig.jobs.clone().get_job_tree(request.clone()).await;
        let tree = tree.unwrap().into_inner().job_tree.unwrap();
        tree.state() == job::State::Failed
            && tree.steps.len() > 1
            && tree.steps[0].job.as_ref().unwrap().id == id
    })
    .await;
}
