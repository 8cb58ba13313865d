//! What the suites share: items, jobs, and a worker that finishes them.

use mediamesh_proto::{MediaItemId, TenantId};
use uuid::Uuid;

use super::Store;
use crate::{
    MediaStore as _,
    job::{JobKind, Lease, NewJob},
    media::{Inserted, Kind, MediaItem, NewMediaItem, Processed},
};

pub(super) const TENANT: TenantId = TenantId(Uuid::from_u128(1));
pub(super) const STRANGER: TenantId = TenantId(Uuid::from_u128(2));

pub(super) fn job(item: Option<MediaItemId>) -> NewJob {
    NewJob {
        media_item_id: item,
        ..NewJob::new(TENANT, JobKind::ProcessMedia)
    }
}

pub(super) fn new_item(n: u8, name: &str) -> NewMediaItem {
    let id = MediaItemId::generate();
    NewMediaItem {
        tenant_id: TENANT,
        id,
        kind: Kind::Image,
        display_name: name.to_owned(),
        folder: String::new(),
        tags: Vec::new(),
        caption: String::new(),
        content_type: "image/jpeg".to_owned(),
        size_bytes: i64::from(n),
        sha256: [n; 32],
        blob_key: format!("originals/{id}"),
        uploader: None,
    }
}

pub(super) async fn insert(store: &Store, item: NewMediaItem) -> MediaItem {
    let job = job(Some(item.id));
    match store.insert_item(item, job).await.unwrap() {
        Inserted::New { item, .. } => *item,
        Inserted::Duplicate(item) => panic!("{} is a duplicate", item.id),
    }
}

pub(super) fn processed(width: i32, height: i32) -> Processed {
    Processed {
        width_pixels: width,
        height_pixels: height,
        capture_time: None,
        colors: Vec::new(),
        thumb_hash: vec![1, 2, 3],
        blur_hash: "L".to_owned(),
        perceptual_hash: Some(u64::MAX),
        exif: None,
        search_text: String::new(),
        renditions: Vec::new(),
    }
}

/// Claims every waiting job and finishes the items it belongs to.
pub(super) async fn finish(store: &Store, item: &MediaItem, found: Processed) -> Lease {
    use crate::JobStore as _;
    let claimed = store
        .claim("test", std::time::Duration::from_secs(60), 100)
        .await
        .unwrap();
    let job = claimed
        .iter()
        .find(|job| job.media_item_id == Some(item.id))
        .unwrap();
    store
        .finish_processing(&job.lease(), TENANT, item.id, found, None)
        .await
        .unwrap();
    job.lease()
}
