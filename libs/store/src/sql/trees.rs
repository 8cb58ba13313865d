//! Jobs that need others: queued together, started one after the other, and ended together when one
//! fails.
//!
//! Who ends a step of a tree first waits for its turn among the writers of the tenant, so that two
//! steps that end at once do not wait for each other's rows.

use std::collections::HashMap;

use diesel::{
    ExpressionMethods as _, JoinOnDsl as _, QueryDsl as _, SelectableHelper as _,
    dsl::{count_star, sum},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{ErrorReason, JobId, TenantId, status::reason_name, time::now_micros};

use super::{
    Connection, bulk,
    filter::Bind,
    job_control, media_write,
    rows::{JOB_COLUMNS, JobRow, NewJobRow},
    schema::{job_needs::dsl as n, processing_jobs::dsl as j},
    types::{Id, raw, uuid},
};
use crate::{
    error::{Error, Result},
    job::{Job, JobKind, JobState, NewJob, Step, StepCount},
};

/// Queues jobs that may need each other; nothing stands for one of them.
pub(super) async fn insert(conn: &mut Connection, jobs: Vec<NewJob>, now: i64) -> Result<()> {
    let mut needs = Vec::new();
    let mut rows = Vec::with_capacity(jobs.len());
    for job in jobs {
        let tenant = job.tenant_id;
        let id = job.id;
        let need = |needed: &JobId| {
            let ids = [tenant.0, needed.0, id.0];
            ids.map(|id| Bind::Id(raw(id))).to_vec()
        };
        needs.extend(job.needs.iter().map(need));
        rows.push(NewJobRow::new(job, now).binds());
    }
    bulk::insert(conn, JOB_COLUMNS, rows, "").await?;
    let into = "job_needs (tenant_id, needed_id, job_id)";
    bulk::insert(conn, into, needs, "").await?;
    Ok(())
}

/// Jobs of a tenant that need any of these and have not begun, in one order everywhere.
async fn dependants(conn: &mut Connection, tenant: TenantId, of: &[Id]) -> Result<Vec<Id>> {
    let mut ids: Vec<Id> = n::job_needs
        .filter(n::tenant_id.eq(raw(tenant.0)))
        .filter(n::needed_id.eq_any(of))
        .select(n::job_id)
        .distinct()
        .load(conn)
        .await?;
    ids.sort_unstable();
    Ok(ids)
}

/// Notes that a step succeeded: those that need nothing else may start.
pub(super) async fn release(conn: &mut Connection, tenant: TenantId, id: JobId) -> Result<()> {
    let ids = dependants(conn, tenant, &[raw(id.0)]).await?;
    if ids.is_empty() {
        return Ok(());
    }
    let now = now_micros();
    diesel::update(j::processing_jobs.filter(j::id.eq_any(&ids)))
        .set(j::unmet_needs.eq(j::unmet_needs - 1))
        .execute(conn)
        .await?;
    let free = j::processing_jobs
        .filter(j::id.eq_any(&ids))
        .filter(j::state.eq(JobState::Blocked as i16))
        .filter(j::unmet_needs.le(0));
    diesel::update(free)
        .set((j::state.eq(JobState::Queued as i16), j::run_after.eq(now)))
        .execute(conn)
        .await?;
    Ok(())
}

/// Cancels what needs a job that failed or was cancelled, and what needs that.
pub(super) async fn cancel_dependants(
    conn: &mut Connection,
    tenant: TenantId,
    id: JobId,
    why: &str,
) -> Result<()> {
    let mut ended = vec![raw(id.0)];
    let now = now_micros();
    // a tree has no cycles and is as deep as it has steps at most
    loop {
        let ids = dependants(conn, tenant, &ended).await?;
        let waiting = j::processing_jobs
            .filter(j::id.eq_any(&ids))
            .filter(j::state.eq(JobState::Blocked as i16));
        let rows: Vec<JobRow> = diesel::update(waiting)
            .set((
                j::state.eq(JobState::Cancelled as i16),
                j::cancelled_by_need.eq(true),
                j::last_error.eq(why),
                j::end_time.eq(now),
            ))
            .returning(JobRow::as_returning())
            .get_results(conn)
            .await?;
        if rows.is_empty() {
            return Ok(());
        }
        ended.clear();
        for row in rows {
            let job = Job::try_from(row)?;
            ended.push(raw(job.id.0));
            if let (JobKind::ProcessMedia, Some(item)) = (job.kind, job.media_item_id) {
                let reason = reason_name(ErrorReason::Cancelled);
                media_write::fail_unfinished(conn, tenant, item, reason, why).await?;
            }
        }
    }
}

/// Takes up again what was cancelled because a job that waits again had failed, unless something else
/// that it needs cannot succeed: then it comes back when that waits again.
pub(super) async fn revive(conn: &mut Connection, tenant: TenantId, id: JobId) -> Result<()> {
    let mut again = vec![raw(id.0)];
    loop {
        let ids = dependants(conn, tenant, &again).await?;
        // what somebody else cancelled stays so
        let cancelled = j::processing_jobs
            .filter(j::id.eq_any(&ids))
            .filter(j::state.eq(JobState::Cancelled as i16))
            .filter(j::cancelled_by_need.eq(true));
        let cancelled: Vec<(Id, i32)> =
            cancelled.select((j::id, j::unmet_needs)).load(conn).await?;
        let hopeful = hopeful(conn, tenant, cancelled).await?;
        again = diesel::update(j::processing_jobs.filter(j::id.eq_any(&hopeful)))
            .set((
                j::state.eq(JobState::Blocked as i16),
                j::cancelled_by_need.eq(false),
                j::last_error.eq(""),
                j::end_time.eq(None::<i64>),
            ))
            .returning(j::id)
            .get_results(conn)
            .await?;
        if again.is_empty() {
            return Ok(());
        }
    }
}

/// Those of some jobs, each with the number of its unmet needs, that may still start: as many of the
/// jobs that they need have yet to end. What succeeded may be swept, and is no unmet need; what failed
/// and was swept is one for ever.
async fn hopeful(conn: &mut Connection, tenant: TenantId, jobs: Vec<(Id, i32)>) -> Result<Vec<Id>> {
    let ids: Vec<Id> = jobs.iter().map(|(id, _)| id.to_owned()).collect();
    let open: Vec<(Id, i64)> = n::job_needs
        .inner_join(j::processing_jobs.on(j::id.eq(n::needed_id)))
        .filter(n::tenant_id.eq(raw(tenant.0)))
        .filter(n::job_id.eq_any(ids))
        .filter(j::state.eq_any(job_control::LIVE))
        .group_by(n::job_id)
        .select((n::job_id, count_star()))
        .load(conn)
        .await?;
    let open: HashMap<Id, i64> = open.into_iter().collect();
    let may = |(id, unmet): &(Id, i32)| open.get(id).is_some_and(|open| *open >= i64::from(*unmet));
    Ok(jobs.into_iter().filter(may).map(|(id, _)| id).collect())
}

/// The steps of a tree: those that were queued as one, or a job and what it queued itself.
pub(super) async fn steps(
    conn: &mut Connection,
    tenant: TenantId,
    tree: JobId,
    limit: i64,
) -> Result<Vec<Step>> {
    use diesel::BoolExpressionMethods as _;
    let rows: Vec<JobRow> = j::processing_jobs
        .filter(j::tenant_id.eq(raw(tenant.0)))
        .filter(j::id.eq(raw(tree.0)).or(j::tree_id.eq(raw(tree.0))))
        .order((j::create_time, j::id))
        .limit(limit)
        .select(JobRow::as_select())
        .load(conn)
        .await?;
    let jobs: Vec<Job> = rows.into_iter().map(Job::try_from).collect::<Result<_>>()?;
    let ids: Vec<Id> = jobs.iter().map(|job| raw(job.id.0)).collect();
    let needs: Vec<(Id, Id)> = n::job_needs
        .filter(n::tenant_id.eq(raw(tenant.0)))
        .filter(n::job_id.eq_any(ids))
        .select((n::job_id, n::needed_id))
        .load(conn)
        .await?;
    let mut needed: HashMap<JobId, Vec<JobId>> = HashMap::new();
    for (job, need) in needs {
        let known = needed.entry(JobId(uuid(&job)?)).or_default();
        known.push(JobId(uuid(&need)?));
    }
    let step = |job: Job| Step {
        needs: needed.remove(&job.id).unwrap_or_default(),
        job,
    };
    Ok(jobs.into_iter().map(step).collect())
}

/// Counts the steps of a tree by their state, however many it has.
pub(super) async fn counts(
    conn: &mut Connection,
    tenant: TenantId,
    tree: JobId,
) -> Result<Vec<StepCount>> {
    use diesel::BoolExpressionMethods as _;
    let rows: Vec<(i16, i64, Option<f32>)> = j::processing_jobs
        .filter(j::tenant_id.eq(raw(tenant.0)))
        .filter(j::id.eq(raw(tree.0)).or(j::tree_id.eq(raw(tree.0))))
        .group_by(j::state)
        .select((j::state, count_star(), sum(j::progress)))
        .load(conn)
        .await?;
    let count = |(state, jobs, progress): (i16, i64, Option<f32>)| {
        Ok(StepCount {
            state: JobState::from_number(state).ok_or(Error::Corrupt { what: "job state" })?,
            jobs,
            progress: progress.unwrap_or(0.0),
        })
    };
    rows.into_iter().map(count).collect()
}
