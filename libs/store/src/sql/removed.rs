//! Rows of removed vectors: they tell an index what to take out, and are of no use once it has.
//!
//! What was looked at once and stayed is of an item that is there: when that goes, its row gets a new
//! sequence number. Rows of one tenant are written one after the other, so none appears below what was looked at.

use std::time::Duration;

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _,
    dsl::{exists, max, not},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{TenantId, time::now_micros};

use super::{
    Connection, dialect,
    filter::{Bind, Sql},
    schema::{media_embeddings::dsl as e, media_items::dsl as m, swept_vectors::dsl as s},
    types::raw,
};
use crate::{error::Result, search::Sequences};

/// Rows that are deleted at once: writers of the tenant wait meanwhile.
const BATCH: i64 = 1000;

pub(super) struct Batch {
    pub(super) rows: u64,
    /// Whether there may be more.
    pub(super) more: bool,
}

/// What was swept and looked at of one index.
async fn marks(conn: &mut Connection, tenant: TenantId, model: &str) -> Result<(i64, i64)> {
    let marks = s::swept_vectors
        .filter(s::tenant_id.eq(raw(tenant.0)))
        .filter(s::model.eq(model))
        .select((s::swept, s::looked));
    Ok(marks.first(conn).await.optional()?.unwrap_or_default())
}

pub(super) async fn sequences(
    conn: &mut Connection,
    tenant: TenantId,
    model: String,
) -> Result<Sequences> {
    // first: it may be swept while the marks are read
    let newest: Option<i64> = e::media_embeddings
        .filter(e::tenant_id.eq(raw(tenant.0)))
        .filter(e::model.eq(&model))
        .select(max(e::seq))
        .first(conn)
        .await?;
    let (swept, looked) = marks(conn, tenant, &model).await?;
    Ok(Sequences {
        last: newest.unwrap_or(0).max(looked).cast_unsigned(),
        swept: swept.cast_unsigned(),
    })
}

pub(super) async fn sweep(
    conn: &mut Connection,
    tenant: TenantId,
    model: String,
    through: Option<u64>,
    age: Duration,
) -> Result<Batch> {
    dialect::lock_tenant(conn, tenant).await?;
    let last = sequences(conn, tenant, model.clone()).await?.last;
    let through = through
        .map_or(last, |through| through.min(last))
        .cast_signed();
    let (swept, looked) = marks(conn, tenant, &model).await?;
    let item = m::media_items
        .filter(m::tenant_id.eq(e::tenant_id))
        .filter(m::item_key.eq(e::item_key));
    let removed: Vec<(i64, i64)> = e::media_embeddings
        .filter(e::tenant_id.eq(raw(tenant.0)))
        .filter(e::model.eq(&model))
        .filter(e::seq.gt(looked))
        .filter(e::seq.le(through))
        .filter(e::vector.is_null())
        .filter(not(exists(item)))
        .order(e::seq)
        .limit(BATCH)
        .select((e::seq, e::create_time))
        .load(conn)
        .await?;
    let full = removed.len() == usize::try_from(BATCH).unwrap_or(usize::MAX);
    let before = now_micros().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let old = removed.partition_point(|(_, removed)| *removed <= before);
    let young = removed.get(old).map(|(seq, _)| *seq);
    let removed: Vec<i64> = removed.iter().take(old).map(|(seq, _)| *seq).collect();
    let newest = removed.last().copied();
    // not beyond one that has to wait, and not beyond a batch
    let looked = match (young, newest) {
        (Some(young), _) => young - 1,
        (None, Some(newest)) if full => newest,
        (None, _) => looked.max(through),
    };
    let more = full && young.is_none();
    let rows = match removed.is_empty() {
        true => 0,
        false => {
            let rows = e::media_embeddings
                .filter(e::tenant_id.eq(raw(tenant.0)))
                .filter(e::model.eq(&model))
                .filter(e::seq.eq_any(removed));
            diesel::delete(rows).execute(conn).await?
        }
    };
    let mut sql = Sql::new("INSERT INTO swept_vectors (tenant_id, model, swept, looked) ");
    sql.push(
        "VALUES (?, ?, ?, ?) ON CONFLICT (tenant_id, model) \
         DO UPDATE SET swept = excluded.swept, looked = excluded.looked",
        [
            Bind::Id(raw(tenant.0)),
            Bind::Text(model),
            Bind::Long(newest.unwrap_or(swept)),
            Bind::Long(looked),
        ],
    );
    sql.execute(conn).await?;
    Ok(Batch {
        rows: rows as u64,
        more,
    })
}
