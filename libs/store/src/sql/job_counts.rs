//! How full the queue is and how fast it goes.
//!
//! Looked at every few seconds, so a look must not take longer the more jobs have ended: those are
//! counted as they end, by triggers (`job_totals`). What has yet to end is counted in the partial indexes
//! of its states, which therefore stand in the text.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, SmallInt},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{TenantId, time::now_micros};

use super::{
    Connection,
    filter::{Bind, Sql},
    rows::micros,
    types::raw,
};
use crate::{
    error::Result,
    job::{JobState, QueueStats, RATE_WINDOW},
};

#[derive(QueryableByName)]
struct KindRow {
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = BigInt)]
    jobs: i64,
}

#[derive(QueryableByName)]
struct StateRow {
    #[diesel(sql_type = SmallInt)]
    state: i16,
    #[diesel(sql_type = BigInt)]
    jobs: i64,
}

#[derive(QueryableByName)]
struct TimesRow {
    #[diesel(sql_type = BigInt)]
    delayed: i64,
    #[diesel(sql_type = BigInt)]
    stalled: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest: Option<i64>,
}

/// Adds that rows are a tenant's, if one is asked for.
fn of_tenant(sql: &mut Sql, word: &str, tenant: Option<TenantId>) {
    if let Some(tenant) = tenant {
        let text = format!(" {word} tenant_id = ?");
        sql.push(&text, [Bind::Id(raw(tenant.0))]);
    }
}

async fn kinds(conn: &mut Connection, tenant: Option<TenantId>) -> Result<Vec<(i16, i16, i64)>> {
    let mut sql = Sql::new("");
    for state in [JobState::Queued, JobState::Running, JobState::Blocked] {
        let text = format!(
            "SELECT kind, state, count(*) AS jobs FROM processing_jobs WHERE state = {}",
            state as i16
        );
        sql.push(&text, []);
        of_tenant(&mut sql, "AND", tenant);
        sql.push(" GROUP BY kind, state UNION ALL ", []);
    }
    sql.push(
        "SELECT kind, state, CAST(sum(jobs) AS bigint) AS jobs FROM job_totals",
        [],
    );
    of_tenant(&mut sql, "WHERE", tenant);
    sql.push(" GROUP BY kind, state HAVING sum(jobs) <> 0", []);
    let rows: Vec<KindRow> = sql.load(conn).await?;
    let counts = rows.into_iter().map(|row| (row.kind, row.state, row.jobs));
    Ok(counts.collect())
}

async fn times(conn: &mut Connection, tenant: Option<TenantId>, now: i64) -> Result<TimesRow> {
    let mut sql = Sql::new("SELECT ");
    sql.push(
        "(SELECT count(*) FROM processing_jobs WHERE state = 1 AND run_after > ?",
        [Bind::Long(now)],
    );
    of_tenant(&mut sql, "AND", tenant);
    sql.push(
        ") AS delayed, (SELECT count(*) FROM processing_jobs WHERE state = 2 AND lease_expire < ?",
        [Bind::Long(now)],
    );
    of_tenant(&mut sql, "AND", tenant);
    // Plus nothing, so that neither database walks the tenant's jobs in the order of their times to
    // find the first that waits, past all that have ended.
    sql.push(
        ") AS stalled, (SELECT min(create_time + 0) FROM processing_jobs WHERE state = 1",
        [],
    );
    of_tenant(&mut sql, "AND", tenant);
    sql.push(") AS oldest", []);
    Ok(sql.get_result(conn).await?)
}

/// Counts the jobs of a tenant, or of all.
pub(super) async fn of(conn: &mut Connection, tenant: Option<TenantId>) -> Result<QueueStats> {
    let now = now_micros();
    let kinds = kinds(conn, tenant).await?;
    let mut lately = Sql::new("SELECT state, count(*) AS jobs FROM processing_jobs ");
    lately.push(
        "WHERE end_time > ?",
        [Bind::Long(now - micros(RATE_WINDOW))],
    );
    of_tenant(&mut lately, "AND", tenant);
    lately.push(" GROUP BY state", []);
    let lately: Vec<StateRow> = lately.load(conn).await?;
    let times = times(conn, tenant, now).await?;
    let of = |state: JobState| {
        let counts = kinds.iter().filter(|(_, s, _)| *s == state as i16);
        counts.map(|(_, _, count)| count).sum::<i64>()
    };
    let ended = |state: JobState| {
        let counts = lately.iter().filter(|row| row.state == state as i16);
        counts.map(|row| row.jobs).sum::<i64>()
    };
    Ok(QueueStats {
        // each statement sees what was committed before it
        waiting: (of(JobState::Queued) - times.delayed).max(0),
        active: of(JobState::Running),
        completed: of(JobState::Succeeded),
        failed: of(JobState::Failed),
        cancelled: of(JobState::Cancelled),
        delayed: times.delayed,
        blocked: of(JobState::Blocked),
        stalled: times.stalled,
        succeeded_lately: ended(JobState::Succeeded),
        failed_lately: ended(JobState::Failed),
        oldest_waiting: times.oldest,
        kinds,
    })
}
