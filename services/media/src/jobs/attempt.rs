//! One attempt at a job.
//!
//! An attempt ends in one of five ways, and every write of an end is fenced by the lease:
//! succeeded; retried after a wait that doubles; failed for good (at once if another attempt would
//! fail as well, else when the attempts are used up); lease lost, when nothing may be written; or
//! handed back at shutdown. A file that kills the process leaves its job running: its lease
//! expires, it is claimed again, and the count of attempts, which grows with each claim, ends it,
//! later than it ends what fails: most processes are killed for other reasons.

use std::{sync::Arc, time::Duration};

use mediamesh_mesh::{Identity, identity, priority};
use mediamesh_proto::{ErrorReason, status::reason_name, time::now_micros};
use mediamesh_store::job::{Job, JobKind};
use mediamesh_telemetry::propagation;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::Instrument as _;

use super::{
    Context, Failure, check,
    completer::{Completer, Written},
    delete, embed,
    heartbeat::Heartbeat,
    process, sweep,
};
use crate::{metrics::KindLabels, options::WorkerOptions};

/// What an attempt holds and uses beside its job.
pub(super) struct Hands {
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) completer: Completer,
    pub(super) stop: CancellationToken,
    /// Given back when the work is done, before its end is stored: meanwhile others work.
    pub(super) place: OwnedSemaphorePermit,
}

pub(super) async fn attempt(context: &Arc<Context>, hands: Hands, job: Job) {
    let span = tracing::info_span!(
        "job",
        job.kind = job.kind.name(),
        job.id = %job.id,
        job.attempt = job.attempts,
        media_item_id = job.media_item_id.map(tracing::field::display),
    );
    propagation::set_parent(&span, propagation::from_traceparent(&job.traceparent));
    attempt_in_span(context, hands, job).instrument(span).await;
}

async fn attempt_in_span(context: &Arc<Context>, hands: Hands, job: Job) {
    let kind = job.kind.name();
    let labels = KindLabels { kind };
    if job.attempts <= 1 {
        let waited = now_micros().saturating_sub(job.create_time).max(0);
        context
            .metrics
            .queue_wait
            .get_or_create(&labels)
            .observe(waited as f64 / 1e6);
    }
    let started = Instant::now();
    let Hands {
        heartbeat,
        completer,
        stop,
        place,
    } = hands;
    let held = heartbeat.hold(job.lease());
    let outcome = tokio::select! {
        result = run(context, &job) => {
            drop(place);
            settle(context, &completer, &job, result).await
        }
        () = held.lost() => "lease_lost",
        () = stop.cancelled() => hand_back(context, &job).await,
    };
    drop(held);
    context
        .metrics
        .job_seconds
        .get_or_create(&labels)
        .observe(started.elapsed().as_secs_f64());
    context.metrics.job(kind, outcome);
    tracing::debug!(kind, outcome, "attempt ended");
}

/// Does the work; a panic and a passed time limit are failures like others.
async fn run(context: &Arc<Context>, job: &Job) -> Result<(), Failure> {
    let most = job
        .max_attempts
        .max(context.options.worker.max_lost_attempts);
    if job.attempts > most {
        let detail = format!("gave up after {most} attempts, the last of which had no end");
        return Err(Failure::Permanent {
            reason: ErrorReason::Internal,
            detail,
        });
    }
    let limit = context.options.worker.time_limit(job.kind);
    let (context, job) = (Arc::clone(context), job.clone());
    // A task of its own: its panic ends it and not the worker.
    let identity = Identity::background(job.tenant_id.0);
    let work = tokio::spawn(
        // Calls of the job see its tenant's data and no other, and give way to people's.
        priority::background(identity::scope(identity, async move {
            match job.kind {
                JobKind::ProcessMedia => process::run(&context, &job).await,
                JobKind::EmbedMedia => embed::run(&context, &job).await,
                JobKind::DeleteBlobs => delete::run(&context, &job).await,
                JobKind::SweepJobs => sweep::jobs(&context, &job).await,
                JobKind::SweepBlobs => sweep::blobs(&context, &job).await,
                JobKind::CheckBlobs => check::run(&context, &job).await,
            }
        }))
        .in_current_span(),
    );
    match timeout(limit, AbortOnDropHandle::new(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(Failure::Transient(format!("the job was aborted: {panic}"))),
        Err(_) => Err(Failure::Transient(format!(
            "the job took longer than {} s",
            limit.as_secs()
        ))),
    }
}

/// Writes the end of an attempt; answers its name in the metrics.
async fn settle(
    context: &Context,
    completer: &Completer,
    job: &Job,
    result: Result<(), Failure>,
) -> &'static str {
    let lease = job.lease();
    let (written, outcome) = match result {
        Ok(()) => {
            return match completer.complete(lease).await {
                Written::Kept => "succeeded",
                Written::Lost | Written::Failed => "lease_lost",
            };
        }
        Err(Failure::LeaseLost) => return "lease_lost",
        Err(Failure::Transient(error)) if job.attempts < job.max_attempts => {
            let delay = backoff(&context.options.worker, job.attempts);
            tracing::warn!(
                error,
                delay_ms = delay.as_millis(),
                "job failed, will be tried again"
            );
            (context.jobs.retry(&lease, &error, delay).await, "retried")
        }
        Err(Failure::Transient(error)) => {
            let detail = format!("processing failed {} times: {error}", job.attempts);
            (
                fail(context, job, ErrorReason::Internal, &detail).await,
                "failed",
            )
        }
        Err(Failure::Permanent { reason, detail }) => {
            (fail(context, job, reason, &detail).await, "failed")
        }
    };
    match written {
        Ok(()) => outcome,
        Err(mediamesh_store::Error::LeaseLost { .. }) => "lease_lost",
        Err(error) => {
            // The lease runs out and the job is claimed again.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the end of a job could not be stored"
            );
            "lease_lost"
        }
    }
}

/// Ends a job for good, and with a processing job its item.
async fn fail(
    context: &Context,
    job: &Job,
    reason: ErrorReason,
    detail: &str,
) -> mediamesh_store::Result<()> {
    tracing::warn!(reason = reason_name(reason), detail, "job failed for good");
    let lease = job.lease();
    match (job.kind, job.media_item_id) {
        // Together, under the lease: a crash in between would leave the item processing for ever, and
        // a late worker must not spoil another's result.
        (JobKind::ProcessMedia, Some(item)) => {
            context
                .media
                .fail_processing(&lease, job.tenant_id, item, reason_name(reason), detail)
                .await
        }
        _ => context.jobs.fail(&lease, detail).await,
    }
}

async fn hand_back(context: &Context, job: &Job) -> &'static str {
    match context.jobs.hand_back(&job.lease()).await {
        Ok(()) => "handed_back",
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a job could not be handed back"
            );
            "lease_lost"
        }
    }
}

/// 2, 4, 8 s and so on, each a quarter up or down, so that what failed together returns apart.
fn backoff(options: &WorkerOptions, attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(20);
    let millis = options
        .backoff_millis
        .saturating_mul(1 << doublings)
        .min(options.max_backoff_millis);
    Duration::from_millis(millis).mul_f64(rand::random_range(0.75..=1.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let options = WorkerOptions::default();
        for (attempts, millis) in [
            (1, 2_000),
            (2, 4_000),
            (3, 8_000),
            (12, 300_000),
            (i32::MAX, 300_000),
        ] {
            let wait = backoff(&options, attempts).as_millis();
            assert!(
                (millis * 3 / 4..=millis * 5 / 4).contains(&wait),
                "{attempts}: {wait} ms"
            );
        }
    }
}
