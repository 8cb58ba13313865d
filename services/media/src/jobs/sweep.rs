//! Expired leases, ended jobs, orphaned bytes.
//!
//! What ended and what is orphaned is removed by periodic jobs. Leases are not: a job that frees the
//! jobs of dead workers would itself wait for one.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use mediamesh_blob::ObjectInfo;
use mediamesh_proto::time::now_micros;
use mediamesh_store::{
    job::{Job, JobKind, Progress, Sweep},
    limit::{Bound, Reached},
};
use tokio::time::interval;

use super::{Context, Failure, chain};
use crate::{
    integrity::{Error as Unproven, is_its_storage, is_upload, remove_untracked},
    metrics::{LimitLabels, StateLabels},
};

/// Keys asked about in one statement.
const BATCH: usize = 500;
/// Fewer objects than these tell nothing of a storage as a whole.
const LEAST: usize = 100;
/// Jobs removed in one transaction.
const JOBS_BATCH: i64 = 1_000;

/// Frees the jobs of dead workers and measures the queue, for ever.
pub(super) async fn leases(context: Arc<Context>) {
    let mut ticks = interval(Duration::from_secs(
        context.options.worker.rescue_interval_secs,
    ));
    loop {
        ticks.tick().await;
        match context.jobs.rescue(false).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::warn!(count, "jobs rescued from workers that gave no sign of life");
                context.metrics.rescued.inc_by(count);
                context.jobs.ring();
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "rescuing jobs failed"
            ),
        }
        let limits = context.options.worker.limits.claim();
        if let Ok(reached) = context.jobs.reached_limits(None, limits).await {
            held_back(&context, &reached);
        }
        if let Ok(stats) = context.jobs.queue_stats(None).await {
            let depth = [
                ("waiting", stats.waiting),
                ("active", stats.active),
                ("delayed", stats.delayed),
                ("completed", stats.completed),
                ("failed", stats.failed),
                ("cancelled", stats.cancelled),
                ("stalled", stats.stalled),
                ("blocked", stats.blocked),
            ];
            for (state, count) in depth {
                context
                    .metrics
                    .queue_depth
                    .get_or_create(&StateLabels { state })
                    .set(count);
            }
        }
    }
}

/// Shows which limits hold jobs back, and nothing of those that do not any more.
fn held_back(context: &Context, reached: &[Reached]) {
    let gauges = &context.metrics.held_back;
    gauges.clear();
    for limit in reached {
        let labels = LimitLabels {
            tenants: limit.scope.tenant.map_or("all", |_| "one"),
            kind: limit.scope.kind.map_or("all", JobKind::name),
            bound: match limit.bound {
                Bound::Running => "running",
                Bound::Starts => "starts",
            },
        };
        gauges.get_or_create(&labels).inc_by(limit.held_back);
    }
}

/// Removes jobs that ended long ago, in small transactions.
pub(super) async fn jobs(context: &Context, job: &Job) -> Result<(), Failure> {
    let options = &context.options.worker;
    let before = |secs: u64| now_micros().saturating_sub(micros(secs));
    let sweep = Sweep {
        succeeded_before: before(options.keep_succeeded_secs),
        cancelled_before: before(options.keep_cancelled_secs),
        failed_before: before(options.keep_failed_secs),
        limit: JOBS_BATCH,
    };
    let mut removed = 0;
    loop {
        let batch = context.jobs.sweep(sweep).await?;
        removed += batch;
        if batch == 0 {
            break;
        }
        tell(context, job, removed, "jobs removed").await?;
    }
    if removed > 0 {
        tracing::info!(count = removed, "ended jobs removed");
    }
    Ok(())
}

/// Removes half-written files and bytes without a row.
pub(super) async fn blobs(context: &Context, job: &Job) -> Result<(), Failure> {
    // No upload lives longer than the age of an orphan.
    let age = Duration::from_secs(context.options.worker.orphan_age_secs);
    let halves = context.blobs.remove_stale(age).await?;
    if halves > 0 {
        tracing::info!(count = halves, "half-written objects removed");
    }
    let Swept { removed, kept } = orphans(context).await?;
    if removed > 0 {
        tracing::info!(count = removed, "objects without a row removed");
    }
    if kept == 0 {
        return tell(context, job, halves + removed, "objects removed").await;
    }
    tracing::warn!(
        count = kept,
        "objects without a row are kept, because this is hardly the storage of this database: check \
         `database` and `storage`, then what `mediamesh integrity` lists; its `--repair` removes it if \
         any original is there"
    );
    let what = format!("objects removed, {kept} without a row kept");
    tell(context, job, halves + removed, &what).await
}

async fn tell(context: &Context, job: &Job, removed: u64, what: &str) -> Result<(), Failure> {
    let removed = i64::try_from(removed).unwrap_or(i64::MAX);
    let progress = Progress::of(removed, removed, what);
    Ok(context.jobs.progress(&job.lease(), progress).await?)
}

/// What became of objects without a row.
struct Swept {
    removed: u64,
    kept: u64,
}

/// Removes objects that are old enough and that no row refers to, unless this is hardly the storage of this
/// database: none of its originals is there, or most of what is listed has no row.
async fn orphans(context: &Context) -> Result<Swept, Failure> {
    let concurrency = context.options.integrity.concurrency;
    let proven = is_its_storage(context.records.as_ref(), &context.blobs, concurrency).await;
    let mut ours = match proven {
        Ok(found) => found,
        Err(Unproven::OtherStorage { .. }) => false,
        Err(error) => return Err(Failure::Transient(chain(&error))),
    };
    let limit = now_micros().saturating_sub(micros(context.options.worker.orphan_age_secs));
    let old = context
        .blobs
        .list("")
        .try_filter(|object| std::future::ready(object.modified < limit));
    let mut batches = old.try_chunks(BATCH);
    let mut swept = Swept {
        removed: 0,
        kept: 0,
    };
    let (mut listed, mut untracked) = (0, 0);
    while let Some(batch) = batches.next().await {
        let batch: Vec<ObjectInfo> = batch.map_err(|error| Failure::from(error.1))?;
        let keys: Vec<String> = batch.into_iter().map(|object| object.key).collect();
        listed += keys.iter().filter(|key| !is_upload(key)).count();
        let orphans = context.media.unreferenced_blobs(keys).await?;
        untracked += orphans.iter().filter(|key| !is_upload(key)).count();
        ours &= listed < LEAST || untracked * 2 <= listed;
        for key in orphans {
            if !ours && !is_upload(&key) {
                swept.kept += 1;
            } else if remove_untracked(&context.blobs, &key, limit).await? {
                context.metrics.orphans.inc();
                swept.removed += 1;
            }
        }
    }
    Ok(swept)
}

fn micros(secs: u64) -> i64 {
    i64::try_from(secs)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000)
}
