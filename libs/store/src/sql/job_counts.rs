//! How full the queue is and how fast it goes.

use diesel::{
    ExpressionMethods as _, QueryDsl as _,
    dsl::{count_star, min},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{TenantId, time::now_micros};

use super::{Connection, rows::micros, schema::processing_jobs::dsl as j, types::raw};
use crate::{
    error::Result,
    job::{JobState, QueueStats, RATE_WINDOW},
};

/// Counts the jobs of a tenant, or of all.
pub(super) async fn of(conn: &mut Connection, tenant: Option<TenantId>) -> Result<QueueStats> {
    let now = now_micros();
    let kinds = j::processing_jobs
        .group_by((j::kind, j::state))
        .select((j::kind, j::state, count_star()))
        .into_boxed();
    let lately = j::processing_jobs
        .filter(j::end_time.gt(now - micros(RATE_WINDOW)))
        .group_by(j::state)
        .select((j::state, count_star()))
        .into_boxed();
    let delayed = j::processing_jobs
        .filter(j::state.eq(JobState::Queued as i16))
        .filter(j::run_after.gt(now))
        .select(count_star())
        .into_boxed();
    let stalled = j::processing_jobs
        .filter(j::state.eq(JobState::Running as i16))
        .filter(j::lease_expire.lt(now))
        .select(count_star())
        .into_boxed();
    let oldest = j::processing_jobs
        .filter(j::state.eq(JobState::Queued as i16))
        // Plus nothing, so that neither database walks the tenant's jobs in the order of their times
        // to find the first that waits, past all that have ended.
        .select(min(j::create_time + 0_i64))
        .into_boxed();
    macro_rules! of_tenant {
        ($($query:ident),*) => {$(
            let $query = match tenant {
                Some(tenant) => $query.filter(j::tenant_id.eq(raw(tenant.0))),
                None => $query,
            };
        )*};
    }
    of_tenant!(kinds, lately, delayed, stalled, oldest);
    let kinds: Vec<(i16, i16, i64)> = kinds.load(conn).await?;
    let lately: Vec<(i16, i64)> = lately.load(conn).await?;
    let of = |state: JobState| {
        let counts = kinds.iter().filter(|(_, s, _)| *s == state as i16);
        counts.map(|(_, _, count)| count).sum::<i64>()
    };
    let ended = |state: JobState| {
        let counts = lately.iter().filter(|(s, _)| *s == state as i16);
        counts.map(|(_, count)| count).sum::<i64>()
    };
    let delayed: i64 = delayed.first(conn).await?;
    Ok(QueueStats {
        waiting: of(JobState::Queued) - delayed,
        active: of(JobState::Running),
        completed: of(JobState::Succeeded),
        failed: of(JobState::Failed),
        cancelled: of(JobState::Cancelled),
        delayed,
        blocked: of(JobState::Blocked),
        stalled: stalled.first(conn).await?,
        succeeded_lately: ended(JobState::Succeeded),
        failed_lately: ended(JobState::Failed),
        oldest_waiting: oldest.first(conn).await?,
        kinds,
    })
}
