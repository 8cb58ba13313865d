//! Rows of removed vectors: they tell an index what to take out, and are of no use once it has.
//!
//! What was looked at once and stayed is of an item that is there: when that goes, its row gets a new
//! sequence number. Rows of one tenant are written one after the other, so none appears below what was looked
//! at. It is looked for beside those who write, a window of the log at a time; they wait while rows are deleted.

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

/// Rows of the log that are looked at together.
const WINDOW: i64 = match cfg!(test) {
    false => 10_000,
    true => 4,
};
/// Rows that are deleted together.
const BATCH: usize = 1000;

/// What was found in one window.
pub(super) struct Found {
    seqs: Vec<i64>,
    /// The window's end, if nothing in it has to be looked at again.
    pub(super) looked: Option<i64>,
    /// Whether there is another window.
    pub(super) more: bool,
}

impl Found {
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[i64]> {
        self.seqs.chunks(BATCH)
    }
}

/// What is gone of one index, and what was looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    swept: i64,
    looked: i64,
}

async fn marks(conn: &mut Connection, tenant: TenantId, model: &str) -> Result<Marks> {
    let marks = s::swept_vectors
        .filter(s::tenant_id.eq(raw(tenant.0)))
        .filter(s::model.eq(model))
        .select((s::swept, s::looked));
    let marks: Option<(i64, i64)> = marks.get_result(conn).await.optional()?;
    Ok(marks.map_or_else(Marks::default, |(swept, looked)| Marks { swept, looked }))
}

async fn note(conn: &mut Connection, tenant: TenantId, model: String, marks: Marks) -> Result<()> {
    let mut sql = Sql::new("INSERT INTO swept_vectors (tenant_id, model, swept, looked) ");
    sql.push(
        "VALUES (?, ?, ?, ?) ON CONFLICT (tenant_id, model) \
         DO UPDATE SET swept = excluded.swept, looked = excluded.looked",
        [
            Bind::Id(raw(tenant.0)),
            Bind::Text(model),
            Bind::Long(marks.swept),
            Bind::Long(marks.looked),
        ],
    );
    sql.execute(conn).await?;
    Ok(())
}

/// Newest row that is gone.
pub(super) async fn swept(conn: &mut Connection, tenant: TenantId, model: &str) -> Result<u64> {
    Ok(marks(conn, tenant, model).await?.swept.cast_unsigned())
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
        .get_result(conn)
        .await?;
    let Marks { swept, looked } = marks(conn, tenant, &model).await?;
    let newest = newest.unwrap_or(0).max(looked).max(swept);
    Ok(Sequences {
        last: newest.cast_unsigned(),
        swept: swept.cast_unsigned(),
    })
}

/// Looks at the window that comes `after` another, or after what was looked at before.
pub(super) async fn find(
    conn: &mut Connection,
    tenant: TenantId,
    model: String,
    after: Option<i64>,
    through: Option<u64>,
    age: Duration,
) -> Result<Found> {
    let after = match after {
        Some(after) => after,
        None => marks(conn, tenant, &model).await?.looked,
    };
    let through = through.map_or(i64::MAX, u64::cast_signed);
    let rows = || {
        e::media_embeddings
            .filter(e::tenant_id.eq(raw(tenant.0)))
            .filter(e::model.eq(&model))
            .filter(e::seq.gt(after))
    };
    let place = (e::seq, e::create_time);
    let last: Option<(i64, i64)> = rows()
        .filter(e::seq.le(through))
        .order(e::seq)
        .offset(WINDOW - 1)
        .select(place)
        .first(conn)
        .await
        .optional()?;
    let full = last.is_some();
    let last = match last {
        Some(last) => Some(last),
        None => rows()
            .filter(e::seq.le(through))
            .order(e::seq.desc())
            .select(place)
            .first(conn)
            .await
            .optional()?,
    };
    let Some((end, written)) = last else {
        return Ok(Found {
            seqs: Vec::new(),
            looked: None,
            more: false,
        });
    };
    let item = m::media_items
        .filter(m::tenant_id.eq(e::tenant_id))
        .filter(m::item_key.eq(e::item_key));
    let before = now_micros().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
    let seqs = rows()
        .filter(e::seq.le(end))
        .filter(e::vector.is_null())
        .filter(e::create_time.le(before))
        .filter(not(exists(item)))
        .order(e::seq)
        .select(e::seq)
        .load(conn)
        .await?;
    // what was written lately has its time still to come
    let is_old = written <= before;
    Ok(Found {
        seqs,
        looked: is_old.then_some(end),
        more: full && is_old,
    })
}

/// Deletes rows that were found; answers how many there were.
pub(super) async fn sweep(
    conn: &mut Connection,
    tenant: TenantId,
    model: String,
    seqs: Vec<i64>,
) -> Result<u64> {
    dialect::lock_tenant(conn, tenant).await?;
    let mut marks = marks(conn, tenant, &model).await?;
    marks.swept = seqs.iter().copied().fold(marks.swept, i64::max);
    let rows = e::media_embeddings
        .filter(e::tenant_id.eq(raw(tenant.0)))
        .filter(e::model.eq(&model))
        .filter(e::seq.eq_any(seqs));
    let rows = diesel::delete(rows).execute(conn).await?;
    note(conn, tenant, model, marks).await?;
    Ok(rows as u64)
}

/// Notes that nothing up to `looked` has to be looked at again.
pub(super) async fn note_looked(
    conn: &mut Connection,
    tenant: TenantId,
    model: String,
    looked: i64,
) -> Result<()> {
    dialect::lock_tenant(conn, tenant).await?;
    let mut marks = marks(conn, tenant, &model).await?;
    marks.looked = marks.looked.max(looked);
    note(conn, tenant, model, marks).await
}
