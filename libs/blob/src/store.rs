//! The store: reading, listing and removing.

use std::{ops::Range, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    Attribute, GetOptions, GetRange, GetResultPayload, ObjectStore, ObjectStoreExt as _,
    PutOptions, PutPayload, local::LocalFileSystem, memory::InMemory, path::Path,
};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::{
    bucket::BucketHandle,
    error::{BoxError, Error, Result},
    upload::attributes,
    writer::{Hasher, PART_BYTES, Writer, Written},
};

/// Bytes read from a file at once: one trip to the blocking pool costs about as much as copying this.
const READ_BYTES: usize = 256 * 1024;

/// Bytes of any size under keys; clones share one backend.
///
/// An object appears under its key whole or not at all, and is on disk when the call that
/// published it returns.
#[derive(Debug, Clone)]
pub struct BlobStore {
    pub(crate) backend: Arc<dyn ObjectStore>,
    /// Folder of the local backend, whose half-written files no listing shows.
    pub(crate) local_root: Option<PathBuf>,
    /// What a bucket can do beyond that.
    pub(crate) bucket: Option<BucketHandle>,
    /// Bytes of a part of an upload; up to here an object is one put.
    pub(crate) part_bytes: usize,
    /// Parts of one upload that are sent side by side.
    pub(crate) parallel_parts: usize,
    /// Largest object that can be published.
    pub(crate) max_object_bytes: u64,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was published, microseconds since the epoch.
    pub modified: i64,
    /// The backend's own mark of these bytes.
    pub etag: Option<String>,
    /// What the bytes are, if the backend keeps that and was asked for this object alone.
    pub content_type: Option<String>,
}

impl BlobStore {
    /// Keeps objects in memory; they are gone with the store.
    #[must_use]
    pub fn memory() -> Self {
        Self::new(Arc::new(InMemory::new()))
    }

    /// Keeps objects as files below `root`, which is made if it is not there.
    ///
    /// Files and folders are synced to the disk before a write returns.
    /// Errors: `Backend` or `Full` if the folder cannot be made.
    /// Blocking: two system calls.
    pub fn local(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        std::fs::create_dir_all(&root).map_err(|error| Error::from_source(Box::new(error)))?;
        let files = LocalFileSystem::new_with_prefix(&root)
            .map_err(|error| Error::from_source(Box::new(error)))?;
        Ok(Self {
            local_root: Some(root),
            ..Self::new(Arc::new(files.with_fsync(true)))
        })
    }

    /// Keeps objects in any backend that writes atomically and durably.
    #[must_use]
    pub fn new(backend: Arc<dyn ObjectStore>) -> Self {
        Self {
            backend,
            local_root: None,
            bucket: None,
            part_bytes: PART_BYTES,
            parallel_parts: 1,
            max_object_bytes: u64::MAX,
        }
    }

    /// Starts to take in an object of at most `limit_bytes`; dropping the writer leaves nothing behind.
    #[must_use]
    pub fn writer(&self, limit_bytes: u64) -> Writer {
        Writer::new(self.clone(), limit_bytes)
    }

    /// Stores a stream under `key`, in constant memory.
    ///
    /// Errors: `TooLarge`, `Full`, `Source` if the stream fails; then nothing is kept.
    /// Cancel: dropping the future leaves nothing behind, at worst until [`Self::remove_stale`].
    pub async fn put_stream<S, E>(&self, key: &str, stream: S, limit_bytes: u64) -> Result<Written>
    where
        S: Stream<Item = std::result::Result<Bytes, E>> + Send,
        E: Into<BoxError>,
    {
        let mut writer = self.writer(limit_bytes);
        let mut stream = std::pin::pin!(stream);
        while let Some(chunk) = stream.next().await {
            writer
                .write(chunk.map_err(|error| Error::Source(error.into()))?)
                .await?;
        }
        let staged = writer.finish().await?;
        let written = staged.written();
        staged.publish(key).await?;
        Ok(written)
    }

    /// Stores bytes that are at hand under `key`, in place of what was there.
    ///
    /// Errors: `Full`.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.put_payload(key, bytes.into(), None).await
    }

    /// The same, and says what the bytes are; buckets hand it on with them.
    ///
    /// Errors: `Full`.
    pub async fn put_typed(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<()> {
        self.put_payload(key, bytes.into(), Some(content_type))
            .await
    }

    pub(crate) async fn put_payload(
        &self,
        key: &str,
        payload: PutPayload,
        content_type: Option<&str>,
    ) -> Result<()> {
        let path = parse(key)?;
        let options = PutOptions {
            attributes: attributes(self, content_type),
            ..PutOptions::default()
        };
        self.backend
            .put_opts(&path, payload, options)
            .await
            .map_err(|error| Error::from_backend(key, error))?;
        Ok(())
    }

    /// Reads a whole object of at most `limit_bytes`.
    ///
    /// Errors: `NotFound`, `TooLarge`.
    pub async fn get(&self, key: &str, limit_bytes: u64) -> Result<Bytes> {
        let path = parse(key)?;
        let found = self
            .backend
            .get(&path)
            .await
            .map_err(|error| Error::from_backend(key, error))?;
        if found.meta.size > limit_bytes {
            return Err(Error::TooLarge { limit_bytes });
        }
        found
            .bytes()
            .await
            .map_err(|error| Error::from_backend(key, error))
    }

    /// Reads the bytes `range` of an object; a range that ends past the end is cut.
    ///
    /// Errors: `NotFound`, `RangePastEnd`.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let size = self.head(key).await?.size_bytes;
        if range.start > size || (range.start == size && range.end > range.start) {
            return Err(Error::RangePastEnd {
                start: range.start,
                size_bytes: size,
            });
        }
        let end = range.end.min(size);
        if end <= range.start {
            return Ok(Bytes::new());
        }
        let read = self.backend.get_range(&parse(key)?, range.start..end).await;
        read.map_err(|error| Error::from_backend(key, error))
    }

    /// Streams the bytes `range`, which must lie inside the object and hold at least one byte.
    ///
    /// The object stays readable to the end even if it is removed meanwhile.
    /// Errors: `NotFound`; in the stream: `Backend`.
    pub async fn read(
        &self,
        key: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let found = self.backend.get_opts(&parse(key)?, options).await;
        let found = found.map_err(|error| Error::from_backend(key, error))?;
        let key = key.to_owned();
        match found.payload {
            // The backend's own stream reads 8 KiB at a time.
            GetResultPayload::File(file, _) => {
                let mut file = tokio::fs::File::from_std(file);
                let range = found.range;
                let seek = file.seek(std::io::SeekFrom::Start(range.start)).await;
                seek.map_err(|error| Error::from_source(Box::new(error)))?;
                let reader =
                    ReaderStream::with_capacity(file.take(range.end - range.start), READ_BYTES);
                Ok(reader
                    .map_err(|error| Error::from_source(Box::new(error)))
                    .boxed())
            }
            GetResultPayload::Stream(stream) => Ok(stream
                .map_err(move |error| Error::from_backend(&key, error))
                .boxed()),
        }
    }

    /// Reads a whole object and answers its size and hash, in the memory of a chunk.
    ///
    /// Errors: `NotFound`, `Backend`.
    pub async fn measure(&self, key: &str) -> Result<Written> {
        let found = self.backend.get(&parse(key)?).await;
        let found = found.map_err(|error| Error::from_backend(key, error))?;
        let mut chunks = match found.payload {
            GetResultPayload::File(file, _) => {
                ReaderStream::with_capacity(tokio::fs::File::from_std(file), READ_BYTES)
                    .map_err(|error| Error::from_source(Box::new(error)))
                    .boxed()
            }
            GetResultPayload::Stream(stream) => stream
                .map_err(|error| Error::from_backend(key, error))
                .boxed(),
        };
        let mut hasher = Hasher::new();
        let mut size_bytes = 0;
        while let Some(chunk) = chunks.try_next().await? {
            size_bytes += chunk.len() as u64;
            hasher = hasher.take(chunk).await?;
        }
        Ok(Written {
            size_bytes,
            sha256: hasher.finish(),
        })
    }

    /// Describes an object.
    ///
    /// Errors: `NotFound`.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = self.backend.get_opts(&parse(key)?, options).await;
        let found = found.map_err(|error| Error::from_backend(key, error))?;
        let content_type = found.attributes.get(&Attribute::ContentType);
        Ok(ObjectInfo {
            content_type: content_type.map(|text| text.to_string()),
            ..info(found.meta)
        })
    }

    /// Removes an object; one that is not there is no error, because not every backend can tell.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let deleted = self.backend.delete(&parse(key)?).await;
        match deleted.map_err(|error| Error::from_backend(key, error)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lists, then writes, reads and removes an object of its own, to tell whether the storage works.
    ///
    /// Errors: what went wrong first; `Backend` if other bytes came back than went in.
    pub async fn probe(&self) -> Result<()> {
        let name = uuid::Uuid::now_v7();
        let key = format!("{}/probe-{name}", crate::key::STAGING);
        let bytes = Bytes::from(name.to_string());
        let staged = Path::from(crate::key::STAGING);
        let first = self.backend.list(Some(&staged)).try_next().await;
        first.map_err(|error| Error::from_backend(&key, error))?;
        self.put(&key, bytes.clone()).await?;
        let read = self.get(&key, bytes.len() as u64).await;
        self.delete(&key).await?;
        match read? == bytes {
            true => Ok(()),
            false => Err(Error::Backend("other bytes came back than went in".into())),
        }
    }

    /// Lists every published object below `prefix` (whole parts only; empty = all), in no order.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<ObjectInfo>> {
        let prefix = (!prefix.is_empty()).then(|| Path::from(prefix));
        let listed = self.backend.list(prefix.as_ref());
        let staging = format!("{}/", crate::key::STAGING);
        listed
            .map_err(|error| Error::from_backend("", error))
            .map_ok(info)
            .try_filter(move |object| std::future::ready(!object.key.starts_with(&staging)))
            .boxed()
    }
}

pub(crate) fn parse(key: &str) -> Result<Path> {
    let invalid = |source| Error::InvalidKey {
        key: key.to_owned(),
        source,
    };
    let path = Path::parse(key).map_err(invalid)?;
    if path.as_ref().is_empty() {
        return Err(invalid(object_store::path::Error::EmptySegment {
            path: key.to_owned(),
        }));
    }
    Ok(path)
}

pub(crate) fn info(meta: object_store::ObjectMeta) -> ObjectInfo {
    ObjectInfo {
        key: meta.location.to_string(),
        size_bytes: meta.size,
        modified: meta.last_modified.timestamp_micros(),
        etag: meta.e_tag,
        content_type: None,
    }
}
