//! [`HistoryStore`].

use async_trait::async_trait;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _,
    upsert::excluded,
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::TenantId;

use super::{Connection, Store, schema::search_history::dsl as h, types::raw};
use crate::{
    error::Result,
    history::{HistoryStore, NewSearch, PastSearch},
};

/// Sorts after everything that may follow a prefix: the last code point, which is no character.
const LAST: char = '\u{10ffff}';

type Row = (String, String, i64, i64);

fn past(row: Row) -> PastSearch {
    let (wording, query, searches, search_time) = row;
    PastSearch {
        wording,
        query,
        searches,
        search_time,
    }
}

async fn note(conn: &mut Connection, tenant: TenantId, search: NewSearch) -> Result<()> {
    diesel::insert_into(h::search_history)
        .values((
            h::tenant_id.eq(raw(tenant.0)),
            h::subject.eq(search.subject),
            h::wording.eq(search.wording),
            h::query.eq(search.query),
            h::searches.eq(search.searches),
            h::search_time.eq(search.search_time),
        ))
        .on_conflict((h::tenant_id, h::subject, h::wording))
        .do_update()
        .set((
            h::query.eq(excluded(h::query)),
            h::searches.eq(h::searches + excluded(h::searches)),
            h::search_time.eq(excluded(h::search_time)),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes what a user has beyond the newest `keep`.
async fn trim(conn: &mut Connection, tenant: TenantId, subject: &str, keep: i64) -> Result<()> {
    let own = || {
        h::search_history
            .filter(h::tenant_id.eq(raw(tenant.0)))
            .filter(h::subject.eq(subject))
    };
    let newest_beyond: Option<(i64, String)> = own()
        .order((h::search_time.desc(), h::wording.desc()))
        .offset(keep)
        .select((h::search_time, h::wording))
        .first(conn)
        .await
        .optional()?;
    let Some((time, wording)) = newest_beyond else {
        return Ok(());
    };
    let same_time = h::search_time.eq(time).and(h::wording.le(wording));
    diesel::delete(own().filter(h::search_time.lt(time).or(same_time)))
        .execute(conn)
        .await?;
    Ok(())
}

#[async_trait]
impl HistoryStore for Store {
    async fn note_searches(
        &self,
        tenant: TenantId,
        mut searches: Vec<NewSearch>,
        keep: i64,
    ) -> Result<()> {
        // in one order, so that two processes never wait for each other's rows
        searches.sort_unstable();
        self.db
            .write("note_searches", move |conn| {
                Box::pin(async move {
                    let mut subjects: Vec<String> =
                        searches.iter().map(|one| one.subject.clone()).collect();
                    subjects.dedup();
                    for search in searches {
                        note(conn, tenant, search).await?;
                    }
                    for subject in subjects {
                        trim(conn, tenant, &subject, keep).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    async fn past_searches(
        &self,
        tenant: TenantId,
        subject: &str,
        after: Option<(i64, String)>,
        limit: i64,
    ) -> Result<Vec<PastSearch>> {
        let subject = subject.to_owned();
        self.db
            .read("past_searches", move |conn| {
                Box::pin(async move {
                    let mut query = h::search_history
                        .filter(h::tenant_id.eq(raw(tenant.0)))
                        .filter(h::subject.eq(subject))
                        .order((h::search_time.desc(), h::wording.desc()))
                        .limit(limit)
                        .select((h::wording, h::query, h::searches, h::search_time))
                        .into_boxed();
                    if let Some((time, wording)) = after {
                        let same_time = h::search_time.eq(time).and(h::wording.lt(wording));
                        query = query.filter(h::search_time.lt(time).or(same_time));
                    }
                    let rows: Vec<Row> = query.load(conn).await?;
                    Ok(rows.into_iter().map(past).collect())
                })
            })
            .await
    }

    async fn past_searches_like(
        &self,
        tenant: TenantId,
        subject: &str,
        prefix: &str,
        limit: i64,
    ) -> Result<Vec<PastSearch>> {
        let (subject, prefix) = (subject.to_owned(), prefix.to_owned());
        self.db
            .read("past_searches_like", move |conn| {
                Box::pin(async move {
                    let end = format!("{prefix}{LAST}");
                    let rows: Vec<Row> = h::search_history
                        .filter(h::tenant_id.eq(raw(tenant.0)))
                        .filter(h::subject.eq(subject))
                        .filter(h::wording.ge(prefix))
                        .filter(h::wording.lt(end))
                        .order((h::search_time.desc(), h::wording.desc()))
                        .limit(limit)
                        .select((h::wording, h::query, h::searches, h::search_time))
                        .load(conn)
                        .await?;
                    Ok(rows.into_iter().map(past).collect())
                })
            })
            .await
    }

    async fn recent_searches(&self, tenant: TenantId, limit: i64) -> Result<Vec<NewSearch>> {
        self.db
            .read("recent_searches", move |conn| {
                Box::pin(async move {
                    let rows: Vec<(String, Row)> = h::search_history
                        .filter(h::tenant_id.eq(raw(tenant.0)))
                        .order(h::search_time.desc())
                        .limit(limit)
                        .select((
                            h::subject,
                            (h::wording, h::query, h::searches, h::search_time),
                        ))
                        .load(conn)
                        .await?;
                    let search = |(subject, (wording, query, searches, search_time))| NewSearch {
                        subject,
                        wording,
                        query,
                        searches,
                        search_time,
                    };
                    Ok(rows.into_iter().map(search).collect())
                })
            })
            .await
    }

    async fn forget_searches(
        &self,
        tenant: TenantId,
        subject: &str,
        wording: Option<&str>,
    ) -> Result<u64> {
        let (subject, wording) = (subject.to_owned(), wording.map(str::to_owned));
        self.db
            .write("forget_searches", move |conn| {
                Box::pin(async move {
                    let own = h::search_history
                        .filter(h::tenant_id.eq(raw(tenant.0)))
                        .filter(h::subject.eq(subject));
                    let removed = match wording {
                        None => diesel::delete(own).execute(conn).await?,
                        Some(wording) => {
                            diesel::delete(own.filter(h::wording.eq(wording)))
                                .execute(conn)
                                .await?
                        }
                    };
                    Ok(removed as u64)
                })
            })
            .await
    }

    async fn sweep_searches(&self, before: i64, limit: i64) -> Result<u64> {
        self.db
            .write("sweep_searches", move |conn| {
                Box::pin(async move {
                    let old = h::search_history.filter(h::search_time.lt(before));
                    // the time of the last row of this sweep; none if fewer are left
                    let last: Option<i64> = old
                        .order(h::search_time)
                        .offset(limit - 1)
                        .select(h::search_time)
                        .first(conn)
                        .await
                        .optional()?;
                    let until = last.map_or(before, |last| last.saturating_add(1));
                    let old = h::search_history.filter(h::search_time.lt(until));
                    Ok(diesel::delete(old).execute(conn).await? as u64)
                })
            })
            .await
    }
}
