//! Queues jobs when their schedules say so.
//!
//! Every worker looks at the clock. Which ticks are dealt with is one row in the database, and the
//! jobs of a tick are queued in the transaction that moves that row on: however many workers see a
//! tick, and whenever one of them is killed, it is queued once.

use std::{sync::Arc, time::Duration};

use mediamesh_proto::time::now_micros;
use mediamesh_store::{
    job::NewJob,
    schedule::{Due, NewSchedule, Tick, is_ahead},
};

use super::{Context, Failure};
use crate::{
    metrics::ScheduleLabels,
    schedule::Ticks,
    service::{BACKGROUND, SYSTEM_TENANT},
};

/// Longest wait between two looks at the clock, which may be put forward meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Shortest wait, so that a pattern of every second does not become a busy loop.
const SHORTEST: Duration = Duration::from_millis(10);

struct Periodic {
    definition: NewSchedule,
    ticks: Ticks,
}

/// Queues what is due, for ever.
pub(super) async fn run(context: Arc<Context>) {
    let schedules = context.options.worker.schedules.all();
    let schedules: Vec<Periodic> = schedules
        .into_iter()
        .filter_map(|(name, kind, timetable)| {
            // the options were checked before anything ran
            let ticks = Ticks::of(&timetable.cron, &timetable.time_zone).ok()?;
            let definition = timetable.definition(name, kind);
            Some(Periodic { definition, ticks })
        })
        .collect();
    while let Err(error) = register(&context, &schedules).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "schedules cannot be made known, will try again"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    loop {
        if let Err(failure) = look(&context, &schedules).await {
            tracing::warn!(?failure, "looking for due schedules failed");
        }
        let now = now_micros();
        let next = schedules
            .iter()
            .filter(|schedule| schedule.definition.enabled)
            .filter_map(|schedule| schedule.ticks.after(now))
            .min();
        let wait = next.map_or(LOOK_EVERY, |next| {
            Duration::from_micros(u64::try_from(next.saturating_sub(now)).unwrap_or(0))
        });
        tokio::time::sleep(wait.clamp(SHORTEST, LOOK_EVERY)).await;
    }
}

async fn register(context: &Context, schedules: &[Periodic]) -> Result<(), mediamesh_store::Error> {
    for schedule in schedules {
        let definition = schedule.definition.clone();
        context.jobs.register_schedule(definition).await?;
    }
    Ok(())
}

/// Queues the jobs of ticks that have passed.
async fn look(context: &Context, schedules: &[Periodic]) -> Result<(), Failure> {
    let known = context.jobs.schedules(SYSTEM_TENANT).await?;
    for schedule in schedules.iter().filter(|known| known.definition.enabled) {
        let definition = &schedule.definition;
        let Some(row) = known
            .iter()
            .find(|row| row.definition.name == definition.name)
        else {
            continue;
        };
        if is_ahead(row.last_tick, now_micros()) {
            tracing::warn!(
                schedule = definition.name,
                "its last tick lies ahead, noted by a clock that was wrong: ticks count from now on"
            );
            context.jobs.register_schedule(definition.clone()).await?;
            continue;
        }
        let most = usize::try_from(definition.max_catch_up).unwrap_or(1);
        let (last, now, policy) = (row.last_tick, now_micros(), definition.catch_up);
        let Some(passed) = schedule.ticks.passed(last, now, policy, most) else {
            continue;
        };
        let due = Due {
            tenant_id: definition.tenant_id,
            schedule: definition.name.clone(),
            last_tick: last,
            until: passed.until,
            jobs: passed
                .ticks
                .iter()
                .map(|time| job(context, definition, *time))
                .collect(),
        };
        let outcome = match context.jobs.fire(due).await? {
            // another worker was faster
            false => continue,
            true if passed.ticks.is_empty() => "skipped",
            true => "queued",
        };
        if passed.left_out {
            tracing::info!(
                schedule = definition.name,
                queued = passed.ticks.len(),
                "ticks were missed, and not all are made up for"
            );
        }
        let name = definition.name.clone();
        let labels = ScheduleLabels {
            schedule: name,
            outcome,
        };
        context.metrics.ticks.get_or_create(&labels).inc();
        context.jobs.ring();
    }
    Ok(())
}

fn job(context: &Context, definition: &NewSchedule, time: i64) -> NewJob {
    NewJob {
        priority: BACKGROUND,
        max_attempts: context.options.worker.max_attempts,
        tick: Some(Tick {
            schedule: definition.name.clone(),
            time,
        }),
        ..NewJob::new(definition.tenant_id, definition.kind)
    }
}
