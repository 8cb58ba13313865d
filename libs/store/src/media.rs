//! Items, renditions and folders, and the store that keeps them.

use async_trait::async_trait;
use mediamesh_proto::{JobId, MediaItemId, TenantId};
use serde::{Deserialize, Serialize};

use crate::{error::Result, job::NewJob};

/// Kind of media; numbers as in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// A picture.
    Image = 1,
    /// A film.
    Video = 2,
}

/// State in the pipeline; numbers as in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum State {
    /// Stored, waits for a worker.
    Pending = 1,
    /// A worker is at it.
    Processing = 2,
    /// Renditions and hashes are there.
    Ready = 3,
    /// Failed for good; the original is kept.
    Failed = 4,
}

/// Orientation of the upright picture; numbers as in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Orientation {
    /// Not known.
    Unknown = 0,
    /// Wider than high.
    Landscape = 1,
    /// Higher than wide.
    Portrait = 2,
    /// As wide as high.
    Square = 3,
}

impl Orientation {
    /// Compares upright width and height in pixels.
    #[must_use]
    pub fn of(width: i32, height: i32) -> Self {
        match (width, height) {
            (0, _) | (_, 0) => Self::Unknown,
            (w, h) if w > h => Self::Landscape,
            (w, h) if w < h => Self::Portrait,
            _ => Self::Square,
        }
    }
}

/// One dominant colour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Color {
    /// `#rrggbb`, lower case.
    pub hex: String,
    /// Share of the picture in [0, 1].
    pub share: f32,
    /// OKLab coordinates, for distances.
    pub oklab: [f32; 3],
}

/// Camera metadata as stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exif {
    /// Manufacturer of the camera.
    pub camera_make: String,
    /// Model of the camera.
    pub camera_model: String,
    /// Lens.
    pub lens_model: String,
    /// E.g. "1/250".
    pub exposure_time: String,
    /// 0 = unknown.
    pub f_number: f32,
    /// 0 = unknown.
    pub iso: i32,
    /// Millimetres; 0 = unknown.
    pub focal_length_mm: f32,
    /// Degrees on WGS 84: latitude, longitude.
    pub position: Option<(f64, f64)>,
    /// Metres above sea level.
    pub altitude_metres: Option<f32>,
    /// Every readable tag as text.
    pub tags: Vec<(String, String)>,
}

/// One stored item.
#[derive(Debug, Clone)]
pub struct MediaItem {
    /// Dense key: rowid of the full text and key of the vector indexes.
    pub item_key: i64,
    /// Owner.
    pub tenant_id: TenantId,
    /// Identifier.
    pub id: MediaItemId,
    /// By the bytes.
    pub kind: Kind,
    /// In the pipeline.
    pub state: State,
    /// `ErrorReason` name if failed, else empty.
    pub failure_reason: String,
    /// Sentence for people if failed, else empty.
    pub failure_detail: String,
    /// Name shown.
    pub display_name: String,
    /// Parts separated by "/"; empty = top.
    pub folder: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Free text.
    pub caption: String,
    /// MIME type.
    pub content_type: String,
    /// Of the original, bytes.
    pub size_bytes: i64,
    /// Of the original.
    pub sha256: [u8; 32],
    /// Upright; 0 until processed.
    pub width_pixels: i32,
    /// Upright; 0 until processed.
    pub height_pixels: i32,
    /// Of the upright picture.
    pub orientation: Orientation,
    /// Microseconds since the epoch.
    pub capture_time: Option<i64>,
    /// Microseconds since the epoch.
    pub create_time: i64,
    /// Microseconds since the epoch.
    pub update_time: i64,
    /// Largest share first.
    pub colors: Vec<Color>,
    /// ThumbHash.
    pub thumb_hash: Vec<u8>,
    /// BlurHash.
    pub blur_hash: String,
    /// 64-bit perceptual hash.
    pub perceptual_hash: Option<u64>,
    /// Camera metadata.
    pub exif: Option<Exif>,
    /// Where the original lies.
    pub blob_key: String,
    /// Etag.
    pub version: i64,
    /// User or key that put it in; `None` = stored before this was noted.
    pub uploader: Option<String>,
}

/// An item about to be stored.
#[derive(Debug, Clone)]
pub struct NewMediaItem {
    /// Owner.
    pub tenant_id: TenantId,
    /// Identifier, made by the caller because the blob's key holds it.
    pub id: MediaItemId,
    /// By the bytes.
    pub kind: Kind,
    /// Name shown.
    pub display_name: String,
    /// Parts separated by "/".
    pub folder: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Free text.
    pub caption: String,
    /// MIME type.
    pub content_type: String,
    /// Bytes.
    pub size_bytes: i64,
    /// Of the bytes.
    pub sha256: [u8; 32],
    /// Where the bytes lie, already published. Unique to this item (it holds the item's id), never
    /// shared or content-addressed: else removing one item's bytes would race with an upload of the
    /// same bytes.
    pub blob_key: String,
    /// User or key that puts it in.
    pub uploader: Option<String>,
}

/// What a user has stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserStats {
    /// Items that it put in and that are still there.
    pub total_files: i64,
    /// Of their originals, bytes.
    pub total_bytes: i64,
    /// When it put in the first of them, microseconds since the epoch.
    pub first_upload_time: Option<i64>,
    /// When it put in the last of them, microseconds since the epoch.
    pub last_upload_time: Option<i64>,
    /// Name of the API key that the user is; `None` if it is none of the tenant's.
    pub key_name: Option<String>,
}

/// What was derived from an item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Derived {
    /// Models that have a vector of it, and since when, microseconds since the epoch; by model.
    pub embeddings: Vec<(String, i64)>,
    /// Jobs that worked or will work on it.
    pub jobs: Vec<JobCount>,
}

/// Jobs of one kind and state on one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobCount {
    /// Number of the kind.
    pub kind: i16,
    /// Number of the state.
    pub state: i16,
    /// How many.
    pub count: i64,
    /// When the last of them ended, microseconds since the epoch.
    pub last_end_time: Option<i64>,
}

/// What became of an insert.
#[derive(Debug, Clone)]
pub enum Inserted {
    /// The item is stored and its job queued.
    New {
        /// The item.
        item: Box<MediaItem>,
        /// Its job.
        job_id: JobId,
    },
    /// The tenant already holds these bytes; nothing was written.
    Duplicate(Box<MediaItem>),
}

/// A stored derivative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    /// E.g. `thumb_300`.
    pub name: String,
    /// MIME type.
    pub content_type: String,
    /// Pixels.
    pub width_pixels: i32,
    /// Pixels.
    pub height_pixels: i32,
    /// Bytes.
    pub size_bytes: i64,
    /// Of its bytes.
    pub sha256: [u8; 32],
    /// Where it lies.
    pub blob_key: String,
}

/// What processing found out about an item.
#[derive(Debug, Clone)]
pub struct Processed {
    /// Upright pixels.
    pub width_pixels: i32,
    /// Upright pixels.
    pub height_pixels: i32,
    /// Microseconds since the epoch.
    pub capture_time: Option<i64>,
    /// Largest share first.
    pub colors: Vec<Color>,
    /// ThumbHash.
    pub thumb_hash: Vec<u8>,
    /// BlurHash.
    pub blur_hash: String,
    /// Perceptual hash; `None` if there are no pixels.
    pub perceptual_hash: Option<u64>,
    /// Camera metadata.
    pub exif: Option<Exif>,
    /// Further words for the full text.
    pub search_text: String,
    /// Replaces all renditions.
    pub renditions: Vec<Rendition>,
}

/// Changes to an item; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ItemPatch {
    /// Name shown.
    pub display_name: Option<String>,
    /// Folder.
    pub folder: Option<String>,
    /// Labels, replaced as a whole.
    pub tags: Option<Vec<String>>,
    /// Free text.
    pub caption: Option<String>,
}

/// Selects and pages items.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// In this folder or below.
    pub folder: String,
    /// All of these.
    pub tags: Vec<String>,
    /// This kind only.
    pub kind: Option<i16>,
    /// This state only.
    pub state: Option<i16>,
    /// Oldest first instead of newest first.
    pub ascending: bool,
    /// Exclusive start: (create_time, id) of the last item of the page before.
    pub after: Option<(i64, MediaItemId)>,
    /// At most this many.
    pub limit: i64,
    /// Only what this user or key put in.
    pub uploader: Option<String>,
}

/// A folder and how many items it holds directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Path.
    pub path: String,
    /// Items directly in it.
    pub count: i64,
}

/// Keeps media items and renditions. Every method is scoped by tenant.
#[async_trait]
pub trait MediaStore: Send + Sync {
    /// Stores an item and queues its job in one transaction, unless the tenant holds its bytes.
    async fn insert_item(&self, item: NewMediaItem, job: NewJob) -> Result<Inserted>;

    /// Finds the item with these bytes.
    async fn find_by_sha256(&self, tenant: TenantId, sha256: [u8; 32])
    -> Result<Option<MediaItem>>;

    /// Reads items that exist, in the order asked.
    async fn get_items(&self, tenant: TenantId, ids: &[MediaItemId]) -> Result<Vec<MediaItem>>;

    /// Reads the renditions of several items in one statement, in (item, width) order.
    async fn get_renditions(
        &self,
        tenant: TenantId,
        ids: &[MediaItemId],
    ) -> Result<Vec<(MediaItemId, Rendition)>>;

    /// Reads one page of items.
    async fn list_items(&self, tenant: TenantId, query: &ListQuery) -> Result<Vec<MediaItem>>;

    /// Counts what [`Self::list_items`] pages over.
    async fn count_items(&self, tenant: TenantId, query: &ListQuery) -> Result<i64>;

    /// Lists folders after `after` in name order.
    async fn list_folders(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Folder>>;

    /// Changes an item if `version` (when given) is current; `None` if there is no such item. Queues
    /// `follow_up` in the same transaction if a word of the item changed.
    ///
    /// Errors: `EtagMismatch`.
    async fn update_item(
        &self,
        tenant: TenantId,
        id: MediaItemId,
        version: Option<i64>,
        patch: ItemPatch,
        follow_up: Option<NewJob>,
    ) -> Result<Option<MediaItem>>;

    /// Removes an item with its renditions, embeddings and waiting jobs, and queues in the same
    /// transaction a `DeleteBlobs` job with the payload `{"blob_keys": [..]}`; answers the blob
    /// keys, or `None` if there is no such item.
    ///
    /// Errors: `EtagMismatch`.
    async fn delete_item(
        &self,
        tenant: TenantId,
        id: MediaItemId,
        version: Option<i64>,
    ) -> Result<Option<Vec<String>>>;

    /// Marks an item as being worked on; its version does not change.
    async fn start_processing(&self, tenant: TenantId, id: MediaItemId) -> Result<()>;

    /// Stores what processing found and marks the item ready, if the job's lease still holds;
    /// queues `follow_up` in the same transaction. The job itself stays running.
    ///
    /// Errors: `LeaseLost`.
    async fn finish_processing(
        &self,
        lease: &crate::job::Lease,
        tenant: TenantId,
        id: MediaItemId,
        processed: Processed,
        follow_up: Option<NewJob>,
    ) -> Result<()>;

    /// Marks an item failed for good and ends its job with failure, in one transaction.
    ///
    /// Errors: `LeaseLost`, and nothing is written.
    async fn fail_processing(
        &self,
        lease: &crate::job::Lease,
        tenant: TenantId,
        id: MediaItemId,
        reason: &str,
        detail: &str,
    ) -> Result<()>;

    /// What a user has stored, and the key it is if it is one, in one statement.
    async fn user_stats(&self, tenant: TenantId, user: &str) -> Result<UserStats>;

    /// What was derived from items: one statement for vectors and one for jobs, however many items.
    /// Nothing in, nothing asked and nothing out.
    async fn derived(&self, tenant: TenantId, items: &[MediaItem]) -> Result<Vec<Derived>>;

    /// Which of these blob keys no row refers to, over all tenants.
    async fn unreferenced_blobs(&self, blob_keys: Vec<String>) -> Result<Vec<String>>;
}
