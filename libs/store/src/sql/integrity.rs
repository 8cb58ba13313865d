//! [`IntegrityStore`].

use std::collections::HashMap;

use async_trait::async_trait;
use diesel::{
    ExpressionMethods as _, QueryDsl as _, SelectableHelper as _, dsl::count_star,
    result::QueryResult,
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{MediaItemId, TenantId};

use super::{
    Connection, Store, dialect, media_write,
    rows::{ItemRow, RenditionRow},
    schema::{media_items::dsl as m, renditions::dsl as r},
    types::{Id, raw},
};
use crate::{
    error::Result,
    integrity::{IntegrityStore, StoredBlob, StoredItem},
    media::{MediaItem, Rendition, State},
};

/// Adds to items what was derived from them, in one statement.
async fn with_renditions(
    conn: &mut Connection,
    rows: QueryResult<Vec<ItemRow>>,
) -> Result<Vec<StoredItem>> {
    let items: Vec<MediaItem> = rows?
        .into_iter()
        .map(MediaItem::try_from)
        .collect::<Result<_>>()?;
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Id> = items.iter().map(|item| raw(item.id.0)).collect();
    // with the tenants, which the index begins with
    let mut tenants: Vec<Id> = items.iter().map(|item| raw(item.tenant_id.0)).collect();
    tenants.sort();
    tenants.dedup();
    let found: Vec<RenditionRow> = r::renditions
        .filter(r::tenant_id.eq_any(tenants))
        .filter(r::media_item_id.eq_any(ids))
        .order((r::media_item_id, r::name))
        .select(RenditionRow::as_select())
        .load(conn)
        .await?;
    let mut renditions: HashMap<MediaItemId, Vec<(String, StoredBlob)>> = HashMap::new();
    for row in found {
        let (item, rendition): (MediaItemId, Rendition) = row.try_into()?;
        let blob = StoredBlob {
            key: rendition.blob_key,
            size_bytes: rendition.size_bytes,
            sha256: rendition.sha256,
        };
        renditions
            .entry(item)
            .or_default()
            .push((rendition.name, blob));
    }
    let stored = items.into_iter().map(|item| StoredItem {
        item_key: item.item_key,
        tenant_id: item.tenant_id,
        id: item.id,
        state: item.state,
        version: item.version,
        failure_reason: item.failure_reason,
        original: StoredBlob {
            key: item.blob_key,
            size_bytes: item.size_bytes,
            sha256: item.sha256,
        },
        renditions: renditions.remove(&item.id).unwrap_or_default(),
    });
    Ok(stored.collect())
}

async fn mark(
    conn: &mut Connection,
    tenant: TenantId,
    id: MediaItemId,
    reason: String,
    detail: String,
) -> Result<bool> {
    dialect::lock_tenant(conn, tenant).await?;
    let states = [State::Ready as i16, State::Failed as i16];
    let fit: i64 = m::media_items
        .filter(m::tenant_id.eq(raw(tenant.0)))
        .filter(m::id.eq(raw(id.0)))
        .filter(m::state.eq_any(states))
        .filter(m::failure_reason.ne(&reason))
        .select(count_star())
        .first(conn)
        .await?;
    if fit == 0 {
        return Ok(false);
    }
    media_write::fail_finished(conn, tenant, id, reason, detail).await?;
    Ok(true)
}

#[async_trait]
impl IntegrityStore for Store {
    async fn count_stored_items(&self) -> Result<i64> {
        self.db
            .read("count_stored_items", |conn| {
                Box::pin(async move {
                    let count = m::media_items.select(count_star()).first(conn).await?;
                    Ok(count)
                })
            })
            .await
    }

    async fn stored_items(&self, after: i64, limit: i64) -> Result<Vec<StoredItem>> {
        self.db
            .read("stored_items", move |conn| {
                Box::pin(async move {
                    let rows = m::media_items
                        .filter(m::item_key.gt(after))
                        .order(m::item_key)
                        .limit(limit)
                        .select(ItemRow::as_select())
                        .load(conn)
                        .await;
                    with_renditions(conn, rows).await
                })
            })
            .await
    }

    async fn stored_item(&self, tenant: TenantId, id: MediaItemId) -> Result<Option<StoredItem>> {
        self.db
            .read("stored_item", move |conn| {
                Box::pin(async move {
                    let rows = m::media_items
                        .filter(m::tenant_id.eq(raw(tenant.0)))
                        .filter(m::id.eq(raw(id.0)))
                        .select(ItemRow::as_select())
                        .load(conn)
                        .await;
                    Ok(with_renditions(conn, rows).await?.pop())
                })
            })
            .await
    }

    async fn mark_damaged(
        &self,
        tenant: TenantId,
        id: MediaItemId,
        reason: &str,
        detail: &str,
    ) -> Result<bool> {
        let (reason, detail) = (reason.to_owned(), detail.to_owned());
        self.db
            .write_of("mark_damaged", tenant, move |conn| {
                Box::pin(mark(conn, tenant, id, reason, detail))
            })
            .await
    }
}
