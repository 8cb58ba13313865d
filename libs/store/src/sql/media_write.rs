//! Writes of [`crate::MediaStore`], each inside one transaction.

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, SelectableHelper as _,
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{JobId, MediaItemId, TenantId, time::now_micros};

use super::{
    Connection, bulk, dialect,
    filter::Bind,
    jobs,
    media::item,
    rows::{ItemRow, NewItemRow, RENDITION_COLUMNS, json, rendition_row},
    schema::{
        media_colors, media_embeddings::dsl as e, media_items::dsl as m, media_tags,
        processing_jobs::dsl as j, renditions::dsl as r, tenants::dsl as t,
    },
    trees,
    types::{Id, Vector, raw, uuid},
};
use crate::{
    error::{Error, Result},
    job::{JobKind, JobState, Lease, NewJob},
    media::{Color, Inserted, ItemPatch, MediaItem, NewMediaItem, Orientation, Processed, State},
};

type ItemOf = diesel::dsl::Filter<
    diesel::dsl::Filter<m::media_items, diesel::dsl::Eq<m::tenant_id, Id>>,
    diesel::dsl::Eq<m::item_key, i64>,
>;

/// Makes every cached search of the tenant stale, from the end of this transaction on.
pub(super) async fn bump_corpus(conn: &mut Connection, tenant: TenantId) -> Result<()> {
    let bumped = diesel::update(t::tenants.filter(t::id.eq(raw(tenant.0))))
        .set(t::corpus_version.eq(t::corpus_version + 1))
        .execute(conn)
        .await?;
    if bumped == 0 {
        diesel::insert_into(t::tenants)
            .values((
                t::id.eq(raw(tenant.0)),
                t::name.eq(""),
                t::corpus_version.eq(1),
                t::create_time.eq(now_micros()),
            ))
            .execute(conn)
            .await?;
    }
    Ok(())
}

pub(super) async fn by_sha256(
    conn: &mut Connection,
    tenant: TenantId,
    sha256: [u8; 32],
) -> Result<Option<MediaItem>> {
    let row: Option<ItemRow> = m::media_items
        .filter(m::tenant_id.eq(raw(tenant.0)))
        .filter(m::sha256.eq(sha256.to_vec()))
        .select(ItemRow::as_select())
        .first(conn)
        .await
        .optional()?;
    row.map(MediaItem::try_from).transpose()
}

pub(super) async fn insert(
    conn: &mut Connection,
    new: NewMediaItem,
    job: NewJob,
) -> Result<Inserted> {
    dialect::lock_tenant(conn, new.tenant_id).await?;
    if let Some(existing) = by_sha256(conn, new.tenant_id, new.sha256).await? {
        return Ok(Inserted::Duplicate(Box::new(existing)));
    }
    let now = now_micros();
    let row: ItemRow = diesel::insert_into(m::media_items)
        .values(NewItemRow::new(&new, now))
        .returning(ItemRow::as_returning())
        .get_result(conn)
        .await?;
    let item = MediaItem::try_from(row)?;
    dialect::index_words(conn, new.tenant_id, item.item_key).await?;
    set_tags(conn, new.tenant_id, item.item_key, &new.tags).await?;
    let job_id = jobs::enqueue(conn, job, now).await?;
    bump_corpus(conn, new.tenant_id).await?;
    Ok(Inserted::New {
        item: Box::new(item),
        job_id,
    })
}

async fn set_tags(
    conn: &mut Connection,
    tenant: TenantId,
    key: i64,
    tags: &[String],
) -> Result<()> {
    let stored = media_tags::table
        .filter(media_tags::tenant_id.eq(raw(tenant.0)))
        .filter(media_tags::item_key.eq(key));
    diesel::delete(stored).execute(conn).await?;
    let mut rows: Vec<String> = tags.iter().map(|tag| tag.to_lowercase()).collect();
    rows.sort();
    rows.dedup();
    let row = |tag| vec![Bind::Id(raw(tenant.0)), Bind::Text(tag), Bind::Long(key)];
    let rows = rows.into_iter().map(row).collect();
    bulk::insert(conn, "media_tags (tenant_id, tag, item_key)", rows, "").await?;
    Ok(())
}

async fn set_colors(
    conn: &mut Connection,
    tenant: TenantId,
    key: i64,
    colors: &[Color],
) -> Result<()> {
    let stored = media_colors::table
        .filter(media_colors::tenant_id.eq(raw(tenant.0)))
        .filter(media_colors::item_key.eq(key));
    diesel::delete(stored).execute(conn).await?;
    let row = |(position, color): (i16, &Color)| {
        let [l, a, b] = color.oklab;
        let place = [
            Bind::Id(raw(tenant.0)),
            Bind::Long(key),
            Bind::Small(position),
        ];
        let values = [l, a, b, color.share].map(Bind::Real);
        place.into_iter().chain(values).collect()
    };
    let rows = (0_i16..).zip(colors).map(row).collect();
    let into = "media_colors (tenant_id, item_key, position, l, a, b, share)";
    bulk::insert(conn, into, rows, "").await?;
    Ok(())
}

/// One item by its key.
fn row(tenant: TenantId, key: i64) -> ItemOf {
    m::media_items
        .filter(m::tenant_id.eq(raw(tenant.0)))
        .filter(m::item_key.eq(key))
}

fn check_version(item: &MediaItem, version: Option<i64>) -> Result<()> {
    match version {
        Some(version) if version != item.version => Err(Error::EtagMismatch {
            current: item.version,
        }),
        _ => Ok(()),
    }
}

pub(super) async fn update(
    conn: &mut Connection,
    tenant: TenantId,
    id: MediaItemId,
    version: Option<i64>,
    patch: ItemPatch,
    follow_up: Option<NewJob>,
) -> Result<Option<MediaItem>> {
    dialect::lock_tenant(conn, tenant).await?;
    let Some(mut current) = item(conn, tenant, id).await? else {
        return Ok(None);
    };
    check_version(&current, version)?;
    let before = (
        current.display_name.clone(),
        current.folder.clone(),
        current.caption.clone(),
        current.tags.clone(),
    );
    current.display_name = patch.display_name.unwrap_or(current.display_name);
    current.folder = patch.folder.unwrap_or(current.folder);
    current.caption = patch.caption.unwrap_or(current.caption);
    if let Some(tags) = patch.tags {
        set_tags(conn, tenant, current.item_key, &tags).await?;
        current.tags = tags;
    }
    let changed = (
        &current.display_name,
        &current.folder,
        &current.caption,
        &current.tags,
    ) != (&before.0, &before.1, &before.2, &before.3);
    if let Some(job) = follow_up.filter(|_| changed) {
        jobs::enqueue(conn, job, now_micros()).await?;
    }
    let row: ItemRow = diesel::update(row(tenant, current.item_key))
        .set((
            m::display_name.eq(current.display_name),
            m::folder.eq(current.folder),
            m::caption.eq(current.caption),
            m::tags.eq(json(&current.tags)),
            m::update_time.eq(now_micros()),
            m::version.eq(m::version + 1),
        ))
        .returning(ItemRow::as_returning())
        .get_result(conn)
        .await?;
    dialect::index_words(conn, tenant, current.item_key).await?;
    bump_corpus(conn, tenant).await?;
    MediaItem::try_from(row).map(Some)
}

pub(super) async fn delete(
    conn: &mut Connection,
    tenant: TenantId,
    id: MediaItemId,
    version: Option<i64>,
) -> Result<Option<Vec<String>>> {
    dialect::lock_tenant(conn, tenant).await?;
    let Some(current) = item(conn, tenant, id).await? else {
        return Ok(None);
    };
    check_version(&current, version)?;
    let derived = r::renditions
        .filter(r::tenant_id.eq(raw(tenant.0)))
        .filter(r::media_item_id.eq(raw(id.0)));
    let mut blob_keys: Vec<String> = diesel::delete(derived)
        .returning(r::blob_key)
        .get_results(conn)
        .await?;
    blob_keys.push(current.blob_key.clone());

    forget_vectors(conn, tenant, current.item_key).await?;
    set_tags(conn, tenant, current.item_key, &[]).await?;
    set_colors(conn, tenant, current.item_key, &[]).await?;
    cancel_waiting(conn, tenant, id).await?;
    dialect::forget_words(conn, tenant, current.item_key).await?;
    diesel::delete(row(tenant, current.item_key))
        .execute(conn)
        .await?;

    let job = NewJob {
        priority: 9,
        max_attempts: 10,
        payload: serde_json::json!({ "blob_keys": blob_keys }).to_string(),
        media_item_id: Some(id),
        ..NewJob::new(tenant, JobKind::DeleteBlobs)
    };
    jobs::enqueue(conn, job, now_micros()).await?;
    bump_corpus(conn, tenant).await?;
    Ok(Some(blob_keys))
}

/// Cancels what waits for its turn with an item that goes away, and what needs that. What runs finds
/// out by itself.
async fn cancel_waiting(conn: &mut Connection, tenant: TenantId, item: MediaItemId) -> Result<()> {
    let waiting = j::processing_jobs
        .filter(j::tenant_id.eq(raw(tenant.0)))
        .filter(j::media_item_id.eq(raw(item.0)))
        .filter(j::state.eq_any([JobState::Queued as i16, JobState::Blocked as i16]));
    let cancelled: Vec<(Id, Option<Id>)> = diesel::update(waiting)
        .set((
            j::state.eq(JobState::Cancelled as i16),
            j::unique_key.eq(None::<String>),
            j::end_time.eq(now_micros()),
        ))
        .returning((j::id, j::tree_id))
        .get_results(conn)
        .await?;
    for (id, _) in cancelled.iter().filter(|(_, tree)| tree.is_some()) {
        let id = JobId(uuid(id)?);
        let why = format!("the item of a step it needs was deleted, job {id}");
        trees::cancel_dependants(conn, tenant, id, &why).await?;
    }
    Ok(())
}

/// Replaces the vectors of an item by rows without one, which take them out of the indexes.
async fn forget_vectors(conn: &mut Connection, tenant: TenantId, key: i64) -> Result<()> {
    let vectors = || {
        e::media_embeddings
            .filter(e::tenant_id.eq(raw(tenant.0)))
            .filter(e::item_key.eq(key))
    };
    let models: Vec<String> = vectors().select(e::model).load(conn).await?;
    diesel::delete(vectors()).execute(conn).await?;
    let none = models.into_iter().map(|model| (model, None)).collect();
    insert_vectors(conn, tenant, key, none).await
}

/// Writes a vector per model, or that there is none any more. There is no row of these models.
pub(super) async fn insert_vectors(
    conn: &mut Connection,
    tenant: TenantId,
    key: i64,
    vectors: Vec<(String, Option<Vector>)>,
) -> Result<()> {
    let now = now_micros();
    let row = |(model, vector)| {
        vec![
            Bind::Id(raw(tenant.0)),
            Bind::Text(model),
            Bind::Long(key),
            Bind::Vector(vector),
            Bind::Long(now),
        ]
    };
    let rows = vectors.into_iter().map(row).collect();
    let into = "media_embeddings (tenant_id, model, item_key, vector, create_time)";
    bulk::insert(conn, into, rows, "").await?;
    Ok(())
}

pub(super) async fn start(conn: &mut Connection, tenant: TenantId, id: MediaItemId) -> Result<()> {
    let target = m::media_items
        .filter(m::tenant_id.eq(raw(tenant.0)))
        .filter(m::id.eq(raw(id.0)))
        .filter(m::state.eq(State::Pending as i16));
    diesel::update(target)
        .set(m::state.eq(State::Processing as i16))
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn finish(
    conn: &mut Connection,
    lease: Lease,
    tenant: TenantId,
    id: MediaItemId,
    found: Processed,
    follow_up: Option<NewJob>,
) -> Result<()> {
    dialect::lock_tenant(conn, tenant).await?;
    jobs::hold_lease(conn, lease).await?;
    // Deleted meanwhile: nothing to finish, and the sweeper takes the new renditions.
    let Some(current) = item(conn, tenant, id).await? else {
        return Ok(());
    };
    let stored = r::renditions
        .filter(r::tenant_id.eq(raw(tenant.0)))
        .filter(r::media_item_id.eq(raw(id.0)));
    diesel::delete(stored).execute(conn).await?;
    let renditions = found.renditions.into_iter();
    let rows = renditions.map(|found| rendition_row(tenant, id, found));
    bulk::insert(conn, RENDITION_COLUMNS, rows.collect(), "").await?;
    set_colors(conn, tenant, current.item_key, &found.colors).await?;
    let orientation = Orientation::of(found.width_pixels, found.height_pixels);
    diesel::update(row(tenant, current.item_key))
        .set((
            m::state.eq(State::Ready as i16),
            m::failure_reason.eq(""),
            m::failure_detail.eq(""),
            m::width_pixels.eq(found.width_pixels),
            m::height_pixels.eq(found.height_pixels),
            m::orientation.eq(orientation as i16),
            m::capture_time.eq(found.capture_time),
            m::media_time.eq(found.capture_time.unwrap_or(current.create_time)),
            m::colors.eq(json(&found.colors)),
            m::thumb_hash.eq(Some(found.thumb_hash).filter(|hash| !hash.is_empty())),
            m::blur_hash.eq(found.blur_hash),
            m::perceptual_hash.eq(found.perceptual_hash.map(u64::cast_signed)),
            m::exif.eq(found.exif.as_ref().map(json)),
            m::search_text.eq(found.search_text),
            m::update_time.eq(now_micros()),
            m::version.eq(m::version + 1),
        ))
        .execute(conn)
        .await?;
    dialect::index_words(conn, tenant, current.item_key).await?;
    if let Some(job) = follow_up {
        jobs::enqueue(conn, job, now_micros()).await?;
    }
    bump_corpus(conn, tenant).await
}

pub(super) async fn fail(
    conn: &mut Connection,
    lease: Lease,
    tenant: TenantId,
    id: MediaItemId,
    reason: String,
    detail: String,
) -> Result<()> {
    dialect::lock_tenant(conn, tenant).await?;
    let end = jobs::End::new(JobState::Failed, &detail);
    jobs::settle(conn, lease, end).await?;
    let states = [
        State::Pending,
        State::Processing,
        State::Ready,
        State::Failed,
    ];
    set_failed(conn, tenant, id, &states, reason, detail).await
}

/// Fails an item that is not through its processing. The tenant is locked.
pub(super) async fn fail_unfinished(
    conn: &mut Connection,
    tenant: TenantId,
    id: MediaItemId,
    reason: &str,
    detail: &str,
) -> Result<()> {
    let states = [State::Pending, State::Processing];
    set_failed(
        conn,
        tenant,
        id,
        &states,
        reason.to_owned(),
        detail.to_owned(),
    )
    .await
}

/// Fails an item that is through its processing. The tenant is locked.
pub(super) async fn fail_finished(
    conn: &mut Connection,
    tenant: TenantId,
    id: MediaItemId,
    reason: String,
    detail: String,
) -> Result<()> {
    let states = [State::Ready, State::Failed];
    set_failed(conn, tenant, id, &states, reason, detail).await
}

async fn set_failed(
    conn: &mut Connection,
    tenant: TenantId,
    id: MediaItemId,
    states: &[State],
    reason: String,
    detail: String,
) -> Result<()> {
    let states: Vec<i16> = states.iter().map(|state| *state as i16).collect();
    let target = m::media_items
        .filter(m::tenant_id.eq(raw(tenant.0)))
        .filter(m::id.eq(raw(id.0)))
        .filter(m::state.eq_any(states));
    diesel::update(target)
        .set((
            m::state.eq(State::Failed as i16),
            m::failure_reason.eq(reason),
            m::failure_detail.eq(detail),
            m::update_time.eq(now_micros()),
            m::version.eq(m::version + 1),
        ))
        .execute(conn)
        .await?;
    bump_corpus(conn, tenant).await
}
