use std::time::Duration;

use mediamesh_proto::time::now_micros;

use super::*;
use crate::{
    JobStore as _, ScheduleStore as _,
    job::{JobFilter, JobKind, JobState, Sweep},
    schedule::{CatchUp, Due, NewSchedule, Schedule, Tick},
};

const HOUR: i64 = 3_600_000_000;

fn hourly() -> NewSchedule {
    NewSchedule {
        tenant_id: TENANT,
        name: "tidy".to_owned(),
        kind: JobKind::SweepJobs,
        cron: "0 * * * *".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        catch_up: CatchUp::Once,
        max_catch_up: 24,
        enabled: true,
    }
}

async fn known(store: &Store) -> Schedule {
    store.schedules(TENANT).await.unwrap().remove(0)
}

/// Due ticks, one for each of these hours after the last.
fn due(schedule: &Schedule, hours: &[i64]) -> Due {
    let tick = |hour: &i64| schedule.last_tick + hour * HOUR;
    let job = |hour: &i64| NewJob {
        tick: Some(Tick {
            schedule: "tidy".to_owned(),
            time: tick(hour),
        }),
        ..NewJob::new(TENANT, JobKind::SweepJobs)
    };
    Due {
        tenant_id: TENANT,
        schedule: "tidy".to_owned(),
        last_tick: schedule.last_tick,
        until: hours.last().map_or(schedule.last_tick, tick),
        jobs: hours.iter().map(job).collect(),
    }
}

async fn jobs(store: &Store) -> usize {
    let filter = JobFilter::default();
    let listed = store.list_jobs(TENANT, filter, None, 100).await;
    listed.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_is_queued_once_however_many_see_it() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    store.register_schedule(hourly()).await.unwrap();
    for round in 1..=5 {
        let seen = known(&store).await;
        let racers = (0..8).map(|_| {
            let (store, due) = (store.clone(), due(&seen, &[1, 2]));
            tokio::spawn(async move { store.fire(due).await.unwrap() })
        });
        let fired = futures::future::try_join_all(racers).await.unwrap();
        assert_eq!(fired.iter().filter(|won| **won).count(), 1);
        assert_eq!(jobs(&store).await, 2 * round);
        let now = known(&store).await;
        assert_eq!(now.last_tick, seen.last_tick + 2 * HOUR);
        let last = now.last_job.unwrap();
        assert_eq!(last.tick.unwrap().time, now.last_tick);
        assert_eq!(last.state, JobState::Queued);
    }
}

#[tokio::test]
async fn a_tick_that_has_its_job_gets_no_other_even_if_the_clock_was_put_back() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    store.register_schedule(hourly()).await.unwrap();
    let seen = known(&store).await;
    // far ahead: the clock of whoever noted it was wrong, so it does not hold up the schedule
    assert!(store.fire(due(&seen, &[48])).await.unwrap());
    store.register_schedule(hourly()).await.unwrap();
    let again = known(&store).await;
    assert!(again.last_tick <= now_micros());
    let hours = Due {
        last_tick: again.last_tick,
        ..due(&seen, &[48])
    };
    assert!(store.fire(hours).await.unwrap());
    assert_eq!(jobs(&store).await, 1);
}

#[tokio::test]
async fn ticks_count_from_the_time_a_schedule_has_them() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let before = now_micros();
    store.register_schedule(hourly()).await.unwrap();
    let first = known(&store).await;
    assert!((before..=now_micros()).contains(&first.last_tick));
    assert_eq!(first.definition, hourly());
    assert!(first.last_job.is_none());

    tokio::time::sleep(Duration::from_millis(5)).await;
    // known already, in another process: nothing is left out
    let other_policy = NewSchedule {
        catch_up: CatchUp::All,
        ..hourly()
    };
    store.register_schedule(other_policy.clone()).await.unwrap();
    let same = known(&store).await;
    assert_eq!(same.last_tick, first.last_tick);
    assert_eq!(same.definition, other_policy);

    // other ticks: those that it had not until now are not made up for
    let daily = NewSchedule {
        cron: "0 3 * * *".to_owned(),
        ..hourly()
    };
    store.register_schedule(daily).await.unwrap();
    let changed = known(&store).await;
    assert!(changed.last_tick > first.last_tick);
    assert!(!store.fire(due(&first, &[1])).await.unwrap());

    let off = NewSchedule {
        enabled: false,
        ..hourly()
    };
    store.register_schedule(off).await.unwrap();
    let seen = known(&store).await;
    assert!(!store.fire(due(&seen, &[1])).await.unwrap());
    assert_eq!(jobs(&store).await, 0);
    assert!(store.schedules(STRANGER).await.unwrap().is_empty());
}

#[tokio::test]
async fn ticks_may_be_left_out_and_the_last_job_of_a_schedule_is_not_swept() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    store.register_schedule(hourly()).await.unwrap();
    let seen = known(&store).await;
    assert!(store.fire(due(&seen, &[1, 2])).await.unwrap());
    let claimed = store.claim("w", Duration::from_secs(60), 9).await.unwrap();
    for job in claimed {
        store.fail(&job.lease(), "no luck").await.unwrap();
    }
    // two more, without a job
    let seen = known(&store).await;
    let left_out = Due {
        jobs: Vec::new(),
        ..due(&seen, &[1, 2])
    };
    assert!(store.fire(left_out).await.unwrap());
    let sweep = Sweep {
        succeeded_before: i64::MAX,
        cancelled_before: i64::MAX,
        failed_before: i64::MAX,
        limit: 9,
    };
    assert_eq!(store.sweep(sweep).await.unwrap(), 1);
    let last = known(&store).await.last_job.unwrap();
    assert_eq!(
        (last.state, last.last_error.as_str()),
        (JobState::Failed, "no luck")
    );
    assert_eq!(jobs(&store).await, 1);
}
