//! What a request means. Every function collects all violations before it answers.

use std::time::Duration;

use mediamesh_proto::{
    JobId, MediaItemId, TenantId, Violations,
    media::v1::{
        CreateJobRequest, DownloadMediaRequest, ListMediaItemsRequest, MediaItem,
        UpdateMediaItemRequest, UploadMediaMetadata, job, list_media_items_request::Order,
        media_item,
    },
    pbjson_types::Timestamp,
    time::{micros, now_micros, std_duration},
};
use mediamesh_store::{
    job::{JobFilter, JobKind, JobState, UniquePeriod},
    media::{ItemPatch, ListQuery},
};

use serde::{Deserialize, Serialize};

use super::text;
use crate::{
    error::{Error, Result},
    service::{NORMAL, Wanted},
};

/// Longest id of a user, bytes.
pub const MAX_USER_BYTES: usize = 256;

/// An upload as announced.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewUpload {
    /// Clean name.
    pub display_name: String,
    /// Normal path.
    pub folder: String,
    /// Clean labels.
    pub tags: Vec<String>,
    /// Clean text.
    pub caption: String,
    /// Announced size.
    pub size_bytes: Option<u64>,
    /// Expected hash.
    pub sha256: Option<[u8; 32]>,
    /// Waits behind interactive uploads.
    pub background: bool,
}

/// Returns whose data a request may see.
pub fn tenant<T>(request: &tonic::Request<T>) -> std::result::Result<TenantId, tonic::Status> {
    Ok(TenantId(mediamesh_mesh::identity(request)?.tenant_id))
}

/// Reads the first message of an upload.
pub fn upload(metadata: UploadMediaMetadata) -> Result<NewUpload> {
    let mut violations = Violations::new();
    let v = &mut violations;
    let sha256 = match metadata.sha256.as_str() {
        "" => None,
        hash => {
            let mut bytes = [0; 32];
            let good = hex::decode_to_slice(hash, &mut bytes).is_ok();
            v.check(!good, "metadata.sha256", || {
                "must be 64 hex digits".to_owned()
            });
            Some(bytes)
        }
    };
    v.check(metadata.size_bytes < 0, "metadata.size_bytes", || {
        "must not be negative".to_owned()
    });
    let new = NewUpload {
        display_name: text::display_name(&metadata.display_name, "metadata.display_name", v),
        folder: text::folder(&metadata.folder, "metadata.folder", v),
        tags: text::tags(&metadata.tags, "metadata.tags", v),
        caption: text::caption(&metadata.caption, "metadata.caption", v),
        size_bytes: u64::try_from(metadata.size_bytes)
            .ok()
            .filter(|size| *size > 0),
        sha256,
        background: metadata.background,
    };
    violations.finish()?;
    Ok(new)
}

/// Fails with one violation.
pub fn violation(field: &str, description: &str) -> Error {
    let mut violations = Violations::new();
    violations.add(field, description);
    match violations.finish() {
        Err(error) => error.into(),
        Ok(()) => unreachable!("one violation was added"),
    }
}

/// Reads the id of an item.
pub fn item_id(field: &str, id: &str) -> Result<MediaItemId> {
    id.parse()
        .map_err(|error: mediamesh_proto::id::InvalidId| violation(field, &error.to_string()))
}

/// Reads the id of a job.
pub fn job_id(id: &str) -> Result<JobId> {
    id.parse()
        .map_err(|error: mediamesh_proto::id::InvalidId| violation("job_id", &error.to_string()))
}

/// Most ids of a batch.
const MAX_BATCH: usize = 1_000;

/// Reads the ids of a batch.
pub fn item_ids(ids: &[String]) -> Result<Vec<MediaItemId>> {
    let mut violations = Violations::new();
    violations.check(ids.len() > MAX_BATCH, "media_item_ids", || {
        format!("has {} ids; limit is {MAX_BATCH}", ids.len())
    });
    let ids = ids.iter().take(MAX_BATCH).enumerate();
    let ids = ids
        .filter_map(|(index, id)| violations.take(&format!("media_item_ids[{index}]"), id.parse()))
        .collect();
    violations.finish()?;
    Ok(ids)
}

/// Reads an etag; empty is none.
pub fn etag(field: &str, etag: &str) -> Result<Option<i64>> {
    if etag.is_empty() {
        return Ok(None);
    }
    let version = etag.trim_matches('"').parse();
    version
        .map(Some)
        .map_err(|_| violation(field, "is not an etag that was handed out"))
}

/// Reads a page size: 0 is `default`, more than `most` is `most`.
pub fn page_size(size: i32, default: i64, most: i64, violations: &mut Violations) -> i64 {
    violations.check(size < 0, "page_size", || "must not be negative".to_owned());
    if size == 0 {
        default
    } else {
        i64::from(size).min(most)
    }
}

/// Reads what to list; the page token is left to the caller.
pub fn list(request: &ListMediaItemsRequest) -> Result<ListQuery> {
    let mut violations = Violations::new();
    let v = &mut violations;
    let order = known::<Order>("order", request.order, v);
    let kind = known::<media_item::Kind>("kind", request.kind, v);
    let state = known::<media_item::State>("state", request.state, v);
    let uploader = &request.uploader;
    let unfit = uploader.len() > MAX_USER_BYTES || uploader.chars().any(char::is_control);
    v.check(unfit, "uploader", || {
        format!("must be an id of at most {MAX_USER_BYTES} bytes")
    });
    let query = ListQuery {
        folder: text::folder(&request.folder, "folder", v),
        tags: text::tags(&request.tags, "tags", v),
        kind: number(kind),
        state: number(state),
        ascending: order == Order::Oldest as i32,
        after: None,
        limit: page_size(request.page_size, 50, 1_000, v),
        uploader: Some(request.uploader.clone()).filter(|user| !user.is_empty()),
    };
    violations.finish()?;
    Ok(query)
}

/// Reads which jobs to list.
pub fn job_filter(state: i32, kind: i32, violations: &mut Violations) -> JobFilter {
    JobFilter {
        state: number(known::<job::State>("state", state, violations)),
        kind: number(known::<job::Kind>("kind", kind, violations)),
    }
}

/// Reads a kind of job that workers know; unspecified is none.
pub fn job_kind(kind: i32) -> Result<Option<JobKind>> {
    match i16::try_from(kind) {
        Ok(0) => Ok(None),
        Ok(number) if JobKind::from_number(number).is_some() => Ok(JobKind::from_number(number)),
        _ => Err(violation("kind", &format!("{kind} is not a known value"))),
    }
}

/// Most dead letters that are queued again at once: one transaction of a second or two.
const MAX_RETRIED: i64 = 10_000;

/// Reads how many dead letters to queue again.
pub fn max_count(count: i32) -> Result<i64> {
    match count {
        ..0 => Err(violation("max_count", "must not be negative")),
        0 => Ok(1_000),
        count => Ok(i64::from(count).min(MAX_RETRIED)),
    }
}

/// Reads until when to pause.
pub fn until(time: Option<&Timestamp>) -> Result<Option<i64>> {
    match time.map(micros) {
        Some(until) if until <= now_micros() => {
            Err(violation("until_time", "must lie in the future"))
        }
        until => Ok(until),
    }
}

/// Longest unique period: ended jobs are kept that long for it.
const MAX_PERIOD: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Most characters of a unique key.
const MAX_KEY_CHARS: usize = 200;

fn period(request: &CreateJobRequest, v: &mut Violations) -> Option<UniquePeriod> {
    let length = request.unique_period.as_ref().map(std_duration);
    let length = length.unwrap_or_default();
    let states: Option<Vec<JobState>> = request
        .unique_states
        .iter()
        .map(|state| JobState::from_number(i16::try_from(*state).ok()?))
        .collect();
    v.check(states.is_none(), "unique_states", || {
        "holds a value that is not known".to_owned()
    });
    let states = states.unwrap_or_default();
    if request.unique_key.is_empty() {
        v.check(!length.is_zero(), "unique_period", || {
            "goes with unique_key".to_owned()
        });
        v.check(!states.is_empty(), "unique_states", || {
            "goes with unique_key".to_owned()
        });
        return None;
    }
    let chars = request.unique_key.chars().count();
    v.check(chars > MAX_KEY_CHARS, "unique_key", || {
        format!("has {chars} characters; limit is {MAX_KEY_CHARS}")
    });
    v.check(
        length.is_zero() || length > MAX_PERIOD,
        "unique_period",
        || "must be more than 0 and at most 30 days".to_owned(),
    );
    Some(UniquePeriod {
        key: request.unique_key.clone(),
        length,
        states: match states.is_empty() {
            true => UniquePeriod::STATES.to_vec(),
            false => states,
        },
    })
}

pub(super) fn priority(priority: i32, field: &str, v: &mut Violations) -> i16 {
    v.check(!(0..=9).contains(&priority), field, || {
        "must lie between 1 and 9, or be 0 for 5".to_owned()
    });
    match i16::try_from(priority) {
        Ok(priority @ 1..) => priority,
        _ => NORMAL,
    }
}

fn known<E: TryFrom<i32>>(field: &str, value: i32, violations: &mut Violations) -> i32 {
    violations.check(E::try_from(value).is_err(), field, || {
        format!("{value} is not a known value")
    });
    value
}

/// A number of an enum as stored; 0 is none.
fn number(value: i32) -> Option<i16> {
    i16::try_from(value).ok().filter(|value| *value != 0)
}

/// A change to an item.
#[derive(Debug)]
pub struct Update {
    /// Which item.
    pub id: MediaItemId,
    /// Version that must be current.
    pub version: Option<i64>,
    /// What to change.
    pub patch: ItemPatch,
}

/// Reads a change; without a mask, fields that are not empty change.
pub fn update(request: UpdateMediaItemRequest) -> Result<Update> {
    let item = request.media_item.unwrap_or_default();
    let id = item_id("media_item.id", &item.id)?;
    let version = etag("media_item.etag", &item.etag)?;
    let mut violations = Violations::new();
    let paths = match request.update_mask {
        Some(mask) if !mask.paths.is_empty() => mask.paths,
        _ => set_fields(&item),
    };
    let mut patch = ItemPatch::default();
    let v = &mut violations;
    for path in &paths {
        match path.as_str() {
            "display_name" | "displayName" => {
                patch.display_name = Some(text::display_name(
                    &item.display_name,
                    "media_item.display_name",
                    v,
                ));
            }
            "folder" => patch.folder = Some(text::folder(&item.folder, "media_item.folder", v)),
            "tags" => patch.tags = Some(text::tags(&item.tags, "media_item.tags", v)),
            "caption" => {
                patch.caption = Some(text::caption(&item.caption, "media_item.caption", v))
            }
            other => v.add(
                "update_mask",
                format!("`{other}` cannot be changed; display_name, folder, tags and caption can"),
            ),
        }
    }
    violations.finish()?;
    Ok(Update { id, version, patch })
}

fn set_fields(item: &MediaItem) -> Vec<String> {
    let set = [
        ("display_name", !item.display_name.is_empty()),
        ("folder", !item.folder.is_empty()),
        ("tags", !item.tags.is_empty()),
        ("caption", !item.caption.is_empty()),
    ];
    set.iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

/// Bytes to send.
#[derive(Debug)]
pub struct Download {
    /// Which item.
    pub id: MediaItemId,
    /// Which rendition; empty = the original.
    pub rendition: String,
    /// First byte.
    pub offset: i64,
    /// Most bytes; 0 = to the end.
    pub limit: i64,
}

/// Reads what to send.
pub fn download(request: DownloadMediaRequest) -> Result<Download> {
    let id = item_id("media_item_id", &request.media_item_id)?;
    let mut violations = Violations::new();
    violations.check(request.read_offset < 0, "read_offset", || {
        "must not be negative".to_owned()
    });
    violations.check(request.read_limit < 0, "read_limit", || {
        "must not be negative".to_owned()
    });
    violations.finish()?;
    Ok(Download {
        id,
        rendition: request.rendition,
        offset: request.read_offset,
        limit: request.read_limit,
    })
}

/// Reads what to queue.
pub fn create_job(request: &CreateJobRequest) -> Result<Wanted> {
    use job::Kind;
    let kind = match Kind::try_from(request.kind) {
        Ok(Kind::Unspecified) if !request.prompt.is_empty() => Kind::GenerateImage,
        Ok(Kind::Unspecified) => Kind::ProcessMedia,
        Ok(kind) => kind,
        Err(_) => {
            return Err(violation(
                "kind",
                &format!("{} is not a known value", request.kind),
            ));
        }
    };
    let kind = match kind {
        Kind::GenerateImage => return Err(Error::ProviderNotConfigured),
        Kind::EmbedMedia => JobKind::EmbedMedia,
        Kind::DeleteBlobs => return Err(violation("kind", "is queued by DeleteMediaItem only")),
        Kind::SweepJobs | Kind::SweepBlobs | Kind::CheckBlobs => {
            return Err(violation("kind", "is queued by a schedule only"));
        }
        Kind::ProcessMedia | Kind::Unspecified => JobKind::ProcessMedia,
    };
    let mut violations = Violations::new();
    let v = &mut violations;
    let item = v.take("media_item_id", request.media_item_id.parse());
    let (priority, period) = (
        priority(request.priority, "priority", v),
        period(request, v),
    );
    violations.finish()?;
    let item = match item {
        Some(item) => item,
        None => item_id("media_item_id", &request.media_item_id)?,
    };
    Ok(Wanted {
        kind,
        item,
        priority,
        period,
    })
}
