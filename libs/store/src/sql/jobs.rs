//! [`JobStore`].

use std::time::Duration;

use async_trait::async_trait;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, SelectableHelper as _,
};
use diesel_async::RunQueryDsl as _;
use futures::future::BoxFuture;
use mediamesh_proto::{JobId, TenantId, time::now_micros};

use super::{
    Connection, Store,
    claims::{self, Claim},
    dialect, ends,
    filter::{Bind, Sql},
    job_control, job_counts,
    rows::{JobRow, NewJobRow, micros},
    schema::processing_jobs::dsl as j,
    trees,
    types::{Id, raw, uuid},
};
use crate::{
    error::{Error, Result},
    job::{
        Job, JobFilter, JobKind, JobState, JobStore, Lease, LeaseKeeper, NewJob, Pause, Progress,
        QueueStats, Step, StepCount, Sweep, Turned, UniquePeriod,
    },
    limit::{ClaimLimits, Reached},
};

/// Answers the job that stands for another of the same period, if any.
async fn of_period(
    conn: &mut Connection,
    tenant: TenantId,
    period: &UniquePeriod,
    now: i64,
) -> Result<Option<JobId>> {
    dialect::lock_unique(conn, tenant, &period.key).await?;
    let states: Vec<i16> = period.states.iter().map(|state| *state as i16).collect();
    let known: Option<Id> = j::processing_jobs
        .filter(j::tenant_id.eq(raw(tenant.0)))
        .filter(j::period_key.eq(&period.key))
        .filter(j::period_end.gt(now))
        .filter(j::state.eq_any(states))
        .order(j::create_time.desc())
        .select(j::id)
        .first(conn)
        .await
        .optional()?;
    known.map(|id| uuid(&id).map(JobId)).transpose()
}

/// Queues a job inside a running transaction; answers the one that stands for it already, if any.
pub(super) async fn enqueue(conn: &mut Connection, job: NewJob, now: i64) -> Result<JobId> {
    if let Some(period) = &job.period
        && let Some(known) = of_period(conn, job.tenant_id, period, now).await?
    {
        return Ok(known);
    }
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

/// How an attempt ends.
pub(super) struct End {
    state: JobState,
    error: String,
    run_after: i64,
    /// The attempt does not count.
    undone: bool,
}

impl End {
    pub(super) fn new(state: JobState, error: &str) -> Self {
        Self {
            state,
            error: error.to_owned(),
            run_after: 0,
            undone: false,
        }
    }
}

/// Ends or re-queues a job whose lease holds.
///
/// A step of a tree takes along those that wait for it.
pub(super) async fn settle(conn: &mut Connection, lease: Lease, end: End) -> Result<()> {
    if let Some(tenant) = lease.tree {
        dialect::lock_tenant(conn, tenant).await?;
    }
    let (state, why) = (end.state, end.error.clone());
    let ended = (end.state != JobState::Queued).then(now_micros);
    let settled = diesel::update(held!(lease)).set((
        j::state.eq(end.state as i16),
        j::last_error.eq(end.error),
        j::run_after.eq(end.run_after),
        // Queued again it could meet a twin that was queued meanwhile.
        j::unique_key.eq(None::<String>),
        j::end_time.eq(ended),
        j::lease_expire.eq(0),
        (end.state == JobState::Succeeded).then(|| j::progress.eq(1.0)),
        (end.state == JobState::Succeeded).then(|| j::progress_current.eq(j::progress_total)),
        end.undone.then(|| j::attempts.eq(j::attempts - 1)),
    ));
    kept(lease, settled.execute(conn).await?)?;
    match (lease.tree, state) {
        (Some(tenant), JobState::Succeeded) => trees::release(conn, tenant, lease.job_id).await,
        (Some(tenant), JobState::Failed) => {
            let why = format!("a step it needs failed, job {}: {why}", lease.job_id);
            trees::cancel_dependants(conn, tenant, lease.job_id, &why).await
        }
        _ => Ok(()),
    }
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

    async fn enqueue_all(&self, jobs: Vec<NewJob>) -> Result<()> {
        self.db
            .write("enqueue_jobs", |conn| {
                Box::pin(trees::insert(conn, jobs, now_micros()))
            })
            .await
    }

    async fn tree(&self, tenant: TenantId, tree: JobId, limit: i64) -> Result<Vec<Step>> {
        self.db
            .read("job_tree", move |conn| {
                Box::pin(trees::steps(conn, tenant, tree, limit))
            })
            .await
    }

    async fn tree_counts(&self, tenant: TenantId, tree: JobId) -> Result<Vec<StepCount>> {
        self.db
            .read("job_tree_counts", move |conn| {
                Box::pin(trees::counts(conn, tenant, tree))
            })
            .await
    }

    fn ring(&self) {
        self.bell.ring();
    }

    async fn rung(&self) {
        self.bell.rung().await;
    }

    async fn claim_within(
        &self,
        worker: &str,
        lease: Duration,
        limit: i64,
        limits: ClaimLimits,
    ) -> Result<Vec<Job>> {
        let worker = worker.to_owned();
        let claim = Claim {
            worker,
            lease,
            limit,
            limits,
            turn: self.turn.clone(),
        };
        self.db
            .write("claim_jobs", |conn| Box::pin(claims::claim(conn, claim)))
            .await
    }

    async fn reached_limits(
        &self,
        tenant: Option<TenantId>,
        limits: ClaimLimits,
    ) -> Result<Vec<Reached>> {
        self.db
            .read("reached_limits", move |conn| {
                Box::pin(claims::reached(conn, tenant, limits))
            })
            .await
    }

    fn lease_keeper(&self) -> Box<dyn LeaseKeeper> {
        Box::new(Keeper(self.db.apart()))
    }

    async fn progress(&self, lease: &Lease, progress: Progress) -> Result<()> {
        let lease = *lease;
        self.db
            .write("progress_job", move |conn| {
                Box::pin(async move {
                    diesel::update(held!(lease))
                        .set((
                            j::progress.eq(progress.share()),
                            j::progress_current.eq(progress.current),
                            j::progress_total.eq(progress.total),
                            j::progress_message.eq(progress.message),
                        ))
                        .execute(conn)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn complete(&self, lease: &Lease) -> Result<()> {
        let end = End::new(JobState::Succeeded, "");
        self.settle("complete_job", *lease, end).await
    }

    async fn complete_all(&self, leases: &[Lease]) -> Result<Vec<Lease>> {
        let leases = leases.to_vec();
        self.db
            .write("complete_jobs", move |conn| {
                Box::pin(ends::complete(conn, leases, now_micros()))
            })
            .await
    }

    async fn retry(&self, lease: &Lease, error: &str, delay: Duration) -> Result<()> {
        let end = End {
            run_after: now_micros().saturating_add(micros(delay)),
            ..End::new(JobState::Queued, error)
        };
        self.settle("retry_job", *lease, end).await
    }

    async fn hand_back(&self, lease: &Lease) -> Result<()> {
        let end = End {
            undone: true,
            ..End::new(JobState::Queued, "handed back at shutdown")
        };
        self.settle("hand_back_job", *lease, end).await
    }

    async fn fail(&self, lease: &Lease, error: &str) -> Result<()> {
        let end = End::new(JobState::Failed, error);
        self.settle("fail_job", *lease, end).await
    }

    async fn rescue(&self, all: bool) -> Result<u64> {
        self.db
            .write("rescue_jobs", move |conn| {
                Box::pin(async move {
                    let bound = if all { i64::MAX } else { now_micros() };
                    // the states stand in the text, as in the partial indexes; a queued twin under the
                    // same unique key does the work already
                    let mut sql =
                        Sql::new("UPDATE processing_jobs SET state = 1, unique_key = NULL");
                    sql.push(
                        ", last_error = ? WHERE id IN (SELECT j.id FROM processing_jobs j \
                         WHERE j.state = 2 AND j.lease_expire < ?",
                        [
                            Bind::Text("the worker's lease ended".to_owned()),
                            Bind::Long(bound),
                        ],
                    );
                    // what somebody else is at is not waited for, so nobody waits in a circle: its lease
                    // is being renewed or its end written, or the next rescue finds it
                    sql.push(dialect::LOCK_CLAIMED, []);
                    sql.push(")", []);
                    Ok(sql.execute(conn).await? as u64)
                })
            })
            .await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<u64> {
        self.db
            .write("sweep_jobs", move |conn| {
                Box::pin(job_control::sweep(conn, sweep, now_micros()))
            })
            .await
    }

    async fn cancel_job(&self, tenant: TenantId, id: JobId) -> Result<Option<Turned>> {
        self.db
            .write_of("cancel_job", tenant, move |conn| {
                Box::pin(job_control::cancel(conn, tenant, id))
            })
            .await
    }

    async fn requeue_job(&self, tenant: TenantId, id: JobId) -> Result<Option<Turned>> {
        self.db
            .write_of("requeue_job", tenant, move |conn| {
                Box::pin(job_control::requeue(conn, tenant, id))
            })
            .await
    }

    async fn requeue_failed(
        &self,
        tenant: TenantId,
        kind: Option<JobKind>,
        limit: i64,
    ) -> Result<u64> {
        self.db
            .write_of("requeue_failed_jobs", tenant, move |conn| {
                Box::pin(job_control::requeue_failed(conn, tenant, kind, limit))
            })
            .await
    }

    async fn pause(
        &self,
        tenant: TenantId,
        kind: Option<JobKind>,
        until: Option<i64>,
    ) -> Result<()> {
        self.db
            .write("pause_jobs", move |conn| {
                Box::pin(job_control::pause(conn, tenant, kind, until))
            })
            .await
    }

    async fn resume(&self, tenant: TenantId, kind: Option<JobKind>) -> Result<bool> {
        self.db
            .write("resume_jobs", move |conn| {
                Box::pin(job_control::resume(conn, tenant, kind))
            })
            .await
    }

    async fn pauses(&self, tenant: TenantId) -> Result<Vec<Pause>> {
        self.db
            .read("job_pauses", move |conn| {
                Box::pin(job_control::pauses(conn, tenant))
            })
            .await
    }

    async fn get_job(&self, tenant: TenantId, id: JobId) -> Result<Option<Job>> {
        self.db
            .read("get_job", move |conn| {
                Box::pin(job_control::as_it_is(conn, tenant, id))
            })
            .await
    }

    async fn list_jobs(
        &self,
        tenant: TenantId,
        filter: JobFilter,
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
                    if let Some(state) = filter.state {
                        query = query.filter(j::state.eq(state));
                    }
                    if let Some(kind) = filter.kind {
                        query = query.filter(j::kind.eq(kind));
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
                Box::pin(job_counts::of(conn, tenant))
            })
            .await
    }
}

fn renew(
    conn: &mut Connection,
    (leases, expire): (Vec<Lease>, i64),
) -> BoxFuture<'_, Result<Vec<JobId>>> {
    Box::pin(ends::renew(conn, leases, expire))
}

/// Renews leases.
struct Keeper(dialect::Apart);

#[async_trait]
impl LeaseKeeper for Keeper {
    async fn renew(&mut self, leases: &[Lease], lease: Duration) -> Result<Vec<JobId>> {
        let until = (leases.to_vec(), now_micros() + micros(lease));
        self.0.write("heartbeat_jobs", until, renew).await
    }
}

impl Store {
    async fn settle(&self, name: &'static str, lease: Lease, end: End) -> Result<()> {
        match lease.tree {
            Some(tenant) => {
                self.db
                    .write_of(name, tenant, move |conn| Box::pin(settle(conn, lease, end)))
                    .await
            }
            None => {
                self.db
                    .write(name, move |conn| Box::pin(settle(conn, lease, end)))
                    .await
            }
        }
    }
}
