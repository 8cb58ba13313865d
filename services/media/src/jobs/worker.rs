//! Claims jobs, runs them, and drains at shutdown.

use std::{future::Future, sync::Arc, time::Duration};

use mediamesh_imaging::Plan;
use mediamesh_mesh::{MAX_MESSAGE_BYTES, priority};
use mediamesh_proto::{
    embedding::v1::embedding_service_client::EmbeddingServiceClient,
    search::v1::search_service_client::SearchServiceClient,
};
use mediamesh_store::{RequestLogStore, job::Job};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Context,
    attempt::{Hands, attempt},
    backfill,
    completer::Completer,
    cpu::CpuPool,
    heartbeat::Heartbeat,
    periodic, request_log, sweep,
};
use crate::{build::Deps, metrics::MediaMetrics, options::Options};

/// First wait after an empty look into the queue; it doubles up to the option's limit.
const MIN_POLL: Duration = Duration::from_millis(50);

/// How long a claim waits for more places to get free while there is a backlog: far less than a job
/// with any work takes.
const GATHER: Duration = Duration::from_millis(1);

/// Does the work in the queue.
pub struct Worker {
    context: Arc<Context>,
    request_log: Arc<dyn RequestLogStore>,
    sole: bool,
}

impl Worker {
    pub(crate) fn new(options: Arc<Options>, deps: Deps, metrics: MediaMetrics) -> Self {
        let cpu = CpuPool::new(options.worker.cpu_threads(), metrics.clone());
        let request_log = deps.request_log;
        let context = Context {
            plan: Plan::default(),
            media: deps.media_store,
            jobs: deps.job_store,
            records: deps.integrity_store,
            search_store: deps.search_store,
            blobs: deps.blobs,
            embedding: EmbeddingServiceClient::new(deps.embedding)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            search: SearchServiceClient::new(deps.search)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            cpu,
            metrics,
            options,
        };
        Self {
            context: Arc::new(context),
            request_log,
            sole: false,
        }
    }

    /// Says that no other process works on this database: jobs that the last process left running
    /// are then taken at once, instead of when their leases end.
    #[must_use]
    pub fn sole(mut self) -> Self {
        self.sole = true;
        self
    }

    /// Works until `shutdown`, then lets running jobs end, for a while; the rest is handed back.
    ///
    /// Nobody waits for any of it, so it is patient where people are not: for a connection, for one.
    ///
    /// Errors: the heartbeat's thread cannot be started.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> std::io::Result<()> {
        priority::background(self.work(shutdown)).await
    }

    async fn work(self, shutdown: impl Future<Output = ()> + Send) -> std::io::Result<()> {
        let context = self.context;
        let options = &context.options.worker;
        let heartbeat = Arc::new(Heartbeat::start(
            context.jobs.as_ref(),
            options.heartbeat(),
            options.lease(),
        )?);
        if self.sole
            && let Err(error) = context.jobs.rescue(true).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "jobs of the last process wait for their leases"
            );
        }
        let stop = CancellationToken::new();
        let mut periodic = JoinSet::new();
        // a task that is spawned has no priority of its own
        let leases = priority::background(sweep::leases(Arc::clone(&context)));
        periodic.spawn(stop.clone().run_until_cancelled_owned(leases));
        let schedules = priority::background(periodic::run(Arc::clone(&context)));
        periodic.spawn(stop.clone().run_until_cancelled_owned(schedules));
        let backfill = backfill::run(Arc::clone(&context));
        periodic.spawn(stop.clone().run_until_cancelled_owned(backfill));
        let log = request_log::run(self.request_log, context.options.request_log.clone());
        periodic.spawn(
            stop.clone()
                .run_until_cancelled_owned(priority::background(log)),
        );

        let mut running = JoinSet::new();
        let draining = CancellationToken::new();
        let drain = async {
            shutdown.await;
            draining.cancel();
        };
        tokio::join!(
            claim(&context, &heartbeat, &stop, &draining, &mut running),
            drain
        );
        tracing::info!(jobs = running.len(), "worker drains");
        let drained = timeout(Duration::from_secs(options.drain_secs), async {
            while running.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            // Attempts hand their jobs back when they are told to stop.
            stop.cancel();
            while running.join_next().await.is_some() {}
        }
        stop.cancel();
        while periodic.join_next().await.is_some() {}
        Ok(())
    }
}

/// Claims jobs until `draining`, as many as there are free places.
///
/// Only waits are cut short: a claim that was begun is ended and its jobs are started, because
/// claimed jobs that nobody works on would wait for their leases to end.
async fn claim(
    context: &Arc<Context>,
    heartbeat: &Arc<Heartbeat>,
    stop: &CancellationToken,
    draining: &CancellationToken,
    running: &mut JoinSet<()>,
) {
    let options = &context.options.worker;
    let places = Arc::new(Semaphore::new(options.concurrency()));
    let completer = Completer::start(Arc::clone(&context.jobs));
    let worker = format!("{}-{}", std::process::id(), uuid::Uuid::now_v7().simple());
    let max_poll = Duration::from_millis(options.max_poll_millis);
    let mut poll = MIN_POLL;
    // the last claim filled every place, so more may wait
    let mut backlog = false;
    while !draining.is_cancelled() {
        while running.try_join_next().is_some() {}
        // Waits for one place, then takes all that are free.
        let place = draining
            .run_until_cancelled(Arc::clone(&places).acquire_owned())
            .await;
        let Some(Ok(first)) = place else { return };
        if backlog {
            // short jobs end in flocks: one claim for all of them costs what one for each would
            let half = u32::try_from(options.concurrency() / 2).unwrap_or(u32::MAX);
            let _ = timeout(GATHER, places.acquire_many(half)).await;
        }
        let mut free = vec![first];
        free.extend(std::iter::from_fn(|| {
            Arc::clone(&places).try_acquire_owned().ok()
        }));
        let limit = i64::try_from(free.len()).unwrap_or(i64::MAX);
        let jobs: Vec<Job> = match context
            .jobs
            .claim_within(&worker, options.lease(), limit, options.limits.claim())
            .await
        {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "claiming jobs failed"
                );
                Vec::new()
            }
        };
        backlog = jobs.len() == free.len();
        if jobs.is_empty() {
            drop(free);
            let rung = timeout(poll, context.jobs.rung());
            let Some(rung) = draining.run_until_cancelled(rung).await else {
                return;
            };
            poll = if rung.is_ok() {
                MIN_POLL
            } else {
                (poll * 2).min(max_poll)
            };
            continue;
        }
        poll = MIN_POLL;
        for (job, place) in jobs.into_iter().zip(free) {
            let context = Arc::clone(context);
            let hands = Hands {
                heartbeat: Arc::clone(heartbeat),
                completer: completer.clone(),
                stop: stop.clone(),
                place,
            };
            let attempt = async move { attempt(&context, hands, job).await };
            running.spawn(priority::background(attempt));
        }
    }
}
