//! Many leases at once: renewing them, and ending their jobs with success. Each is fenced by its own
//! token; a batch is as many statements as there are different tokens, which count the claims of a
//! job and so are few.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use diesel::{ExpressionMethods as _, QueryDsl as _};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{JobId, TenantId};

use super::{
    Connection, dialect,
    jobs::{End, settle},
    schema::processing_jobs::dsl as j,
    types::{Id, raw, uuid},
};
use crate::{
    error::{Error, Result},
    job::{JobState, Lease},
};

/// Locks the jobs of leases, in one order over all of them.
async fn lock(conn: &mut Connection, leases: &[Lease]) -> Result<()> {
    let mut ids: Vec<Id> = leases.iter().map(|lease| raw(lease.job_id.0)).collect();
    ids.sort_unstable();
    for ids in ids.chunks(dialect::MOST_BINDS) {
        dialect::lock_jobs(conn, ids).await?;
    }
    Ok(())
}

/// Ids by token, in lists that one statement takes.
fn by_token(leases: &[Lease]) -> Vec<(i64, Vec<Id>)> {
    let mut by_token: BTreeMap<i64, Vec<Id>> = BTreeMap::new();
    for lease in leases {
        let ids = by_token.entry(lease.token).or_default();
        ids.push(raw(lease.job_id.0));
    }
    let lists = by_token.into_iter().flat_map(|(token, ids)| {
        let chunks = ids.chunks(dialect::MOST_BINDS).map(<[Id]>::to_vec);
        chunks.map(|ids| (token, ids)).collect::<Vec<_>>()
    });
    lists.collect()
}

/// Those of some leases that are not among the kept ones, given as token and ids.
fn lost(leases: &[Lease], kept: &[(i64, Vec<Id>)]) -> Result<Vec<Lease>> {
    let mut known = HashSet::new();
    for (token, ids) in kept {
        for id in ids {
            known.insert((*token, JobId(uuid(id)?)));
        }
    }
    let gone = |lease: &&Lease| !known.contains(&(lease.token, lease.job_id));
    Ok(leases.iter().filter(gone).copied().collect())
}

/// Extends leases; answers the jobs whose lease is lost.
pub(super) async fn renew(
    conn: &mut Connection,
    leases: Vec<Lease>,
    expire: i64,
) -> Result<Vec<JobId>> {
    lock(conn, &leases).await?;
    let mut kept = Vec::new();
    for (token, ids) in by_token(&leases) {
        let held = j::processing_jobs
            .filter(j::id.eq_any(ids))
            .filter(j::lease_token.eq(token))
            .filter(j::state.eq(JobState::Running as i16));
        let renewed: Vec<Id> = diesel::update(held)
            .set(j::lease_expire.eq(expire))
            .returning(j::id)
            .get_results(conn)
            .await?;
        kept.push((token, renewed));
    }
    let lost = lost(&leases, &kept)?;
    Ok(lost.into_iter().map(|lease| lease.job_id).collect())
}

/// Ends jobs with success; answers the leases that are lost.
pub(super) async fn complete(
    conn: &mut Connection,
    leases: Vec<Lease>,
    now: i64,
) -> Result<Vec<Lease>> {
    // steps of trees free others, under the lock of their tenant, which comes before that of any job;
    // and all of them in one order, whatever order the jobs ended in
    let tenants: BTreeSet<TenantId> = leases.iter().filter_map(|lease| lease.tree).collect();
    for tenant in tenants {
        dialect::lock_tenant(conn, tenant).await?;
    }
    lock(conn, &leases).await?;
    let (steps, single): (Vec<Lease>, Vec<Lease>) =
        leases.into_iter().partition(|lease| lease.tree.is_some());
    let mut gone = Vec::new();
    for lease in steps {
        match settle(conn, lease, End::new(JobState::Succeeded, "")).await {
            Ok(()) => {}
            Err(Error::LeaseLost { .. }) => gone.push(lease),
            Err(error) => return Err(error),
        }
    }
    let mut kept = Vec::new();
    for (token, ids) in by_token(&single) {
        let held = j::processing_jobs
            .filter(j::id.eq_any(ids))
            .filter(j::lease_token.eq(token))
            .filter(j::state.eq(JobState::Running as i16));
        let ended: Vec<Id> = diesel::update(held)
            .set((
                j::state.eq(JobState::Succeeded as i16),
                j::last_error.eq(""),
                j::run_after.eq(0),
                j::unique_key.eq(None::<String>),
                j::end_time.eq(now),
                j::lease_expire.eq(0),
                j::progress.eq(1.0),
                j::progress_current.eq(j::progress_total),
            ))
            .returning(j::id)
            .get_results(conn)
            .await?;
        kept.push((token, ended));
    }
    gone.extend(lost(&single, &kept)?);
    Ok(gone)
}
