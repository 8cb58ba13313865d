//! Compares what rows name with what is stored, and tells what is wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use mediamesh_store::job::{Job, Progress};
use tokio::time::{MissedTickBehavior, interval};

use super::{Context, Failure, chain};
use crate::{
    integrity::{Depth, Event, Finding, Part, Scan},
    metrics::{FindingLabels, MediaMetrics},
};

/// Between two writes of how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Findings that the log names one by one; all are counted, and `mediamesh integrity` lists them.
const MAX_LOGGED: u64 = 100;

pub(super) async fn run(context: &Context, job: &Job) -> Result<(), Failure> {
    let depth = Depth {
        checksums: context.options.integrity.checksums,
        repair: context.options.integrity.repair,
    };
    let scan = Scan::new(
        Arc::clone(&context.options),
        depth,
        Arc::clone(&context.records),
        Arc::clone(&context.media),
        Arc::clone(&context.jobs),
        context.blobs.clone(),
    );
    let (items, all) = (AtomicI64::new(0), AtomicI64::new(0));
    let mut logged = 0;
    let mut tell = |event| match event {
        Event::Items(count) => all.store(i64::try_from(count).unwrap_or(i64::MAX), Relaxed),
        Event::Item { objects, .. } => {
            items.fetch_add(1, Relaxed);
            context.metrics.checked.inc_by(objects);
        }
        Event::Listed(_) => {}
        Event::Found(finding) => {
            logged += 1;
            note(&context.metrics, &finding, logged);
        }
    };
    let mut ticks = interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The scan goes on while a write waits for its turn: it may hold what the write waits for.
    let telling = async {
        loop {
            ticks.tick().await;
            let progress = Progress::of(items.load(Relaxed), all.load(Relaxed), "comparing");
            if let Err(error) = context.jobs.progress(&job.lease(), progress).await {
                break error;
            }
        }
    };
    let summary = tokio::select! {
        ended = scan.run(&mut tell) => ended,
        error = telling => return Err(error.into()),
    };
    let summary = summary.map_err(|error| Failure::Transient(chain(&error)))?;
    let text = format!(
        "{} objects: {} missing, {} untracked, {} of other bytes, {} unreadable; {} mended",
        summary.named,
        summary.missing,
        summary.untracked,
        summary.mismatch,
        summary.unreadable,
        summary.mended
    );
    tracing::info!(
        items = summary.items,
        objects = summary.named,
        findings = summary.findings(),
        mended = summary.mended,
        "rows compared with what is stored"
    );
    let done = i64::try_from(summary.items).unwrap_or(i64::MAX);
    let progress = Progress::of(done, done, &text);
    Ok(context.jobs.progress(&job.lease(), progress).await?)
}

fn note(metrics: &MediaMetrics, finding: &Finding, logged: u64) {
    let (problem, part) = (finding.problem.name(), part(&finding.part));
    let labels = FindingLabels { problem, part };
    metrics.findings.get_or_create(&labels).inc();
    if logged <= MAX_LOGGED {
        tracing::warn!(
            problem,
            part,
            key = finding.key,
            detail = finding.detail,
            repair = finding.repair.name(),
            "rows and storage disagree"
        );
    }
}

fn part(part: &Part) -> &'static str {
    match part {
        Part::Original => "original",
        Part::Rendition(_) => "rendition",
        Part::Unknown => "unknown",
    }
}
