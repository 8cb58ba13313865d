//! [`MediaStore`]: reads here, writes in `media_write`.

use std::collections::HashMap;

use async_trait::async_trait;
use diesel::{
    BoolExpressionMethods as _, ExpressionMethods as _, OptionalExtension as _, QueryDsl as _,
    SelectableHelper as _, dsl::count_star,
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{MediaItemId, TenantId};

use super::{
    Backend, Connection, Store, media_write as write,
    rows::{ItemRow, RenditionRow},
    schema::{media_items, media_items::dsl as m, media_tags, renditions::dsl as r},
    types::{Id, raw},
    users,
};
use crate::{
    error::Result,
    job::{Lease, NewJob},
    media::{
        Derived, Folder, Inserted, ItemPatch, ListQuery, MediaItem, MediaStore, NewMediaItem,
        Processed, Rendition, UserStats,
    },
};

type BoxedItems<'a> = media_items::BoxedQuery<'a, Backend>;

/// First text after every path below `folder`: "/" is followed by "0" in ASCII.
pub(super) fn folder_range(folder: &str) -> (String, String) {
    (format!("{folder}/"), format!("{folder}0"))
}

fn selected(tenant: TenantId, query: &ListQuery) -> BoxedItems<'static> {
    let mut items = m::media_items
        .filter(m::tenant_id.eq(raw(tenant.0)))
        .into_boxed();
    if !query.folder.is_empty() {
        let (from, to) = folder_range(&query.folder);
        items = items.filter(
            m::folder
                .eq(query.folder.clone())
                .or(m::folder.ge(from).and(m::folder.lt(to))),
        );
    }
    if let Some(kind) = query.kind {
        items = items.filter(m::kind.eq(kind));
    }
    if let Some(state) = query.state {
        items = items.filter(m::state.eq(state));
    }
    if let Some(uploader) = &query.uploader {
        items = items.filter(m::uploader.eq(uploader.clone()));
    }
    for tag in &query.tags {
        let tagged = media_tags::table
            .filter(media_tags::tenant_id.eq(raw(tenant.0)))
            .filter(media_tags::tag.eq(tag.to_lowercase()))
            .select(media_tags::item_key);
        items = items.filter(m::item_key.eq_any(tagged));
    }
    items
}

#[async_trait]
impl MediaStore for Store {
    async fn insert_item(&self, item: NewMediaItem, job: NewJob) -> Result<Inserted> {
        self.db
            .write_of("insert_item", item.tenant_id, |conn| {
                Box::pin(write::insert(conn, item, job))
            })
            .await
    }

    async fn find_by_sha256(
        &self,
        tenant: TenantId,
        sha256: [u8; 32],
    ) -> Result<Option<MediaItem>> {
        self.db
            .read("find_item", move |conn| {
                Box::pin(write::by_sha256(conn, tenant, sha256))
            })
            .await
    }

    async fn get_items(&self, tenant: TenantId, ids: &[MediaItemId]) -> Result<Vec<MediaItem>> {
        let ids: Vec<MediaItemId> = ids.to_vec();
        self.db
            .read("get_items", move |conn| {
                Box::pin(async move {
                    let rows: Vec<ItemRow> = m::media_items
                        .filter(m::tenant_id.eq(raw(tenant.0)))
                        .filter(m::id.eq_any(ids.iter().map(|id| raw(id.0))))
                        .select(ItemRow::as_select())
                        .load(conn)
                        .await?;
                    let items: Vec<MediaItem> = rows
                        .into_iter()
                        .map(MediaItem::try_from)
                        .collect::<Result<_>>()?;
                    let by_id: HashMap<_, _> = items.iter().map(|item| (item.id, item)).collect();
                    Ok(ids
                        .iter()
                        .filter_map(|id| by_id.get(id).map(|item| (*item).clone()))
                        .collect())
                })
            })
            .await
    }

    async fn get_renditions(
        &self,
        tenant: TenantId,
        ids: &[MediaItemId],
    ) -> Result<Vec<(MediaItemId, Rendition)>> {
        let ids: Vec<Id> = ids.iter().map(|id| raw(id.0)).collect();
        self.db
            .read("get_renditions", move |conn| {
                Box::pin(async move {
                    let rows: Vec<RenditionRow> = r::renditions
                        .filter(r::tenant_id.eq(raw(tenant.0)))
                        .filter(r::media_item_id.eq_any(ids))
                        .order((r::media_item_id, r::width_pixels, r::name))
                        .select(RenditionRow::as_select())
                        .load(conn)
                        .await?;
                    rows.into_iter().map(TryFrom::try_from).collect()
                })
            })
            .await
    }

    async fn list_items(&self, tenant: TenantId, query: &ListQuery) -> Result<Vec<MediaItem>> {
        let query = query.clone();
        self.db
            .read("list_items", move |conn| {
                Box::pin(async move {
                    let mut items = selected(tenant, &query).limit(query.limit);
                    items = match (query.ascending, query.after) {
                        (false, None) => items,
                        (true, None) => items,
                        (false, Some((time, id))) => items.filter(
                            m::create_time
                                .lt(time)
                                .or(m::create_time.eq(time).and(m::id.lt(raw(id.0)))),
                        ),
                        (true, Some((time, id))) => items.filter(
                            m::create_time
                                .gt(time)
                                .or(m::create_time.eq(time).and(m::id.gt(raw(id.0)))),
                        ),
                    };
                    items = if query.ascending {
                        items.order((m::create_time.asc(), m::id.asc()))
                    } else {
                        items.order((m::create_time.desc(), m::id.desc()))
                    };
                    let rows: Vec<ItemRow> = items.select(ItemRow::as_select()).load(conn).await?;
                    rows.into_iter().map(MediaItem::try_from).collect()
                })
            })
            .await
    }

    async fn count_items(&self, tenant: TenantId, query: &ListQuery) -> Result<i64> {
        let query = query.clone();
        self.db
            .read("count_items", move |conn| {
                Box::pin(async move {
                    Ok(selected(tenant, &query)
                        .select(count_star())
                        .first(conn)
                        .await?)
                })
            })
            .await
    }

    async fn list_folders(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Folder>> {
        let after = after.map(str::to_owned);
        self.db
            .read("list_folders", move |conn| {
                Box::pin(async move {
                    let mut folders = m::media_items
                        .filter(m::tenant_id.eq(raw(tenant.0)))
                        .group_by(m::folder)
                        .order(m::folder)
                        .limit(limit)
                        .select((m::folder, count_star()))
                        .into_boxed();
                    if let Some(after) = after {
                        folders = folders.filter(m::folder.gt(after));
                    }
                    let rows: Vec<(String, i64)> = folders.load(conn).await?;
                    Ok(rows
                        .into_iter()
                        .map(|(path, count)| Folder { path, count })
                        .collect())
                })
            })
            .await
    }

    async fn update_item(
        &self,
        tenant: TenantId,
        id: MediaItemId,
        version: Option<i64>,
        patch: ItemPatch,
        follow_up: Option<NewJob>,
    ) -> Result<Option<MediaItem>> {
        self.db
            .write_of("update_item", tenant, move |conn| {
                Box::pin(write::update(conn, tenant, id, version, patch, follow_up))
            })
            .await
    }

    async fn delete_item(
        &self,
        tenant: TenantId,
        id: MediaItemId,
        version: Option<i64>,
    ) -> Result<Option<Vec<String>>> {
        self.db
            .write_of("delete_item", tenant, move |conn| {
                Box::pin(write::delete(conn, tenant, id, version))
            })
            .await
    }

    async fn start_processing(&self, tenant: TenantId, id: MediaItemId) -> Result<()> {
        self.db
            .write("start_processing", move |conn| {
                Box::pin(write::start(conn, tenant, id))
            })
            .await
    }

    async fn finish_processing(
        &self,
        lease: &Lease,
        tenant: TenantId,
        id: MediaItemId,
        processed: Processed,
        follow_up: Option<NewJob>,
    ) -> Result<()> {
        let lease = *lease;
        self.db
            .write_of("finish_processing", tenant, move |conn| {
                Box::pin(write::finish(conn, lease, tenant, id, processed, follow_up))
            })
            .await
    }

    async fn fail_processing(
        &self,
        lease: &Lease,
        tenant: TenantId,
        id: MediaItemId,
        reason: &str,
        detail: &str,
    ) -> Result<()> {
        let (lease, reason, detail) = (*lease, reason.to_owned(), detail.to_owned());
        self.db
            .write_of("fail_processing", tenant, move |conn| {
                Box::pin(write::fail(conn, lease, tenant, id, reason, detail))
            })
            .await
    }

    async fn user_stats(&self, tenant: TenantId, user: &str) -> Result<UserStats> {
        let user = user.to_owned();
        self.db
            .read("user_stats", move |conn| {
                Box::pin(users::stats(conn, tenant, user))
            })
            .await
    }

    async fn derived(&self, tenant: TenantId, items: &[MediaItem]) -> Result<Vec<Derived>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let items: Vec<(i64, MediaItemId)> =
            items.iter().map(|item| (item.item_key, item.id)).collect();
        self.db
            .read("derived", move |conn| {
                Box::pin(users::derived(conn, tenant, items))
            })
            .await
    }

    async fn unreferenced_blobs(&self, blob_keys: Vec<String>) -> Result<Vec<String>> {
        self.db
            .read("unreferenced_blobs", move |conn| {
                Box::pin(async move {
                    let mut known: Vec<String> = m::media_items
                        .filter(m::blob_key.eq_any(&blob_keys))
                        .select(m::blob_key)
                        .load(conn)
                        .await?;
                    let derived: Vec<String> = r::renditions
                        .filter(r::blob_key.eq_any(&blob_keys))
                        .select(r::blob_key)
                        .load(conn)
                        .await?;
                    known.extend(derived);
                    Ok(blob_keys
                        .into_iter()
                        .filter(|key| !known.contains(key))
                        .collect())
                })
            })
            .await
    }
}

/// Reads one item inside a running transaction.
pub(super) async fn item(
    conn: &mut Connection,
    tenant: TenantId,
    id: MediaItemId,
) -> Result<Option<MediaItem>> {
    let row: Option<ItemRow> = m::media_items
        .filter(m::tenant_id.eq(raw(tenant.0)))
        .filter(m::id.eq(raw(id.0)))
        .select(ItemRow::as_select())
        .first(conn)
        .await
        .optional()?;
    row.map(MediaItem::try_from).transpose()
}
