//! Streaming in: constant memory, hashed on the way, published at once or not at all.
//!
//! Up to one part (5 MiB) is kept in memory and stored by a single atomic put. More goes part by
//! part to a staging key, which is renamed when all is known. In memory are the parts under way
//! (one for local files), one being hashed and one being filled. Whatever ends early (error,
//! cancelled call, dropped value) removes what it wrote; what a killed process leaves is found by
//! its key.

use bytes::Bytes;
use object_store::PutPayload;
use ring::digest::{Context, SHA256};
use tokio::task::JoinHandle;

use crate::{
    error::{Error, Result},
    store::{BlobStore, parse},
    upload::{StagedObject, Upload},
};

/// Bytes of a part unless configured: the least that S3 accepts for any part but the last.
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
    content_type: Option<String>,
    /// The part being filled; always shorter than the store's parts.
    part: Vec<Bytes>,
    part_bytes: usize,
    /// `None` while a part is being hashed.
    hasher: Option<Hasher>,
    hashing: Option<JoinHandle<Hasher>>,
    upload: Option<Upload>,
}

impl Writer {
    pub(crate) fn new(store: BlobStore, limit_bytes: u64) -> Self {
        Self {
            limit_bytes: limit_bytes.min(store.max_object_bytes),
            store,
            size_bytes: 0,
            content_type: None,
            part: Vec::new(),
            part_bytes: 0,
            hasher: Some(Hasher::new()),
            hashing: None,
            upload: None,
        }
    }

    /// Says what the bytes are; buckets hand it on with them. Holds if said before the first part is full.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
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
        while self.part_bytes + chunk.len() >= self.store.part_bytes {
            // Parts of one size, because some S3 look-alikes insist on it.
            let head = chunk.split_to(self.store.part_bytes - self.part_bytes);
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
            none => none.insert(Upload::start(&self.store, self.content_type.as_deref()).await?),
        };
        let part = std::mem::take(&mut self.part);
        self.part_bytes = 0;
        let payload: PutPayload = part.iter().cloned().collect();
        upload.send(payload).await?;
        let mut hasher = self.hasher.take().expect("settle() brought it back");
        self.hashing = Some(tokio::task::spawn_blocking(move || {
            hasher.update(&part);
            hasher
        }));
        Ok(())
    }

    /// Waits until the part before is hashed.
    async fn settle(&mut self) -> Result<()> {
        if let Some(hashing) = &mut self.hashing {
            self.hasher = Some(
                hashing
                    .await
                    .map_err(|error| Error::from_source(Box::new(error)))?,
            );
            self.hashing = None;
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
            content_type: self.content_type,
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
pub(crate) struct Hasher(Context);

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// Takes in a chunk, on the blocking pool if it is long.
    pub(crate) async fn take(mut self, chunk: Bytes) -> Result<Self> {
        if chunk.len() <= INLINE_HASH_BYTES {
            self.0.update(&chunk);
            return Ok(self);
        }
        let hashing = tokio::task::spawn_blocking(move || {
            self.0.update(&chunk);
            self
        });
        let hashed = hashing.await;
        hashed.map_err(|error| Error::from_source(Box::new(error)))
    }

    fn update(&mut self, part: &[Bytes]) {
        for chunk in part {
            self.0.update(chunk);
        }
    }

    pub(crate) fn finish(self) -> [u8; 32] {
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
    content_type: Option<String>,
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

    /// Puts the object under `key`; it is whole and on disk, or in the bucket, when this returns.
    ///
    /// Errors: `Full`, `Backend`.
    pub async fn publish(self, key: &str) -> Result<()> {
        match self.content {
            Content::Memory(chunks) => {
                let payload: PutPayload = chunks.into_iter().collect();
                let content_type = self.content_type.as_deref();
                self.store.put_payload(key, payload, content_type).await
            }
            Content::Object(object) => object.publish(key, &parse(key)?).await,
        }
    }
}
