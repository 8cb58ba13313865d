//! Rows of the tables and their domain types.

use std::time::Duration;

use diesel::{Insertable, Queryable, Selectable};
use mediamesh_proto::{JobId, MediaItemId, TenantId};

use super::{
    filter::Bind,
    schema::{media_items, processing_jobs, renditions},
    types::{Id, raw, uuid},
};
use crate::{
    error::{Error, Result},
    job::{AGING_PER_PRIORITY, Job, JobKind, JobState, NewJob, Progress},
    media::{Kind, MediaItem, NewMediaItem, Orientation, Rendition, State},
    schedule::Tick,
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = media_items)]
pub(super) struct ItemRow {
    item_key: i64,
    tenant_id: Id,
    id: Id,
    kind: i16,
    state: i16,
    failure_reason: String,
    failure_detail: String,
    display_name: String,
    folder: String,
    tags: String,
    caption: String,
    content_type: String,
    size_bytes: i64,
    sha256: Vec<u8>,
    width_pixels: i32,
    height_pixels: i32,
    orientation: i16,
    capture_time: Option<i64>,
    create_time: i64,
    update_time: i64,
    colors: String,
    thumb_hash: Option<Vec<u8>>,
    blur_hash: String,
    perceptual_hash: Option<i64>,
    exif: Option<String>,
    blob_key: String,
    version: i64,
    uploader: Option<String>,
}

impl TryFrom<ItemRow> for MediaItem {
    type Error = Error;

    fn try_from(row: ItemRow) -> Result<Self> {
        Ok(Self {
            item_key: row.item_key,
            tenant_id: TenantId(uuid(&row.tenant_id)?),
            id: MediaItemId(uuid(&row.id)?),
            kind: match row.kind {
                1 => Kind::Image,
                2 => Kind::Video,
                _ => return Err(Error::Corrupt { what: "media kind" }),
            },
            state: match row.state {
                1 => State::Pending,
                2 => State::Processing,
                3 => State::Ready,
                4 => State::Failed,
                _ => {
                    return Err(Error::Corrupt {
                        what: "media state",
                    });
                }
            },
            failure_reason: row.failure_reason,
            failure_detail: row.failure_detail,
            display_name: row.display_name,
            folder: row.folder,
            tags: serde_json::from_str(&row.tags).map_err(|_| Error::Corrupt { what: "tags" })?,
            caption: row.caption,
            content_type: row.content_type,
            size_bytes: row.size_bytes,
            sha256: row
                .sha256
                .try_into()
                .map_err(|_| Error::Corrupt { what: "sha256" })?,
            width_pixels: row.width_pixels,
            height_pixels: row.height_pixels,
            orientation: match row.orientation {
                1 => Orientation::Landscape,
                2 => Orientation::Portrait,
                3 => Orientation::Square,
                _ => Orientation::Unknown,
            },
            capture_time: row.capture_time,
            create_time: row.create_time,
            update_time: row.update_time,
            colors: serde_json::from_str(&row.colors)
                .map_err(|_| Error::Corrupt { what: "colors" })?,
            thumb_hash: row.thumb_hash.unwrap_or_default(),
            blur_hash: row.blur_hash,
            perceptual_hash: row.perceptual_hash.map(i64::cast_unsigned),
            exif: row
                .exif
                .map(|text| {
                    serde_json::from_str(&text).map_err(|_| Error::Corrupt { what: "exif" })
                })
                .transpose()?,
            blob_key: row.blob_key,
            version: row.version,
            uploader: row.uploader,
        })
    }
}

#[derive(Insertable)]
#[diesel(table_name = media_items)]
pub(super) struct NewItemRow {
    tenant_id: Id,
    id: Id,
    kind: i16,
    state: i16,
    display_name: String,
    folder: String,
    tags: String,
    caption: String,
    content_type: String,
    size_bytes: i64,
    sha256: Vec<u8>,
    media_time: i64,
    create_time: i64,
    update_time: i64,
    blob_key: String,
    uploader: Option<String>,
}

impl NewItemRow {
    pub(super) fn new(item: &NewMediaItem, now: i64) -> Self {
        Self {
            tenant_id: raw(item.tenant_id.0),
            id: raw(item.id.0),
            kind: item.kind as i16,
            state: State::Pending as i16,
            display_name: item.display_name.clone(),
            folder: item.folder.clone(),
            tags: json(&item.tags),
            caption: item.caption.clone(),
            content_type: item.content_type.clone(),
            size_bytes: item.size_bytes,
            sha256: item.sha256.to_vec(),
            media_time: now,
            create_time: now,
            update_time: now,
            blob_key: item.blob_key.clone(),
            uploader: item.uploader.clone(),
        }
    }
}

/// Plain data as JSON text.
pub(super) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data serialises")
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = renditions)]
pub(super) struct RenditionRow {
    media_item_id: Id,
    name: String,
    content_type: String,
    width_pixels: i32,
    height_pixels: i32,
    size_bytes: i64,
    sha256: Vec<u8>,
    blob_key: String,
}

/// Where [`rendition_row`] goes.
pub(super) const RENDITION_COLUMNS: &str = "renditions (tenant_id, media_item_id, name, \
     content_type, width_pixels, height_pixels, size_bytes, sha256, blob_key)";

pub(super) fn rendition_row(tenant: TenantId, item: MediaItemId, found: Rendition) -> Vec<Bind> {
    vec![
        Bind::Id(raw(tenant.0)),
        Bind::Id(raw(item.0)),
        Bind::Text(found.name),
        Bind::Text(found.content_type),
        Bind::Int(found.width_pixels),
        Bind::Int(found.height_pixels),
        Bind::Long(found.size_bytes),
        Bind::Bytes(found.sha256.to_vec()),
        Bind::Text(found.blob_key),
    ]
}

impl TryFrom<RenditionRow> for (MediaItemId, Rendition) {
    type Error = Error;

    fn try_from(row: RenditionRow) -> Result<Self> {
        let rendition = Rendition {
            name: row.name,
            content_type: row.content_type,
            width_pixels: row.width_pixels,
            height_pixels: row.height_pixels,
            size_bytes: row.size_bytes,
            sha256: row
                .sha256
                .try_into()
                .map_err(|_| Error::Corrupt { what: "sha256" })?,
            blob_key: row.blob_key,
        };
        Ok((MediaItemId(uuid(&row.media_item_id)?), rendition))
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = processing_jobs)]
pub(super) struct JobRow {
    id: Id,
    tenant_id: Id,
    kind: i16,
    state: i16,
    priority: i16,
    attempts: i32,
    max_attempts: i32,
    payload: String,
    media_item_id: Option<Id>,
    progress_message: String,
    progress_current: i64,
    progress_total: i64,
    last_error: String,
    lease_token: i64,
    traceparent: String,
    create_time: i64,
    start_time: Option<i64>,
    end_time: Option<i64>,
    schedule: Option<String>,
    schedule_time: Option<i64>,
    tree_id: Option<Id>,
    step: String,
}

impl TryFrom<JobRow> for Job {
    type Error = Error;

    fn try_from(row: JobRow) -> Result<Self> {
        Ok(Self {
            id: JobId(uuid(&row.id)?),
            tenant_id: TenantId(uuid(&row.tenant_id)?),
            kind: JobKind::from_number(row.kind).ok_or(Error::Corrupt { what: "job kind" })?,
            state: JobState::from_number(row.state).ok_or(Error::Corrupt { what: "job state" })?,
            priority: row.priority,
            attempts: row.attempts,
            max_attempts: row.max_attempts,
            payload: row.payload,
            media_item_id: row
                .media_item_id
                .map(|id| uuid(&id).map(MediaItemId))
                .transpose()?,
            progress: Progress {
                current: row.progress_current,
                total: row.progress_total,
                message: row.progress_message,
            },
            last_error: row.last_error,
            lease_token: row.lease_token,
            traceparent: row.traceparent,
            create_time: row.create_time,
            start_time: row.start_time,
            end_time: row.end_time,
            tick: row
                .schedule
                .zip(row.schedule_time)
                .map(|(schedule, time)| Tick { schedule, time }),
            tree_id: row.tree_id.map(|id| uuid(&id).map(JobId)).transpose()?,
            step: row.step,
        })
    }
}

#[derive(Insertable)]
#[diesel(table_name = processing_jobs)]
pub(super) struct NewJobRow {
    id: Id,
    tenant_id: Id,
    kind: i16,
    state: i16,
    priority: i16,
    order_key: i64,
    run_after: i64,
    max_attempts: i32,
    unique_key: Option<String>,
    period_key: Option<String>,
    period_end: Option<i64>,
    payload: String,
    media_item_id: Option<Id>,
    traceparent: String,
    create_time: i64,
    schedule: Option<String>,
    schedule_time: Option<i64>,
    tree_id: Option<Id>,
    step: String,
    unmet_needs: i32,
}

/// Where [`NewJobRow::binds`] go.
pub(super) const JOB_COLUMNS: &str = "processing_jobs (id, tenant_id, kind, state, priority, order_key, \
     run_after, max_attempts, unique_key, period_key, period_end, payload, media_item_id, traceparent, \
     create_time, schedule, schedule_time, tree_id, step, unmet_needs)";

/// Where a job stands in the queue that comes in now.
pub(super) fn order_key(priority: i16, now: i64) -> i64 {
    now + i64::from(priority) * micros(AGING_PER_PRIORITY)
}

/// A duration as rows hold times.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl NewJobRow {
    /// Its values in the order of [`JOB_COLUMNS`], for a statement of many rows.
    pub(super) fn binds(self) -> Vec<Bind> {
        vec![
            Bind::Id(self.id),
            Bind::Id(self.tenant_id),
            Bind::Small(self.kind),
            Bind::Small(self.state),
            Bind::Small(self.priority),
            Bind::Long(self.order_key),
            Bind::Long(self.run_after),
            Bind::Int(self.max_attempts),
            Bind::MaybeText(self.unique_key),
            Bind::MaybeText(self.period_key),
            Bind::MaybeLong(self.period_end),
            Bind::Text(self.payload),
            Bind::MaybeId(self.media_item_id),
            Bind::Text(self.traceparent),
            Bind::Long(self.create_time),
            Bind::MaybeText(self.schedule),
            Bind::MaybeLong(self.schedule_time),
            Bind::MaybeId(self.tree_id),
            Bind::Text(self.step),
            Bind::Int(self.unmet_needs),
        ]
    }

    pub(super) fn new(job: NewJob, now: i64) -> Self {
        let (period_key, period_end) = job
            .period
            .map(|period| (period.key, now.saturating_add(micros(period.length))))
            .unzip();
        let (schedule, schedule_time) = job.tick.map(|tick| (tick.schedule, tick.time)).unzip();
        Self {
            id: raw(job.id.0),
            tenant_id: raw(job.tenant_id.0),
            kind: job.kind as i16,
            state: match job.needs.is_empty() {
                true => JobState::Queued as i16,
                false => JobState::Blocked as i16,
            },
            priority: job.priority,
            order_key: order_key(job.priority, now),
            run_after: now,
            max_attempts: job.max_attempts,
            unique_key: job.unique_key,
            period_key,
            period_end,
            payload: job.payload,
            media_item_id: job.media_item_id.map(|id| raw(id.0)),
            traceparent: job.traceparent,
            create_time: now,
            schedule,
            schedule_time,
            tree_id: job.tree_id.map(|id| raw(id.0)),
            step: job.step,
            unmet_needs: i32::try_from(job.needs.len()).unwrap_or(i32::MAX),
        }
    }
}
