//! Streaming in: constant memory, hashed on the way, published at once or not at all.
//!
//! Up to one part (5 MiB) is kept in memory and stored by a single atomic put. More goes part by
//! part to a staging key, which is renamed when all is known. At most three parts are in memory:
//! one being written, one being hashed, one being filled. Whatever ends early (error, cancelled
//! call, dropped value) removes what it wrote; what a killed process leaves is found by its key.

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload, path::Path};
use ring::digest::{Context, SHA256};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{
    error::{Error, Result},
    key::STAGING,
    store::{BlobStore, parse},
};

/// Bytes of a part: the least that S3 accepts for any part but the last.
pub const PART_BYTES: usize = 5 * 1024 * 1024;

/// Bytes that are hashed on the spot: 128 KiB take about 0.1 ms, below what a runtime thread may spend.
const INLINE_HASH_BYTES: usize = 128 * 1024;

/// What came out of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes in all.
    pub size_bytes: u64,
    /// Of the bytes.
    pub sha256: [u8; 32],
}

/// Takes in one object, chunk by chunk.
#[derive(Debug)]
pub struct Writer {
    store: BlobStore,
    limit_bytes: u64,
    size_bytes: u64,
    /// The part being filled; always shorter than [`PART_BYTES`].
    part: Vec<Bytes>,
    part_bytes: usize,
    /// `None` while a part is being hashed.
    hasher: Option<Hasher>,
    hashing: Option<JoinHandle<Hasher>>,
    writing: Option<JoinHandle<object_store::Result<()>>>,
    upload: Option<Upload>,
}

impl Writer {
    pub(crate) fn new(store: BlobStore, limit_bytes: u64) -> Self {
        Self {
            store,
            limit_bytes,
            size_bytes: 0,
            part: Vec::new(),
            part_bytes: 0,
            hasher: Some(Hasher(Context::new(&SHA256))),
            hashing: None,
            writing: None,
            upload: None,
        }
    }

    /// Bytes taken in so far.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Takes in the next bytes; waits while the storage is slower than the sender.
    ///
    /// Errors: `TooLarge`, `Full`, `Backend`. After an error the writer is only good for dropping.
    pub async fn write(&mut self, mut chunk: Bytes) -> Result<()> {
        self.size_bytes += chunk.len() as u64;
        if self.size_bytes > self.limit_bytes {
            return Err(Error::TooLarge {
                limit_bytes: self.limit_bytes,
            });
        }
        while self.part_bytes + chunk.len() >= PART_BYTES {
            // Parts of one size, because some S3 look-alikes insist on it.
            let head = chunk.split_to(PART_BYTES - self.part_bytes);
            self.push(head);
            self.flush().await?;
        }
        self.push(chunk);
        Ok(())
    }

    fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.part_bytes += chunk.len();
            // A copy, because a slice would keep alive the whole receive buffer it was cut from.
            self.part.push(Bytes::copy_from_slice(&chunk));
        }
    }

    /// Sends the part on its way to the staging key and to the hash.
    async fn flush(&mut self) -> Result<()> {
        self.settle().await?;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(Upload::start(&self.store).await?),
        };
        let part = std::mem::take(&mut self.part);
        self.part_bytes = 0;
        let payload: PutPayload = part.iter().cloned().collect();
        self.writing = Some(tokio::spawn(upload.parts().put_part(payload)));
        let mut hasher = self.hasher.take().expect("settle() brought it back");
        self.hashing = Some(tokio::task::spawn_blocking(move || {
            hasher.update(&part);
            hasher
        }));
        Ok(())
    }

    /// Waits until the part before is written and hashed.
    async fn settle(&mut self) -> Result<()> {
        if let Some(hashing) = &mut self.hashing {
            self.hasher = Some(
                hashing
                    .await
                    .map_err(|error| Error::from_source(Box::new(error)))?,
            );
            self.hashing = None;
        }
        if let Some(writing) = &mut self.writing {
            let written = writing
                .await
                .map_err(|error| Error::from_source(Box::new(error)))?;
            self.writing = None;
            written.map_err(|error| Error::from_backend(STAGING, error))?;
        }
        Ok(())
    }

    /// Ends the object; it can be published now.
    ///
    /// Errors: `Full`, `Backend`.
    pub async fn finish(mut self) -> Result<Staged> {
        let content = if self.upload.is_none() {
            self.hash_small().await?;
            Content::Memory(std::mem::take(&mut self.part))
        } else {
            if self.part_bytes > 0 {
                self.flush().await?;
            }
            self.settle().await?;
            let upload = self.upload.take().expect("checked above");
            Content::Object(upload.complete().await?)
        };
        let sha256 = self.hasher.take().expect("settled").finish();
        Ok(Staged {
            store: self.store.clone(),
            written: Written {
                size_bytes: self.size_bytes,
                sha256,
            },
            content,
        })
    }

    async fn hash_small(&mut self) -> Result<()> {
        let mut hasher = self.hasher.take().expect("no part was sent off");
        let part = self.part.clone();
        self.hasher = Some(if self.part_bytes <= INLINE_HASH_BYTES {
            hasher.update(&part);
            hasher
        } else {
            let hashing = tokio::task::spawn_blocking(move || {
                hasher.update(&part);
                hasher
            });
            hashing
                .await
                .map_err(|error| Error::from_source(Box::new(error)))?
        });
        Ok(())
    }
}

/// SHA-256 by `ring`, whose assembly takes half the time of `sha2` on a CPU without SHA instructions.
struct Hasher(Context);

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    fn update(&mut self, part: &[Bytes]) {
        for chunk in part {
            self.0.update(chunk);
        }
    }

    fn finish(self) -> [u8; 32] {
        let digest = self.0.finish();
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// An object that is complete but not yet under its key; dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Staged {
    store: BlobStore,
    written: Written,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Memory(Vec<Bytes>),
    Object(StagedObject),
}

impl Staged {
    /// Size and hash.
    #[must_use]
    pub fn written(&self) -> Written {
        self.written
    }

    /// Puts the object under `key`; it is whole and on disk when this returns.
    ///
    /// Errors: `Full`, `Backend`.
    pub async fn publish(self, key: &str) -> Result<()> {
        match self.content {
            Content::Memory(chunks) => {
                self.store
                    .put_payload(key, chunks.into_iter().collect())
                    .await
            }
            Content::Object(mut object) => {
                let to = parse(key)?;
                let renamed = self.store.backend.rename(&object.path, &to).await;
                renamed.map_err(|error| Error::from_backend(key, error))?;
                object.published = true;
                Ok(())
            }
        }
    }
}

/// A multipart upload that is aborted unless it completes.
#[derive(Debug)]
struct Upload {
    store: BlobStore,
    path: Path,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Upload {
    async fn start(store: &BlobStore) -> Result<Self> {
        let path = Path::from(STAGING).join(Uuid::now_v7().to_string());
        let parts = store.backend.put_multipart(&path).await;
        let parts = parts.map_err(|error| Error::from_backend(STAGING, error))?;
        Ok(Self {
            store: store.clone(),
            path,
            parts: Some(parts),
        })
    }

    fn parts(&mut self) -> &mut Box<dyn MultipartUpload> {
        self.parts
            .as_mut()
            .expect("only taken by complete() and drop()")
    }

    async fn complete(mut self) -> Result<StagedObject> {
        let object = StagedObject {
            store: self.store.clone(),
            path: self.path.clone(),
            published: false,
        };
        // Aborted by drop() if this fails or is cancelled; `object` removes what it may have made.
        self.parts()
            .complete()
            .await
            .map_err(|error| Error::from_backend(STAGING, error))?;
        self.parts = None;
        Ok(object)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take() else {
            return;
        };
        // Without a runtime the upload's own drop removes local files; a bucket has its lifecycle rule.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = parts.abort().await {
                    tracing::debug!(%error, "aborting an upload failed");
                }
            });
        }
    }
}

/// A complete object under a staging key, removed unless it is published.
#[derive(Debug)]
struct StagedObject {
    store: BlobStore,
    path: Path,
    published: bool,
}

impl Drop for StagedObject {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        let (backend, path) = (self.store.backend.clone(), self.path.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = backend.delete(&path).await {
                    tracing::debug!(%error, "removing a staged object failed");
                }
            });
        }
    }
}
