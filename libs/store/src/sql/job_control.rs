//! What operators do with jobs: cancel, queue again, pause, sweep. Each inside one transaction.

use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _,
    SelectableHelper as _,
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{ErrorReason, JobId, TenantId, status::reason_name, time::now_micros};

use super::{
    Connection, dialect,
    filter::{Bind, Sql},
    media_write,
    rows::{JobRow, order_key},
    schema::{job_pauses::dsl as p, processing_jobs::dsl as j},
    trees,
    types::{Id, raw},
};
use crate::{
    error::{Error, Result},
    job::{Job, JobKind, JobState, Pause, Sweep, Turned},
};

/// Number of every kind in `job_pauses`.
const EVERY_KIND: i16 = 0;

/// The job as it is.
pub(super) async fn as_it_is(
    conn: &mut Connection,
    tenant: TenantId,
    id: JobId,
) -> Result<Option<Job>> {
    let row: Option<JobRow> = j::processing_jobs
        .filter(j::tenant_id.eq(raw(tenant.0)))
        .filter(j::id.eq(raw(id.0)))
        .select(JobRow::as_select())
        .first(conn)
        .await
        .optional()?;
    row.map(Job::try_from).transpose()
}

pub(super) async fn cancel(
    conn: &mut Connection,
    tenant: TenantId,
    id: JobId,
) -> Result<Option<Turned>> {
    // before the row of the job, as who finishes an item takes them
    dialect::lock_tenant(conn, tenant).await?;
    let live = j::processing_jobs
        .filter(j::tenant_id.eq(raw(tenant.0)))
        .filter(j::id.eq(raw(id.0)))
        .filter(j::state.eq_any(LIVE));
    let row: Option<JobRow> = diesel::update(live)
        .set((
            // not running any more, so its lease is lost and its result refused
            j::state.eq(JobState::Cancelled as i16),
            j::unique_key.eq(None::<String>),
            j::end_time.eq(now_micros()),
            j::lease_expire.eq(0),
        ))
        .returning(JobRow::as_returning())
        .get_result(conn)
        .await
        .optional()?;
    let Some(row) = row else {
        // what went along with another is now cancelled for itself, and comes back with no other
        let along = j::processing_jobs
            .filter(j::tenant_id.eq(raw(tenant.0)))
            .filter(j::id.eq(raw(id.0)));
        diesel::update(along)
            .set(j::cancelled_by_need.eq(false))
            .execute(conn)
            .await?;
        let known = as_it_is(conn, tenant, id).await?;
        return Ok(known.map(|job| match job.state {
            JobState::Cancelled => Turned::Done(job),
            _ => Turned::Unfit(job),
        }));
    };
    let job = Job::try_from(row)?;
    if job.tree_id.is_some() {
        let why = format!("a step it needs was cancelled, job {id}");
        trees::cancel_dependants(conn, tenant, id, &why).await?;
    }
    if let (JobKind::ProcessMedia, Some(item)) = (job.kind, job.media_item_id) {
        let reason = reason_name(ErrorReason::Cancelled);
        media_write::fail_unfinished(conn, tenant, item, reason, "its processing was cancelled")
            .await?;
    }
    Ok(Some(Turned::Done(job)))
}

/// States of jobs that have yet to end, and so can be cancelled.
pub(super) const LIVE: [i16; 3] = [
    JobState::Queued as i16,
    JobState::Running as i16,
    JobState::Blocked as i16,
];

pub(super) async fn requeue(
    conn: &mut Connection,
    tenant: TenantId,
    id: JobId,
) -> Result<Option<Turned>> {
    dialect::lock_tenant(conn, tenant).await?;
    let Some(job) = as_it_is(conn, tenant, id).await? else {
        return Ok(None);
    };
    let again = match job.state {
        JobState::Failed | JobState::Cancelled => {
            let ids = [raw(id.0)];
            queue_again(conn, &ids, job.priority).await?.pop()
        }
        JobState::Queued | JobState::Running | JobState::Succeeded | JobState::Blocked => None,
    };
    if again.as_ref().is_some_and(|job| job.tree_id.is_some()) {
        trees::revive(conn, tenant, id).await?;
    }
    Ok(Some(match again {
        Some(job) => Turned::Done(job),
        None => Turned::Unfit(job),
    }))
}

/// Queues ended jobs of one priority again, as if they were new, with a free key: a twin may wait.
async fn queue_again(conn: &mut Connection, ids: &[Id], priority: i16) -> Result<Vec<Job>> {
    let now = now_micros();
    let ended = j::processing_jobs
        .filter(j::id.eq_any(ids))
        // another may have been faster
        .filter(j::state.eq_any([JobState::Failed as i16, JobState::Cancelled as i16]))
        // what it needs has not succeeded: it waits again when that does
        .filter(j::unmet_needs.le(0));
    let rows: Vec<JobRow> = diesel::update(ended)
        .set((
            j::state.eq(JobState::Queued as i16),
            j::attempts.eq(0),
            j::run_after.eq(now),
            j::order_key.eq(order_key(priority, now)),
            j::unique_key.eq(None::<String>),
            j::end_time.eq(None::<i64>),
            j::progress.eq(0.0),
            j::progress_current.eq(0),
            j::progress_message.eq(""),
        ))
        .returning(JobRow::as_returning())
        .get_results(conn)
        .await?;
    rows.into_iter().map(Job::try_from).collect()
}

pub(super) async fn requeue_failed(
    conn: &mut Connection,
    tenant: TenantId,
    kind: Option<JobKind>,
    limit: i64,
) -> Result<u64> {
    dialect::lock_tenant(conn, tenant).await?;
    let mut letters = j::processing_jobs
        .filter(j::tenant_id.eq(raw(tenant.0)))
        .filter(j::state.eq(JobState::Failed as i16))
        .order(j::end_time)
        .limit(limit)
        .select((j::id, j::priority))
        .into_boxed();
    if let Some(kind) = kind {
        letters = letters.filter(j::kind.eq(kind as i16));
    }
    let letters: Vec<(Id, i16)> = letters.load(conn).await?;
    let mut priorities: Vec<i16> = letters.iter().map(|(_, priority)| *priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let mut count = 0;
    for priority in priorities {
        let same = letters.iter().filter(|(_, other)| *other == priority);
        let ids: Vec<Id> = same.map(|(id, _)| id.to_owned()).collect();
        let again = queue_again(conn, &ids, priority).await?;
        count += again.len() as u64;
        for job in again.iter().filter(|job| job.tree_id.is_some()) {
            trees::revive(conn, tenant, job.id).await?;
        }
    }
    Ok(count)
}

pub(super) async fn pause(
    conn: &mut Connection,
    tenant: TenantId,
    kind: Option<JobKind>,
    until: Option<i64>,
) -> Result<()> {
    // two at once would both find nothing to replace
    dialect::lock_unique(conn, tenant, "pause").await?;
    resume(conn, tenant, kind).await?;
    diesel::insert_into(p::job_pauses)
        .values((
            p::tenant_id.eq(raw(tenant.0)),
            p::kind.eq(number(kind)),
            p::until_time.eq(until),
            p::create_time.eq(now_micros()),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

fn number(kind: Option<JobKind>) -> i16 {
    kind.map_or(EVERY_KIND, |kind| kind as i16)
}

pub(super) async fn resume(
    conn: &mut Connection,
    tenant: TenantId,
    kind: Option<JobKind>,
) -> Result<bool> {
    let paused = p::job_pauses
        .filter(p::tenant_id.eq(raw(tenant.0)))
        .filter(p::kind.eq(number(kind)));
    Ok(diesel::delete(paused).execute(conn).await? > 0)
}

pub(super) async fn pauses(conn: &mut Connection, tenant: TenantId) -> Result<Vec<Pause>> {
    let rows: Vec<(i16, Option<i64>, i64)> = p::job_pauses
        .filter(p::tenant_id.eq(raw(tenant.0)))
        .filter(p::until_time.is_null().or(p::until_time.gt(now_micros())))
        .order(p::kind)
        .select((p::kind, p::until_time, p::create_time))
        .load(conn)
        .await?;
    let read = |(kind, until, create_time)| {
        let kind = match kind {
            EVERY_KIND => None,
            kind => Some(JobKind::from_number(kind).ok_or(Error::Corrupt { what: "job kind" })?),
        };
        Ok(Pause {
            kind,
            until,
            create_time,
        })
    };
    rows.into_iter().map(read).collect()
}

/// Removes up to a number of jobs that ended long ago, and what pauses, rates and counts no longer need.
pub(super) async fn sweep(conn: &mut Connection, sweep: Sweep, now: i64) -> Result<u64> {
    let passed = p::job_pauses.filter(p::until_time.lt(now));
    diesel::delete(passed).execute(conn).await?;
    let mut full = Sql::new("DELETE FROM job_rates");
    full.push(" WHERE full_time < ?", [Bind::Long(now)]);
    full.execute(conn).await?;
    let mut needs = Sql::new("DELETE FROM job_needs WHERE NOT EXISTS (");
    needs.push(
        "SELECT 1 FROM processing_jobs j WHERE j.id = job_needs.job_id)",
        [],
    );
    needs.execute(conn).await?;
    let mut sql = Sql::new("DELETE FROM processing_jobs WHERE id IN (");
    sql.push("SELECT j.id FROM processing_jobs j WHERE (", []);
    let before = [
        (JobState::Succeeded, sweep.succeeded_before),
        (JobState::Failed, sweep.failed_before),
        (JobState::Cancelled, sweep.cancelled_before),
    ];
    for (place, (state, time)) in before.into_iter().enumerate() {
        let or = if place == 0 { "" } else { " OR " };
        // the state stands in the text, as in the partial indexes
        let text = format!("{or}(j.state = {} AND j.end_time < ?)", state as i16);
        sql.push(&text, [Bind::Long(time)]);
    }
    // while its period goes on it stands for others
    sql.push(
        ") AND (j.period_end IS NULL OR j.period_end < ?)",
        [Bind::Long(now)],
    );
    // and the last of a schedule tells how it went
    sql.push(
        " AND NOT EXISTS (SELECT 1 FROM job_schedules s WHERE s.tenant_id = j.tenant_id \
         AND s.last_job_id = j.id) LIMIT ?",
        [Bind::Long(sweep.limit)],
    );
    // not waited for, so nobody waits in a circle: the next sweep finds it
    sql.push(dialect::LOCK_CLAIMED, []);
    sql.push(")", []);
    let removed = sql.execute(conn).await? as u64;
    // last, so that two sweeps do not wait for each other: from here on this one counts nothing
    dialect::fold_job_totals(conn).await?;
    Ok(removed)
}
