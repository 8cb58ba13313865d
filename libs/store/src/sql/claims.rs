//! Handing out jobs: fair among tenants, and within limits. One transaction finds out what waits,
//! what runs and what has started, picks, and makes it run: nothing is claimed and thrown back.
//!
//! Where nothing is limited, claims of several workers go side by side and pass over each other's
//! rows. With limits they take turns, so that two of them do not both give away a last place.

use std::{collections::HashMap, time::Duration};

use diesel::{
    ExpressionMethods as _, QueryDsl as _, QueryableByName, SelectableHelper as _,
    sql_types::{BigInt, SmallInt},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{TenantId, time::now_micros};
use uuid::Uuid;

use super::{
    Connection, dialect,
    filter::{Bind, Sql},
    rows::{JobRow, micros},
    schema::processing_jobs::dsl as j,
    types::{Id, SqlId, raw, uuid},
};
use crate::{
    error::Result,
    job::{Job, JobKind, JobState},
    limit::{ClaimLimits, Ledger, Reached, Scope, Turn, deal},
};

/// Who claims, how much, and for how long.
pub(super) struct Claim {
    pub(super) worker: String,
    pub(super) lease: Duration,
    pub(super) limit: i64,
    pub(super) limits: ClaimLimits,
    pub(super) turn: Turn,
}

#[derive(QueryableByName)]
struct KindRow {
    #[diesel(sql_type = SqlId)]
    tenant_id: Id,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = SqlId)]
    tenant_id: Id,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = BigInt)]
    jobs: i64,
}

#[derive(QueryableByName)]
struct HeadRow {
    #[diesel(sql_type = SqlId)]
    id: Id,
    #[diesel(sql_type = BigInt)]
    order_key: i64,
}

#[derive(QueryableByName)]
struct RateRow {
    #[diesel(sql_type = SmallInt)]
    scope: i16,
    #[diesel(sql_type = SqlId)]
    tenant_id: Id,
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = BigInt)]
    full_time: i64,
}

/// What waits of a tenant, by kind; pauses left out.
type Waiting = HashMap<TenantId, Vec<JobKind>>;

pub(super) async fn claim(conn: &mut Connection, claim: Claim) -> Result<Vec<Job>> {
    let limits = &claim.limits;
    if limits.any() {
        dialect::lock_claims(conn).await?;
    }
    let now = now_micros();
    let mut waiting = waiting(conn, now).await?;
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let counted = limits.any() || waiting.len() > 1;
    let mut ledger = ledger(conn, limits, now, counted).await?;
    let mut places = claim.limit;
    let mut jobs = Vec::new();
    while places > 0 {
        // who is full has no turn
        waiting.retain(|tenant, kinds| {
            kinds.retain(|kind| ledger.room(*tenant, *kind) > 0);
            !kinds.is_empty()
        });
        let mut tenants: Vec<TenantId> = waiting.keys().copied().collect();
        claim.turn.order(&mut tenants);
        let has: Vec<i64> = tenants.iter().map(|of| ledger.running(*of)).collect();
        if tenants.is_empty() {
            break;
        }
        for (tenant, share) in tenants.into_iter().zip(deal(&has, places)) {
            if share == 0 {
                continue;
            }
            let kinds = waiting.remove(&tenant).unwrap_or_default();
            let share = usize::try_from(share).unwrap_or(usize::MAX);
            let heads = heads(conn, &mut ledger, (tenant, &kinds), share, now).await?;
            // those that have no more leave their places to others
            if heads.len() == share {
                waiting.insert(tenant, kinds);
            }
            if !heads.is_empty() {
                claim.turn.served(tenant);
                places -= i64::try_from(heads.len()).unwrap_or(i64::MAX);
                jobs.extend(run(conn, &claim, heads, now).await?);
            }
        }
    }
    for (scope, full) in ledger.drawn() {
        note_rate(conn, scope, full).await?;
    }
    Ok(jobs)
}

/// Picks up to `share` jobs of a tenant and locks them; in the order of the queue.
async fn heads(
    conn: &mut Connection,
    ledger: &mut Ledger<'_>,
    (tenant, kinds): (TenantId, &[JobKind]),
    share: usize,
    now: i64,
) -> Result<Vec<Id>> {
    let mut heads: Vec<(i64, JobKind, Id)> = Vec::new();
    for kind in kinds {
        let room = ledger.room(tenant, *kind);
        let most = room.min(i64::try_from(share).unwrap_or(i64::MAX));
        // the state stands in the text, so that the planner knows that a partial index will do
        let mut sql = Sql::new("SELECT j.id, j.order_key FROM processing_jobs j WHERE j.state = 1");
        sql.push(
            " AND j.tenant_id = ? AND j.kind = ? AND j.run_after <= ? ORDER BY j.order_key LIMIT ?",
            [
                Bind::Id(raw(tenant.0)),
                Bind::Small(*kind as i16),
                Bind::Long(now),
                Bind::Long(most),
            ],
        );
        sql.push(dialect::LOCK_CLAIMED, []);
        let rows: Vec<HeadRow> = sql.load(conn).await?;
        heads.extend(rows.into_iter().map(|row| (row.order_key, *kind, row.id)));
    }
    heads.sort_by_key(|(order_key, ..)| *order_key);
    let mut picked = Vec::new();
    for (_, kind, id) in heads {
        if picked.len() == share {
            break;
        }
        // one of another kind may have taken the last place of the tenant
        if ledger.room(tenant, kind) > 0 {
            ledger.take(tenant, kind);
            picked.push(id);
        }
    }
    Ok(picked)
}

/// Makes picked jobs run.
async fn run(conn: &mut Connection, claim: &Claim, picked: Vec<Id>, now: i64) -> Result<Vec<Job>> {
    let places = picked.iter().enumerate();
    let place: HashMap<&Id, usize> = places.map(|(place, id)| (id, place)).collect();
    let mut jobs: Vec<(usize, Job)> = Vec::with_capacity(picked.len());
    for ids in picked.chunks(dialect::MOST_BINDS) {
        let rows: Vec<JobRow> = diesel::update(j::processing_jobs.filter(j::id.eq_any(ids)))
            .set((
                j::state.eq(JobState::Running as i16),
                j::attempts.eq(j::attempts + 1),
                j::lease_token.eq(j::lease_token + 1),
                j::lease_expire.eq(now + micros(claim.lease)),
                j::worker.eq(&claim.worker),
                j::start_time.eq(now),
            ))
            .returning(JobRow::as_returning())
            .get_results(conn)
            .await?;
        for row in rows {
            let job = Job::try_from(row)?;
            // RETURNING promises no order; run them in the order they were picked in
            let place = place.get(&raw(job.id.0)).copied();
            jobs.push((place.unwrap_or(usize::MAX), job));
        }
    }
    jobs.sort_by_key(|(place, _)| *place);
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
}

/// Tenants and kinds that may run now and are not paused. Walks from one to the next in the index, so that
/// a queue of a million costs no more than one of ten.
async fn waiting(conn: &mut Connection, now: i64) -> Result<Waiting> {
    let mut sql = Sql::new("WITH RECURSIVE w (tenant_id, kind) AS (");
    sql.push(
        "SELECT * FROM (SELECT j.tenant_id, j.kind FROM processing_jobs j WHERE j.state = 1 \
         ORDER BY j.tenant_id, j.kind LIMIT 1) head UNION ALL \
         SELECT n.tenant_id, n.kind FROM w JOIN processing_jobs n ON n.id = \
         (SELECT j.id FROM processing_jobs j WHERE j.state = 1 \
         AND (j.tenant_id, j.kind) > (w.tenant_id, w.kind) \
         ORDER BY j.tenant_id, j.kind LIMIT 1)) \
         SELECT w.tenant_id, w.kind FROM w WHERE NOT EXISTS (SELECT 1 FROM job_pauses p \
         WHERE p.tenant_id = w.tenant_id AND p.kind IN (0, w.kind) \
         AND (p.until_time IS NULL OR p.until_time > ?)) \
         AND EXISTS (SELECT 1 FROM processing_jobs r WHERE r.state = 1 \
         AND r.tenant_id = w.tenant_id AND r.kind = w.kind AND r.run_after <= ?)",
        [now, now].map(Bind::Long),
    );
    let rows: Vec<KindRow> = sql.load(conn).await?;
    let mut waiting = Waiting::new();
    for row in rows {
        let tenant = TenantId(uuid(&row.tenant_id)?);
        // a kind that a newer program queued is left to it
        if let Some(kind) = JobKind::from_number(row.kind) {
            waiting.entry(tenant).or_default().push(kind);
        }
    }
    Ok(waiting)
}

/// What runs, and how full the buckets are.
async fn ledger<'l>(
    conn: &mut Connection,
    limits: &'l ClaimLimits,
    now: i64,
    counted: bool,
) -> Result<Ledger<'l>> {
    let mut running = Vec::new();
    if counted {
        let mut sql = Sql::new("SELECT tenant_id, kind, count(*) AS jobs FROM processing_jobs ");
        // whose lease is over does not run, wherever its worker is
        sql.push(
            "WHERE state = 2 AND lease_expire > ? GROUP BY tenant_id, kind",
            [Bind::Long(now)],
        );
        running = counts(sql, conn).await?;
    }
    let mut full = Vec::new();
    if limits.any_rate() {
        let mut sql = Sql::new("SELECT scope, tenant_id, kind, full_time FROM job_rates");
        sql.push(" WHERE full_time > ?", [Bind::Long(now)]);
        let rows: Vec<RateRow> = sql.load(conn).await?;
        for row in rows {
            let kind = JobKind::from_number(row.kind);
            let scope = Scope {
                tenant: match row.scope & OF_TENANT {
                    0 => None,
                    _ => Some(TenantId(uuid(&row.tenant_id)?)),
                },
                kind,
            };
            if kind.is_some() == (row.scope & OF_KIND != 0) {
                full.push((scope, row.full_time));
            }
        }
    }
    Ok(Ledger::new(limits, now, running, full))
}

async fn counts(sql: Sql, conn: &mut Connection) -> Result<Vec<(TenantId, JobKind, i64)>> {
    let rows: Vec<CountRow> = sql.load(conn).await?;
    let mut counts = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(kind) = JobKind::from_number(row.kind) {
            counts.push((TenantId(uuid(&row.tenant_id)?), kind, row.jobs));
        }
    }
    Ok(counts)
}

/// Bits of `job_rates.scope`.
const OF_TENANT: i16 = 1;
const OF_KIND: i16 = 2;

async fn note_rate(conn: &mut Connection, scope: Scope, full: i64) -> Result<()> {
    let bits = scope.tenant.map_or(0, |_| OF_TENANT) | scope.kind.map_or(0, |_| OF_KIND);
    let mut sql = Sql::new("INSERT INTO job_rates (scope, tenant_id, kind, full_time) ");
    sql.push(
        "VALUES (?, ?, ?, ?) ON CONFLICT (tenant_id, scope, kind) \
         DO UPDATE SET full_time = excluded.full_time",
        [
            Bind::Small(bits),
            Bind::Id(raw(scope.tenant.map_or(Uuid::nil(), |tenant| tenant.0))),
            Bind::Small(scope.kind.map_or(0, |kind| kind as i16)),
            Bind::Long(full),
        ],
    );
    sql.execute(conn).await?;
    Ok(())
}

/// The limits that hold back jobs of a tenant, or of all.
pub(super) async fn reached(
    conn: &mut Connection,
    tenant: Option<TenantId>,
    limits: ClaimLimits,
) -> Result<Vec<Reached>> {
    if !limits.any() {
        return Ok(Vec::new());
    }
    let now = now_micros();
    let mut sql = Sql::new("SELECT tenant_id, kind, count(*) AS jobs FROM processing_jobs ");
    sql.push("WHERE state = 1 AND run_after <= ?", [Bind::Long(now)]);
    if let Some(tenant) = tenant {
        sql.push(" AND tenant_id = ?", [Bind::Id(raw(tenant.0))]);
    }
    sql.push(" GROUP BY tenant_id, kind", []);
    let waiting = counts(sql, conn).await?;
    let ledger = ledger(conn, &limits, now, true).await?;
    Ok(ledger.reached(&waiting))
}
