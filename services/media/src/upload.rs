//! One upload, from its first byte to its row.
//!
//! The first bytes are looked at before anything is stored. Bytes are staged while they come;
//! then, when size, hash and type are known to be good and new, they are published and the row and
//! its job are stored in one transaction. That last step runs in a task of its own: a caller that
//! goes away can no longer stop it half way. Dropping an [`Upload`] before leaves nothing behind;
//! a crash within leaves at worst bytes without a row, which the sweep removes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mediamesh_blob::{Staged, Writer, key};
use mediamesh_imaging::{Kind, MediaType, sniff, sniff::SNIFF_BYTES};
use mediamesh_mesh::Identity;
use mediamesh_proto::{JobId, MediaItemId, TenantId};
use mediamesh_store::{
    job::JobKind,
    media::{self, Inserted, MediaItem, NewMediaItem, State},
};
use tracing::Instrument as _;

use crate::{
    convert::request::{NewUpload, violation},
    error::{Error, Result},
    metrics::UploadLabels,
    service::{BACKGROUND, INTERACTIVE, Service, Wanted, new_job},
};

/// What became of an upload.
#[derive(Debug)]
pub struct Uploaded {
    /// The stored item, or the one that held the bytes.
    pub item: MediaItem,
    /// The bytes were known.
    pub duplicate: bool,
    /// Job that works on the item, if any waits.
    pub job_id: Option<JobId>,
}

/// An upload under way.
pub struct Upload {
    service: Arc<Service>,
    tenant: TenantId,
    uploader: String,
    new: NewUpload,
    stage: Stage,
}

enum Stage {
    /// Too few bytes to tell what they are.
    Sniffing(BytesMut),
    /// Known by their first bytes, being stored.
    Storing {
        media_type: MediaType,
        writer: Box<Writer>,
        limit_bytes: u64,
    },
}

impl Upload {
    /// Begins an upload.
    ///
    /// Errors: `TooLarge` if the announced size is over the limit.
    pub fn begin(service: Arc<Service>, caller: &Identity, new: NewUpload) -> Result<Self> {
        let limit_bytes = service.options.max_upload_bytes;
        if let Some(size) = new.size_bytes.filter(|size| *size > limit_bytes) {
            return Err(Error::TooLarge {
                limit_bytes,
                size_bytes: Some(size),
            });
        }
        Ok(Self {
            service,
            tenant: TenantId(caller.tenant_id),
            uploader: caller.subject.clone(),
            new,
            stage: Stage::Sniffing(BytesMut::new()),
        })
    }

    /// The answer to an upload whose declared hash is that of stored bytes: an import that runs
    /// again sends no byte twice.
    pub async fn known(&mut self) -> Result<Option<Uploaded>> {
        let Some(sha256) = self.new.sha256 else {
            return Ok(None);
        };
        match self
            .service
            .media
            .find_by_sha256(self.tenant, sha256)
            .await?
        {
            Some(item) => {
                let background = self.new.background;
                let answer = self
                    .service
                    .duplicate(self.tenant, item, background)
                    .await?;
                Ok(Some(answer))
            }
            None => Ok(None),
        }
    }

    /// Takes in the next bytes.
    ///
    /// Errors: `UnsupportedMediaType`, `TooLarge`, and those of the storage.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        match &mut self.stage {
            Stage::Sniffing(head) if head.len() + chunk.len() < SNIFF_BYTES => {
                head.extend_from_slice(&chunk);
                Ok(())
            }
            Stage::Sniffing(head) => {
                let missing = SNIFF_BYTES - head.len();
                head.extend_from_slice(&chunk[..missing]);
                self.start_storing().await?;
                self.store(chunk.slice(missing..)).await
            }
            Stage::Storing { .. } => self.store(chunk).await,
        }
    }

    /// Names the bytes and begins to store them.
    async fn start_storing(&mut self) -> Result<()> {
        let Stage::Sniffing(head) = &mut self.stage else {
            return Ok(());
        };
        let head = std::mem::take(head).freeze();
        let media_type = sniff(&head).ok_or(Error::UnsupportedMediaType)?;
        let options = &self.service.options;
        let limit_bytes = match media_type.kind {
            Kind::Image => options.max_upload_bytes.min(options.max_image_bytes),
            Kind::Video => options.max_upload_bytes,
        };
        if let Some(size) = self.new.size_bytes.filter(|size| *size > limit_bytes) {
            return Err(Error::TooLarge {
                limit_bytes,
                size_bytes: Some(size),
            });
        }
        let writer = self.service.blobs.writer(limit_bytes);
        let writer = Box::new(writer.content_type(media_type.content_type));
        self.stage = Stage::Storing {
            media_type,
            writer,
            limit_bytes,
        };
        self.store(head).await
    }

    async fn store(&mut self, chunk: Bytes) -> Result<()> {
        if let Stage::Storing {
            writer,
            limit_bytes,
            ..
        } = &mut self.stage
        {
            match writer.write(chunk).await {
                Err(mediamesh_blob::Error::TooLarge { .. }) => {
                    return Err(Error::TooLarge {
                        limit_bytes: *limit_bytes,
                        size_bytes: None,
                    });
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// Ends the upload; when it answers, bytes, row and job are durable.
    ///
    /// Errors: `EmptyFile`, `ChecksumMismatch`, and those of [`Self::write`].
    /// Cancel: from here on the upload ends even if the caller goes away.
    pub async fn finish(mut self) -> Result<Uploaded> {
        if let Stage::Sniffing(head) = &self.stage {
            if head.is_empty() {
                return Err(Error::EmptyFile);
            }
            self.start_storing().await?;
        }
        let Stage::Storing {
            media_type, writer, ..
        } = self.stage
        else {
            return Err(Error::EmptyFile);
        };
        let staged = writer.finish().await?;
        let written = staged.written();
        if let Some(expected) = self
            .new
            .sha256
            .filter(|expected| *expected != written.sha256)
        {
            return Err(Error::ChecksumMismatch {
                expected: hex::encode(expected),
                actual: hex::encode(written.sha256),
            });
        }
        if let Some(size) = self
            .new
            .size_bytes
            .filter(|size| *size != written.size_bytes)
        {
            let text = format!("announced {size} bytes, but {} came", written.size_bytes);
            return Err(violation("metadata.size_bytes", &text));
        }
        let known = self
            .service
            .media
            .find_by_sha256(self.tenant, written.sha256)
            .await?;
        if let Some(item) = known {
            drop(staged);
            return self
                .service
                .duplicate(self.tenant, item, self.new.background)
                .await;
        }
        let owner = (self.tenant, self.uploader);
        let commit = commit(self.service, owner, self.new, media_type, staged);
        tokio::spawn(commit.in_current_span()).await?
    }
}

/// Publishes the bytes, then stores row and job.
async fn commit(
    service: Arc<Service>,
    (tenant, uploader): (TenantId, String),
    new: NewUpload,
    media_type: MediaType,
    staged: Staged,
) -> Result<Uploaded> {
    let written = staged.written();
    let id = MediaItemId::generate();
    let blob_key = key::original(tenant, &written.sha256, id);
    staged.publish(&blob_key).await?;
    let priority = if new.background {
        BACKGROUND
    } else {
        INTERACTIVE
    };
    let job = new_job(
        &service.options,
        tenant,
        JobKind::ProcessMedia,
        id,
        priority,
    );
    let item = NewMediaItem {
        tenant_id: tenant,
        id,
        kind: match media_type.kind {
            Kind::Image => media::Kind::Image,
            Kind::Video => media::Kind::Video,
        },
        display_name: new.display_name,
        folder: new.folder,
        tags: new.tags,
        caption: new.caption,
        content_type: media_type.content_type.to_owned(),
        size_bytes: i64::try_from(written.size_bytes).unwrap_or(i64::MAX),
        sha256: written.sha256,
        blob_key: blob_key.clone(),
        uploader: Some(uploader),
    };
    // On an error the row may be there all the same: only the sweep, which looks, may remove bytes.
    match service.media.insert_item(item, job).await? {
        Inserted::New { item, job_id } => {
            service.jobs.ring();
            service.metrics.upload("stored");
            let sizes = service
                .metrics
                .upload_bytes
                .get_or_create(&UploadLabels { outcome: "stored" });
            sizes.observe(written.size_bytes as f64);
            Ok(Uploaded {
                item: *item,
                duplicate: false,
                job_id: Some(job_id),
            })
        }
        Inserted::Duplicate(item) => {
            // The same bytes came twice at once; these lost. No row ever knew this key.
            if let Err(error) = service.blobs.delete(&blob_key).await {
                tracing::warn!(%error, "bytes of a duplicate stay until the sweep");
            }
            service.duplicate(tenant, *item, new.background).await
        }
    }
}

impl Service {
    /// Answers the item that holds the bytes; one that never got its turn is queued again.
    async fn duplicate(
        &self,
        tenant: TenantId,
        item: MediaItem,
        background: bool,
    ) -> Result<Uploaded> {
        self.metrics.upload("duplicate");
        let job_id = match item.state {
            State::Pending => {
                let priority = if background { BACKGROUND } else { INTERACTIVE };
                let wanted = Wanted::new(JobKind::ProcessMedia, item.id, priority);
                Some(self.queue(tenant, wanted).await?)
            }
            State::Processing | State::Ready | State::Failed => None,
        };
        Ok(Uploaded {
            item,
            duplicate: true,
            job_id,
        })
    }
}
