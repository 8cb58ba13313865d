//! Expired leases, ended jobs, orphaned bytes.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, TryStreamExt as _};
use mediamesh_blob::ObjectInfo;
use mediamesh_proto::time::now_micros;
use mediamesh_store::job::Sweep;
use tokio::time::interval;

use super::{Context, Failure, chain};
use crate::metrics::StateLabels;

/// Keys asked about in one statement.
const BATCH: usize = 500;

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
        if let Ok(stats) = context.jobs.queue_stats(None).await {
            let depth = [
                ("waiting", stats.waiting),
                ("active", stats.active),
                ("delayed", stats.delayed),
                ("completed", stats.completed),
                ("failed", stats.failed),
                ("cancelled", stats.cancelled),
                ("stalled", stats.stalled),
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

/// Removes ended jobs, half-written files and bytes without a row, for ever.
pub(super) async fn leftovers(context: Arc<Context>) {
    let options = &context.options.worker;
    let mut ticks = interval(Duration::from_secs(options.sweep_interval_secs));
    loop {
        ticks.tick().await;
        let now = now_micros();
        let sweep = Sweep {
            ended_before: now.saturating_sub(micros(options.keep_ended_secs)),
            failed_before: now.saturating_sub(micros(options.keep_failed_secs)),
        };
        if let Err(error) = context.jobs.sweep(sweep).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "sweeping jobs failed"
            );
        }
        // No upload lives longer than the age of an orphan.
        match context
            .blobs
            .remove_stale(Duration::from_secs(options.orphan_age_secs))
            .await
        {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "half-written objects removed"),
            Err(error) => tracing::warn!(
                error = chain(&error),
                "removing half-written objects failed"
            ),
        }
        match orphans(&context).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "objects without a row removed"),
            Err(failure) => tracing::warn!(?failure, "removing objects without a row failed"),
        }
    }
}

/// Removes objects that are old enough and that no row refers to; answers how many.
pub(super) async fn orphans(context: &Context) -> Result<u64, Failure> {
    let limit = now_micros().saturating_sub(micros(context.options.worker.orphan_age_secs));
    let old = context
        .blobs
        .list("")
        .try_filter(|object| std::future::ready(object.modified < limit));
    let mut batches = old.try_chunks(BATCH);
    let mut removed = 0;
    while let Some(batch) = batches.next().await {
        let batch: Vec<ObjectInfo> = batch.map_err(|error| Failure::from(error.1))?;
        let keys = batch.iter().map(|object| object.key.clone()).collect();
        for key in context.media.unreferenced_blobs(keys).await? {
            // Written anew since it was listed: a repeated job is about to refer to it.
            let same = context
                .blobs
                .head(&key)
                .await
                .is_ok_and(|now| now.modified < limit);
            if same {
                context.blobs.delete(&key).await?;
                context.metrics.orphans.inc();
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn micros(secs: u64) -> i64 {
    i64::try_from(secs)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000)
}
