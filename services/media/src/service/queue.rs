//! What callers and operators do with jobs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{Stream, stream};
use mediamesh_proto::{JobId, MediaItemId, TenantId, time::now_micros};
use mediamesh_store::{
    job::{Job, JobFilter, JobKind, NewJob, Pause, QueueStats, Step, Turned},
    limit::Reached,
    schedule::Schedule,
};
use tokio::time::Instant;

use super::{
    SYSTEM_TENANT, Service, new_job,
    watchers::{SILENCE, Watcher},
};
use crate::{
    error::{Error, Result},
    schedule::Ticks,
    tree::{self, Status, WantedStep},
};

impl Service {
    /// Reads one job.
    pub async fn job(&self, tenant: TenantId, id: JobId) -> Result<Job> {
        self.jobs
            .get_job(tenant, id)
            .await?
            .ok_or(Error::JobNotFound { id })
    }

    /// Queues the steps of a tree; answers its id.
    pub async fn queue_tree(&self, tenant: TenantId, steps: Vec<WantedStep>) -> Result<JobId> {
        let mut items: Vec<_> = steps.iter().map(|step| step.item).collect();
        items.sort_unstable_by_key(|item| item.0);
        items.dedup();
        let known = self.media.get_items(tenant, &items).await?;
        let known: HashSet<MediaItemId> = known.into_iter().map(|item| item.id).collect();
        if let Some(id) = items.into_iter().find(|item| !known.contains(item)) {
            return Err(Error::ItemNotFound { id });
        }
        let ids: Vec<JobId> = steps.iter().map(|_| JobId::generate()).collect();
        // the first step gives the tree its id, so that each is found by the other's
        let tree_id = ids.first().copied().unwrap_or_else(JobId::generate);
        let place: HashMap<&str, JobId> = steps
            .iter()
            .zip(&ids)
            .map(|(step, id)| (step.name.as_str(), *id))
            .collect();
        let job = |(step, id): (&WantedStep, &JobId)| NewJob {
            id: *id,
            // twice the same step is meant so, and each has its own place
            unique_key: None,
            tree_id: Some(tree_id),
            step: step.name.clone(),
            needs: step
                .needs
                .iter()
                .filter_map(|need| place.get(need.as_str()).copied())
                .collect(),
            ..new_job(&self.options, tenant, step.kind, step.item, step.priority)
        };
        let jobs = steps.iter().zip(&ids).map(job).collect();
        self.jobs.enqueue_all(jobs).await?;
        self.jobs.ring();
        Ok(tree_id)
    }

    /// Reads the steps of a tree, the oldest of them if there are many, and how all of them are.
    pub async fn tree(&self, tenant: TenantId, id: JobId) -> Result<(Vec<Step>, Status)> {
        let limit = i64::try_from(tree::MAX_STEPS).unwrap_or(i64::MAX);
        let steps = self.jobs.tree(tenant, id, limit).await?;
        if steps.is_empty() {
            return Err(Error::JobNotFound { id });
        }
        let counts = self.jobs.tree_counts(tenant, id).await?;
        Ok((steps, tree::status(&counts)))
    }

    /// Reads a page of jobs, newest first.
    pub async fn list_jobs(
        &self,
        tenant: TenantId,
        filter: JobFilter,
        after: Option<(i64, JobId)>,
        limit: i64,
    ) -> Result<Vec<Job>> {
        Ok(self.jobs.list_jobs(tenant, filter, after, limit).await?)
    }

    /// Answers a job now and at its changes, until it has ended.
    pub async fn watch_job(
        self: &Arc<Self>,
        tenant: TenantId,
        id: JobId,
    ) -> Result<impl Stream<Item = Result<Job>> + Send + 'static> {
        // who asks for what is not there hears so before the stream begins
        let first = self.job(tenant, id).await?;
        let service = Arc::clone(self);
        let watching = Some((first.clone(), self.watchers.join()));
        let changes = stream::unfold(watching, move |watching| {
            let service = Arc::clone(&service);
            async move {
                let (told, watcher) = watching.filter(|(job, _)| !job.state.has_ended())?;
                match service.changed(tenant, told, &watcher).await {
                    Ok(job) => Some((Ok(job.clone()), Some((job, watcher)))),
                    Err(error) => Some((Err(error), None)),
                }
            }
        });
        Ok(futures::StreamExt::chain(
            stream::iter([Ok(first)]),
            changes,
        ))
    }

    /// Waits until a job differs from what was told of it, or it is time for a sign of life.
    async fn changed(&self, tenant: TenantId, told: Job, watcher: &Watcher) -> Result<Job> {
        let since = Instant::now();
        loop {
            tokio::time::sleep(watcher.pause()).await;
            let job = self.job(tenant, told.id).await?;
            let same = (job.state, job.attempts, &job.progress, &job.last_error)
                == (told.state, told.attempts, &told.progress, &told.last_error);
            if !same || since.elapsed() >= SILENCE {
                return Ok(job);
            }
        }
    }

    /// Cancels a job that waits or runs.
    pub async fn cancel_job(&self, tenant: TenantId, id: JobId) -> Result<Job> {
        turned(id, self.jobs.cancel_job(tenant, id).await?)
    }

    /// Queues a job that failed or was cancelled again.
    pub async fn retry_job(&self, tenant: TenantId, id: JobId) -> Result<Job> {
        let job = turned(id, self.jobs.requeue_job(tenant, id).await?)?;
        self.jobs.ring();
        Ok(job)
    }

    /// Queues failed jobs again; answers how many.
    pub async fn retry_failed(
        &self,
        tenant: TenantId,
        kind: Option<JobKind>,
        limit: i64,
    ) -> Result<u64> {
        let count = self.jobs.requeue_failed(tenant, kind, limit).await?;
        self.jobs.ring();
        Ok(count)
    }

    /// Keeps jobs from being started; answers every pause.
    pub async fn pause(
        &self,
        tenant: TenantId,
        kind: Option<JobKind>,
        until: Option<i64>,
    ) -> Result<Vec<Pause>> {
        self.jobs.pause(tenant, kind, until).await?;
        Ok(self.jobs.pauses(tenant).await?)
    }

    /// Ends a pause; answers those that are left.
    pub async fn resume(&self, tenant: TenantId, kind: Option<JobKind>) -> Result<Vec<Pause>> {
        if self.jobs.resume(tenant, kind).await? {
            self.jobs.ring();
        }
        Ok(self.jobs.pauses(tenant).await?)
    }

    /// Reads every schedule, each with the time that it is due next.
    pub async fn schedules(&self) -> Result<Vec<(Schedule, Option<i64>)>> {
        let schedules = self.jobs.schedules(SYSTEM_TENANT).await?;
        let now = now_micros();
        let next = |schedule: &Schedule| {
            let definition = &schedule.definition;
            // one that another version of the program made known may be none for this one
            let ticks = Ticks::of(&definition.cron, &definition.time_zone).ok()?;
            ticks.after(now).filter(|_| definition.enabled)
        };
        Ok(schedules
            .into_iter()
            .map(|schedule| {
                let next = next(&schedule);
                (schedule, next)
            })
            .collect())
    }

    /// Counts the tenant's jobs, and tells what is paused and what is held back by limits.
    pub async fn queue_stats(
        &self,
        tenant: TenantId,
    ) -> Result<(QueueStats, Vec<Pause>, Vec<Reached>)> {
        let stats = self.jobs.queue_stats(Some(tenant)).await?;
        let pauses = self.jobs.pauses(tenant).await?;
        let limits = self.options.worker.limits.claim();
        let reached = self.jobs.reached_limits(Some(tenant), limits).await?;
        Ok((stats, pauses, reached))
    }
}

fn turned(id: JobId, turned: Option<Turned>) -> Result<Job> {
    match turned {
        Some(Turned::Done(job)) => Ok(job),
        Some(Turned::Unfit(job)) => Err(Error::JobStateUnfit {
            id,
            state: job.state.name(),
        }),
        None => Err(Error::JobNotFound { id }),
    }
}
