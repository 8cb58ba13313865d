//! One upload in parts to a staging key, and what undoes it.
//!
//! Local files and memory keep their own account of parts. A bucket keeps the parts of an upload
//! whose process died, unseen and paid for, until someone aborts it by its id. So the id is put
//! beside the staging key, under `<key>.upload`, before the first part is sent: whoever sweeps can
//! abort it, and no server has to list uploads (not all can).

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use object_store::{
    Attribute, Attributes, MultipartId, MultipartUpload, ObjectStoreExt as _, PutMultipartOptions,
    PutPayload, multipart::PartId, path::Path,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    bucket::Bucket,
    error::{Error, Result},
    key::STAGING,
    store::BlobStore,
};

/// Last part of the name of an object that holds the id of an upload.
pub(crate) const MARK: &str = ".upload";

/// Number and name of a part that a bucket has taken.
type Part = Option<(usize, PartId)>;

/// An upload in parts that is aborted unless it completes.
#[derive(Debug)]
pub(crate) struct Upload {
    store: BlobStore,
    path: Path,
    /// `None` once it is complete.
    target: Option<Target>,
    under_way: JoinSet<object_store::Result<Part>>,
    taken: Vec<(usize, PartId)>,
}

enum Target {
    /// The backend counts parts.
    Counted(Box<dyn MultipartUpload>),
    /// A bucket: we count.
    Numbered {
        bucket: Arc<dyn Bucket>,
        id: MultipartId,
        next: usize,
    },
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Counted(_) => "Counted",
            Self::Numbered { .. } => "Numbered",
        })
    }
}

impl Upload {
    pub(crate) async fn start(store: &BlobStore, content_type: Option<&str>) -> Result<Self> {
        let path = Path::from(STAGING).join(Uuid::now_v7().to_string());
        let options = PutMultipartOptions {
            attributes: attributes(store, content_type),
            ..PutMultipartOptions::default()
        };
        let failed = |error| Error::from_backend(STAGING, error);
        let mut upload = Self {
            store: store.clone(),
            path: path.clone(),
            target: None,
            under_way: JoinSet::new(),
            taken: Vec::new(),
        };
        match &store.bucket {
            None => {
                let parts = store.backend.put_multipart_opts(&path, options).await;
                upload.target = Some(Target::Counted(parts.map_err(failed)?));
            }
            Some(bucket) => {
                let bucket = Arc::clone(&bucket.0);
                let id = bucket.create_multipart_opts(&path, options).await;
                let id = id.map_err(failed)?;
                upload.target = Some(Target::Numbered {
                    bucket,
                    id: id.clone(),
                    next: 0,
                });
                // On an error drop() aborts what was just begun.
                let marked = store.backend.put(&mark(&path), id.into()).await;
                marked.map_err(failed)?;
            }
        }
        Ok(upload)
    }

    /// Sends a part; waits first until fewer than `parallel_parts` are under way.
    pub(crate) async fn send(&mut self, payload: PutPayload) -> Result<()> {
        while self.under_way.len() >= self.store.parallel_parts {
            self.settle_one().await?;
        }
        let sending = self
            .target
            .as_mut()
            .expect("only taken by complete() and drop()")
            .put_part(&self.path, payload);
        self.under_way.spawn(sending);
        Ok(())
    }

    /// Waits for a part; answers whether one was under way.
    async fn settle_one(&mut self) -> Result<bool> {
        let Some(sent) = self.under_way.join_next().await else {
            return Ok(false);
        };
        let sent = sent.map_err(|error| Error::from_source(Box::new(error)))?;
        let part = sent.map_err(|error| Error::from_backend(STAGING, error))?;
        self.taken.extend(part);
        Ok(true)
    }

    /// Makes one object of the parts.
    pub(crate) async fn complete(mut self) -> Result<StagedObject> {
        while self.settle_one().await? {}
        let object = StagedObject {
            store: self.store.clone(),
            path: self.path.clone(),
            published: false,
        };
        self.taken.sort_by_key(|(number, _)| *number);
        let parts = std::mem::take(&mut self.taken);
        let parts = parts.into_iter().map(|(_, part)| part).collect();
        // Aborted by drop() if this fails or is cancelled; `object` removes what it may have made.
        let completed = match self.target.as_mut().expect("not taken yet") {
            Target::Counted(upload) => upload.complete().await,
            Target::Numbered { bucket, id, .. } => {
                bucket.complete_multipart(&self.path, id, parts).await
            }
        };
        completed.map_err(|error| Error::from_backend(STAGING, error))?;
        if let Some(Target::Numbered { .. }) = self.target.take() {
            remove(&self.store, &mark(&self.path)).await;
        }
        Ok(object)
    }
}

impl Target {
    fn put_part(
        &mut self,
        path: &Path,
        payload: PutPayload,
    ) -> BoxFuture<'static, object_store::Result<Part>> {
        match self {
            Self::Counted(upload) => upload
                .put_part(payload)
                .map(|sent| sent.map(|()| None))
                .boxed(),
            Self::Numbered { bucket, id, next } => {
                let (bucket, id, number, path) =
                    (Arc::clone(bucket), id.clone(), *next, path.clone());
                *next += 1;
                async move {
                    let part = bucket.put_part(&path, &id, number, payload).await?;
                    Ok(Some((number, part)))
                }
                .boxed()
            }
        }
    }

    async fn abort(&mut self, path: &Path) -> object_store::Result<()> {
        match self {
            Self::Counted(upload) => upload.abort().await,
            Self::Numbered { bucket, id, .. } => bucket.abort_multipart(path, id).await,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut target) = self.target.take() else {
            return;
        };
        // Without a runtime the upload's own drop removes local files; a bucket's is swept by its mark.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (store, path) = (self.store.clone(), self.path.clone());
        let mut under_way = std::mem::take(&mut self.under_way);
        runtime.spawn(async move {
            // A part that comes after the abort would stay for ever.
            while under_way.join_next().await.is_some() {}
            match target.abort(&path).await {
                Ok(()) if matches!(target, Target::Numbered { .. }) => {
                    remove(&store, &mark(&path)).await;
                }
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "aborting an upload failed"),
            }
        });
    }
}

/// A complete object under a staging key, removed unless it is published.
#[derive(Debug)]
pub(crate) struct StagedObject {
    store: BlobStore,
    path: Path,
    published: bool,
}

impl StagedObject {
    /// Moves it to its key. On an error or a cancelled call it is removed.
    pub(crate) async fn publish(mut self, key: &str, to: &Path) -> Result<()> {
        let backend = &self.store.backend;
        let failed = |error| Error::from_backend(key, error);
        if self.store.bucket.is_none() {
            backend.rename(&self.path, to).await.map_err(failed)?;
        } else {
            // From here on it is there: that its copy cannot be removed is no failure.
            backend.copy(&self.path, to).await.map_err(failed)?;
            remove(&self.store, &self.path).await;
        }
        self.published = true;
        Ok(())
    }
}

impl Drop for StagedObject {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        let (store, path) = (self.store.clone(), self.path.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { remove(&store, &path).await });
        }
    }
}

/// Aborts the upload whose id lies under `marked`; answers once neither is there.
pub(crate) async fn abort_marked(store: &BlobStore, marked: &Path) -> object_store::Result<()> {
    let path = marked.as_ref().strip_suffix(MARK).map(Path::from);
    if let (Some(bucket), Some(path)) = (&store.bucket, path) {
        let id = store.backend.get(marked).await?.bytes().await?;
        let id = String::from_utf8_lossy(&id).into_owned();
        match bucket.0.abort_multipart(&path, &id).await {
            // completed, or aborted by a lifecycle rule
            Err(object_store::Error::NotFound { .. }) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    store.backend.delete(marked).await
}

fn mark(path: &Path) -> Path {
    Path::from(format!("{path}{MARK}"))
}

/// What the backend is told of an object; local files keep nothing beside their bytes.
pub(crate) fn attributes(store: &BlobStore, content_type: Option<&str>) -> Attributes {
    let told = content_type.filter(|_| store.local_root.is_none());
    told.map(|text| (Attribute::ContentType, text.to_owned()))
        .into_iter()
        .collect()
}

async fn remove(store: &BlobStore, path: &Path) {
    match store.backend.delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => tracing::debug!(%error, "a staged object stays until the sweep"),
    }
}
