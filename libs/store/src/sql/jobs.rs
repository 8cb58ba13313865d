//! [`JobStore`].

use std::time::Duration;

use async_trait::async_trait;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, SelectableHelper as _,
    dsl::{count_star, min},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{JobId, TenantId, time::now_micros};

use super::{
    Connection, Store, dialect,
    rows::{JobRow, NewJobRow},
    schema::processing_jobs::dsl as j,
    types::{Id, raw, uuid},
};
use crate::{
    error::{Error, Result},
    job::{Job, JobState, JobStore, Lease, NewJob, QueueStats},
};

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Queues a job inside a running transaction; answers the one that already waits, if any.
pub(super) async fn enqueue(conn: &mut Connection, job: NewJob, now: i64) -> Result<JobId> {
    if let Some(key) = &job.unique_key {
        dialect::lock_unique(conn, job.tenant_id, key).await?;
        let waiting: Option<Id> = j::processing_jobs
            .filter(j::tenant_id.eq(raw(job.tenant_id.0)))
            .filter(j::unique_key.eq(key))
            .filter(j::state.eq(JobState::Queued as i16))
            .select(j::id)
            .first(conn)
            .await
            .optional()?;
        if let Some(id) = waiting {
            return Ok(JobId(uuid(&id)?));
        }
    }
    let id = job.id;
    diesel::insert_into(j::processing_jobs)
        .values(NewJobRow::new(job, now))
        .execute(conn)
        .await?;
    Ok(id)
}

/// A running job under this lease.
macro_rules! held {
    ($lease:expr) => {
        j::processing_jobs
            .filter(j::id.eq(raw($lease.job_id.0)))
            .filter(j::lease_token.eq($lease.token))
            .filter(j::state.eq(JobState::Running as i16))
    };
}

fn kept(lease: Lease, rows: usize) -> Result<()> {
    match rows {
        1 => Ok(()),
        _ => Err(Error::LeaseLost {
            job_id: lease.job_id,
        }),
    }
}

/// Fails unless the lease still holds; from here on nobody takes it before the transaction ends.
pub(super) async fn hold_lease(conn: &mut Connection, lease: Lease) -> Result<()> {
    // changes nothing, but locks the row wherever rows are locked
    let held = diesel::update(held!(lease)).set(j::lease_token.eq(lease.token));
    kept(lease, held.execute(conn).await?)
}

/// Ends or re-queues a job whose lease holds.
async fn settle(
    conn: &mut Connection,
    lease: Lease,
    state: JobState,
    error: String,
    run_after: i64,
) -> Result<()> {
    let ended = (state != JobState::Queued).then(now_micros);
    let settled = diesel::update(held!(lease)).set((
        j::state.eq(state as i16),
        j::last_error.eq(error),
        j::run_after.eq(run_after),
        // Queued again it could meet a twin that was queued meanwhile.
        j::unique_key.eq(None::<String>),
        j::end_time.eq(ended),
        j::lease_expire.eq(0),
        (state == JobState::Succeeded).then(|| j::progress.eq(1.0)),
    ));
    kept(lease, settled.execute(conn).await?)
}

#[async_trait]
impl JobStore for Store {
    async fn enqueue(&self, job: NewJob) -> Result<JobId> {
        self.db
            .write("enqueue_job", |conn| {
                Box::pin(enqueue(conn, job, now_micros()))
            })
            .await
    }

    async fn claim(&self, worker: &str, lease: Duration, limit: i64) -> Result<Vec<Job>> {
        let worker = worker.to_owned();
        self.db
            .write("claim_jobs", move |conn| {
                Box::pin(claim(conn, worker, lease, limit))
            })
            .await
    }

    async fn heartbeat(&self, leases: &[Lease], lease: Duration) -> Result<Vec<JobId>> {
        let mut leases = leases.to_vec();
        // in one order everywhere, so that no two transactions wait for each other
        leases.sort_by_key(|lease| lease.job_id.0);
        self.db
            .write("heartbeat_jobs", move |conn| {
                Box::pin(async move {
                    let expire = now_micros() + micros(lease);
                    let mut lost = Vec::new();
                    for lease in leases {
                        let set = diesel::update(held!(lease)).set(j::lease_expire.eq(expire));
                        if set.execute(conn).await? == 0 {
                            lost.push(lease.job_id);
                        }
                    }
                    Ok(lost)
                })
            })
            .await
    }

    async fn progress(&self, lease: &Lease, progress: f32, message: &str) -> Result<()> {
        let (lease, message) = (*lease, message.to_owned());
        self.db
            .write("progress_job", move |conn| {
                Box::pin(async move {
                    let target = j::processing_jobs
                        .filter(j::id.eq(raw(lease.job_id.0)))
                        .filter(j::lease_token.eq(lease.token));
                    diesel::update(target)
                        .set((j::progress.eq(progress), j::progress_message.eq(message)))
                        .execute(conn)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn complete(&self, lease: &Lease) -> Result<()> {
        let lease = *lease;
        self.db
            .write("complete_job", move |conn| {
                Box::pin(settle(conn, lease, JobState::Succeeded, String::new(), 0))
            })
            .await
    }

    async fn retry(&self, lease: &Lease, error: &str, delay: Duration) -> Result<()> {
        let (lease, error) = (*lease, error.to_owned());
        let run_after = now_micros() + micros(delay);
        self.db
            .write("retry_job", move |conn| {
                Box::pin(settle(conn, lease, JobState::Queued, error, run_after))
            })
            .await
    }

    async fn fail(&self, lease: &Lease, error: &str) -> Result<()> {
        let (lease, error) = (*lease, error.to_owned());
        self.db
            .write("fail_job", move |conn| {
                Box::pin(settle(conn, lease, JobState::Failed, error, 0))
            })
            .await
    }

    async fn rescue(&self, all: bool) -> Result<u64> {
        self.db
            .write("rescue_jobs", move |conn| {
                Box::pin(async move {
                    let bound = if all { i64::MAX } else { now_micros() };
                    let target = j::processing_jobs
                        .filter(j::state.eq(JobState::Running as i16))
                        .filter(j::lease_expire.lt(bound));
                    // A queued twin under the same unique key does the work already.
                    let rescued = diesel::update(target)
                        .set((
                            j::state.eq(JobState::Queued as i16),
                            j::unique_key.eq(None::<String>),
                            j::last_error.eq("the worker's lease ended"),
                        ))
                        .execute(conn)
                        .await?;
                    Ok(rescued as u64)
                })
            })
            .await
    }

    async fn sweep(&self, before: i64) -> Result<u64> {
        self.db
            .write("sweep_jobs", move |conn| {
                Box::pin(async move {
                    let ended = j::processing_jobs
                        .filter(j::state.gt(JobState::Running as i16))
                        .filter(j::end_time.lt(before));
                    Ok(diesel::delete(ended).execute(conn).await? as u64)
                })
            })
            .await
    }

    async fn get_job(&self, tenant: TenantId, id: JobId) -> Result<Option<Job>> {
        self.db
            .read("get_job", move |conn| {
                Box::pin(async move {
                    let row: Option<JobRow> = j::processing_jobs
                        .filter(j::tenant_id.eq(raw(tenant.0)))
                        .filter(j::id.eq(raw(id.0)))
                        .select(JobRow::as_select())
                        .first(conn)
                        .await
                        .optional()?;
                    row.map(Job::try_from).transpose()
                })
            })
            .await
    }

    async fn list_jobs(
        &self,
        tenant: TenantId,
        state: Option<i16>,
        after: Option<(i64, JobId)>,
        limit: i64,
    ) -> Result<Vec<Job>> {
        self.db
            .read("list_jobs", move |conn| {
                Box::pin(async move {
                    let mut query = j::processing_jobs
                        .filter(j::tenant_id.eq(raw(tenant.0)))
                        .order((j::create_time.desc(), j::id.desc()))
                        .limit(limit)
                        .select(JobRow::as_select())
                        .into_boxed();
                    if let Some(state) = state {
                        query = query.filter(j::state.eq(state));
                    }
                    if let Some((time, id)) = after {
                        use diesel::BoolExpressionMethods as _;
                        let same_time = j::create_time.eq(time).and(j::id.lt(raw(id.0)));
                        query = query.filter(j::create_time.lt(time).or(same_time));
                    }
                    let rows: Vec<JobRow> = query.load(conn).await?;
                    rows.into_iter().map(Job::try_from).collect()
                })
            })
            .await
    }

    async fn queue_stats(&self, tenant: Option<TenantId>) -> Result<QueueStats> {
        self.db
            .read("queue_stats", move |conn| {
                Box::pin(queue_stats(conn, tenant))
            })
            .await
    }
}

async fn claim(
    conn: &mut Connection,
    worker: String,
    lease: Duration,
    limit: i64,
) -> Result<Vec<Job>> {
    let now = now_micros();
    let ids = dialect::claimable(conn, now, limit).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows: Vec<JobRow> = diesel::update(j::processing_jobs.filter(j::id.eq_any(&ids)))
        .set((
            j::state.eq(JobState::Running as i16),
            j::attempts.eq(j::attempts + 1),
            j::lease_token.eq(j::lease_token + 1),
            j::lease_expire.eq(now + micros(lease)),
            j::worker.eq(worker),
            j::start_time.eq(now),
        ))
        .returning(JobRow::as_returning())
        .get_results(conn)
        .await?;
    let mut jobs: Vec<Job> = rows.drain(..).map(Job::try_from).collect::<Result<_>>()?;
    // RETURNING promises no order; run them in the order of the queue.
    let place = |job: &Job| ids.iter().position(|id| *id == raw(job.id.0));
    jobs.sort_by_key(place);
    Ok(jobs)
}

async fn queue_stats(conn: &mut Connection, tenant: Option<TenantId>) -> Result<QueueStats> {
    let now = now_micros();
    let mut by_state = j::processing_jobs
        .group_by(j::state)
        .select((j::state, count_star()))
        .into_boxed();
    let mut delayed = j::processing_jobs
        .filter(j::state.eq(JobState::Queued as i16))
        .filter(j::run_after.gt(now))
        .select(count_star())
        .into_boxed();
    let mut oldest = j::processing_jobs
        .filter(j::state.eq(JobState::Queued as i16))
        .select(min(j::create_time))
        .into_boxed();
    if let Some(tenant) = tenant {
        by_state = by_state.filter(j::tenant_id.eq(raw(tenant.0)));
        delayed = delayed.filter(j::tenant_id.eq(raw(tenant.0)));
        oldest = oldest.filter(j::tenant_id.eq(raw(tenant.0)));
    }
    let counts: Vec<(i16, i64)> = by_state.load(conn).await?;
    let of = |state: JobState| {
        counts
            .iter()
            .find(|(s, _)| *s == state as i16)
            .map_or(0, |(_, count)| *count)
    };
    let delayed: i64 = delayed.first(conn).await?;
    Ok(QueueStats {
        waiting: of(JobState::Queued) - delayed,
        active: of(JobState::Running),
        completed: of(JobState::Succeeded),
        failed: of(JobState::Failed),
        delayed,
        oldest_waiting: oldest.first(conn).await?,
    })
}
