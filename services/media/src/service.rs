//! One function per operation, in domain types; those on jobs are in `queue`, how often they are watched
//! in `watchers`.

use std::{collections::HashMap, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::stream::BoxStream;
use mediamesh_blob::BlobStore;
use mediamesh_proto::{JobId, MediaItemId, TenantId, page_token::PageTokens};
use mediamesh_store::{
    JobStore, MediaStore,
    job::{JobKind, NewJob, UniquePeriod},
    media::{Derived, Folder, ListQuery, MediaItem, Rendition},
};
use mediamesh_telemetry::propagation;

mod queue;
mod watchers;

pub(crate) use watchers::Watchers;

use crate::{
    convert::request::{Download, Update},
    error::{Error, Result},
    jobs,
    metrics::MediaMetrics,
    options::Options,
};

/// Priority of work somebody waits for.
pub const INTERACTIVE: i16 = 1;
/// Priority of repairs and repetitions.
pub const NORMAL: i16 = 5;
/// Priority of bulk work.
pub const BACKGROUND: i16 = 9;

/// Owner of the jobs that keep the system itself in order; nobody can call in its name.
pub const SYSTEM_TENANT: TenantId = TenantId(uuid::Uuid::nil());

/// The operations of the media service.
pub struct Service {
    pub(crate) options: Arc<Options>,
    pub(crate) media: Arc<dyn MediaStore>,
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) blobs: BlobStore,
    pub(crate) page_tokens: PageTokens,
    pub(crate) metrics: MediaMetrics,
    pub(crate) watchers: Watchers,
}

/// An item with its renditions.
pub type Full = (MediaItem, Vec<Rendition>);

/// A page of items, and how many there are in all if that was counted.
pub struct Page {
    /// The items.
    pub items: Vec<Full>,
    /// On the first page only.
    pub total: Option<i64>,
    /// There may be more.
    pub more: bool,
}

/// An open download.
pub struct OpenDownload {
    /// MIME type.
    pub content_type: String,
    /// Of the whole object.
    pub size_bytes: i64,
    /// Of the whole object.
    pub sha256: [u8; 32],
    /// For people.
    pub file_name: String,
    /// Bytes that follow.
    pub range: Range<u64>,
    /// The bytes.
    pub bytes: BoxStream<'static, mediamesh_blob::Result<Bytes>>,
}

impl Service {
    /// Reads one item.
    pub async fn get(&self, tenant: TenantId, id: MediaItemId) -> Result<Full> {
        let mut found = self.batch_get(tenant, &[id]).await?;
        found.pop().ok_or(Error::ItemNotFound { id })
    }

    /// Reads the items that exist, in the order asked.
    pub async fn batch_get(&self, tenant: TenantId, ids: &[MediaItemId]) -> Result<Vec<Full>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let items = self.media.get_items(tenant, ids).await?;
        self.with_renditions(tenant, items).await
    }

    /// Reads what was derived from items.
    pub async fn derived(&self, tenant: TenantId, items: &[Full]) -> Result<Vec<Derived>> {
        let items: Vec<MediaItem> = items.iter().map(|(item, _)| item.clone()).collect();
        Ok(self.media.derived(tenant, &items).await?)
    }

    async fn with_renditions(&self, tenant: TenantId, items: Vec<MediaItem>) -> Result<Vec<Full>> {
        let ids: Vec<MediaItemId> = items.iter().map(|item| item.id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut by_item: HashMap<MediaItemId, Vec<Rendition>> = HashMap::new();
        for (id, rendition) in self.media.get_renditions(tenant, &ids).await? {
            by_item.entry(id).or_default().push(rendition);
        }
        // An id asked for twice is answered twice, so nothing may be moved out.
        let full = items.into_iter().map(|item| {
            let renditions = by_item.get(&item.id).cloned().unwrap_or_default();
            (item, renditions)
        });
        Ok(full.collect())
    }

    /// Reads a page of items.
    pub async fn list(&self, tenant: TenantId, query: &ListQuery) -> Result<Page> {
        let total = match query.after {
            None => Some(self.media.count_items(tenant, query).await?),
            Some(_) => None,
        };
        let items = self.media.list_items(tenant, query).await?;
        let more = i64::try_from(items.len()).is_ok_and(|count| count >= query.limit);
        Ok(Page {
            items: self.with_renditions(tenant, items).await?,
            total,
            more,
        })
    }

    /// Reads a page of folders.
    pub async fn folders(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Folder>> {
        Ok(self.media.list_folders(tenant, after, limit).await?)
    }

    /// Changes an item; a job embeds its words again if they changed.
    pub async fn update(&self, tenant: TenantId, update: Update) -> Result<Full> {
        let id = update.id;
        // Somebody waits to find the item by its new words.
        let embed = text_job(&self.options, tenant, id, INTERACTIVE);
        let changed = self
            .media
            .update_item(tenant, id, update.version, update.patch, Some(embed))
            .await?;
        let changed = changed.ok_or(Error::ItemNotFound { id })?;
        self.jobs.ring();
        let mut full = self.with_renditions(tenant, vec![changed]).await?;
        full.pop().ok_or(Error::ItemNotFound { id })
    }

    /// Removes an item; a job removes its bytes.
    pub async fn delete(
        &self,
        tenant: TenantId,
        id: MediaItemId,
        version: Option<i64>,
    ) -> Result<()> {
        let freed = self.media.delete_item(tenant, id, version).await?;
        freed.ok_or(Error::ItemNotFound { id })?;
        self.jobs.ring();
        Ok(())
    }

    /// Queues work on an item; while the same work waits, that job is answered.
    pub async fn queue(&self, tenant: TenantId, wanted: Wanted) -> Result<JobId> {
        let id = wanted.item;
        let known = self.media.get_items(tenant, &[id]).await?;
        if known.is_empty() {
            return Err(Error::ItemNotFound { id });
        }
        let mut job = new_job(&self.options, tenant, wanted.kind, id, wanted.priority);
        if wanted.period.is_some() {
            // its period says what is the same, and for longer
            job.unique_key = None;
            job.period = wanted.period;
        }
        let queued = self.jobs.enqueue(job).await?;
        self.jobs.ring();
        Ok(queued)
    }

    /// Opens an original or a rendition.
    pub async fn download(&self, tenant: TenantId, wanted: Download) -> Result<OpenDownload> {
        let Download {
            id,
            rendition,
            offset,
            limit,
        } = wanted;
        let items = self.media.get_items(tenant, &[id]).await?;
        let item = items.into_iter().next().ok_or(Error::ItemNotFound { id })?;
        let (key, content_type, size_bytes, sha256, file_name) = if rendition.is_empty() {
            (
                item.blob_key,
                item.content_type,
                item.size_bytes,
                item.sha256,
                item.display_name,
            )
        } else {
            let all = self.media.get_renditions(tenant, &[id]).await?;
            let found = all
                .into_iter()
                .map(|(_, found)| found)
                .find(|found| found.name == rendition);
            let found = found.ok_or(Error::RenditionNotFound { id, rendition })?;
            let name = rendition_name(&item.display_name, &found);
            (
                found.blob_key,
                found.content_type,
                found.size_bytes,
                found.sha256,
                name,
            )
        };
        if offset >= size_bytes {
            return Err(Error::RangePastEnd {
                start: offset,
                size_bytes,
            });
        }
        let end = if limit == 0 {
            size_bytes
        } else {
            offset.saturating_add(limit).min(size_bytes)
        };
        let range = offset.cast_unsigned()..end.cast_unsigned();
        let bytes = self.blobs.read(&key, range.clone()).await?;
        Ok(OpenDownload {
            content_type,
            size_bytes,
            sha256,
            file_name,
            range,
            bytes,
        })
    }
}

/// Work on an item that somebody asks for.
#[derive(Debug)]
pub struct Wanted {
    /// What to do.
    pub kind: JobKind,
    /// On what.
    pub item: MediaItemId,
    /// Lower first.
    pub priority: i16,
    /// Within this period it is done once.
    pub period: Option<UniquePeriod>,
}

impl Wanted {
    /// Work that is queued unless the same waits.
    pub(crate) fn new(kind: JobKind, item: MediaItemId, priority: i16) -> Self {
        Self {
            kind,
            item,
            priority,
            period: None,
        }
    }
}

/// A job about an item; its key keeps the same work from waiting twice.
pub(crate) fn new_job(
    options: &Options,
    tenant_id: TenantId,
    kind: JobKind,
    item: MediaItemId,
    priority: i16,
) -> NewJob {
    let max_attempts = match kind {
        JobKind::EmbedMedia => options.worker.max_embed_attempts,
        JobKind::ProcessMedia
        | JobKind::DeleteBlobs
        | JobKind::SweepJobs
        | JobKind::SweepBlobs
        | JobKind::CheckBlobs => options.worker.max_attempts,
    };
    NewJob {
        priority,
        max_attempts,
        unique_key: Some(format!("{}:{item}", kind.name())),
        media_item_id: Some(item),
        traceparent: propagation::traceparent().unwrap_or_default(),
        ..NewJob::new(tenant_id, kind)
    }
}

/// A job that embeds the words of an item. Its key is its own: work on the pixels that waits must not
/// stand for it.
pub(crate) fn text_job(
    options: &Options,
    tenant: TenantId,
    item: MediaItemId,
    priority: i16,
) -> NewJob {
    NewJob {
        unique_key: Some(format!("embed_text:{item}")),
        payload: jobs::embed::Payload::text(),
        ..new_job(options, tenant, JobKind::EmbedMedia, item, priority)
    }
}

/// `holiday.png` as `w320` in JPEG is `holiday-w320.jpg`.
fn rendition_name(display_name: &str, rendition: &Rendition) -> String {
    let stem = display_name
        .rsplit_once('.')
        .map_or(display_name, |(stem, _)| stem);
    let stem = if stem.is_empty() { "media" } else { stem };
    format!(
        "{stem}-{}.{}",
        rendition.name,
        extension(&rendition.content_type)
    )
}

/// Extension of a rendition's MIME type.
pub(crate) fn extension(content_type: &str) -> &'static str {
    match content_type {
        "image/png" => "png",
        "image/webp" => "webp",
        _ => "jpg",
    }
}
