//! What a crash left behind, and its removal.
//!
//! Three things can be left: objects under the staging key, files named `<key>#<number>` that the
//! local backend writes before it renames them, and unfinished uploads to a bucket, which no listing
//! of objects shows and which are found by the ids put beside their keys.

use std::{
    path::Path as FilePath,
    time::{Duration, SystemTime},
};

use futures::TryStreamExt as _;
use object_store::{ObjectStoreExt as _, path::Path};

use crate::{
    error::{Error, Result},
    key::STAGING,
    store::{BlobStore, info},
    upload::{MARK, abort_marked},
};

impl BlobStore {
    /// Removes half-written objects and uploads older than `age`; answers how many.
    ///
    /// `age` must exceed the longest upload, or be zero when this process is the only one that
    /// writes and has not begun to.
    /// Blocking: walks the folder of the local backend on the blocking pool.
    pub async fn remove_stale(&self, age: Duration) -> Result<u64> {
        let limit = SystemTime::now() - age;
        let mut removed = 0;
        let listed = self.backend.list(Some(&Path::from(STAGING)));
        let staged: Vec<_> = listed
            .try_collect()
            .await
            .map_err(|error| Error::from_backend(STAGING, error))?;
        for meta in staged {
            if SystemTime::from(meta.last_modified) <= limit {
                let path = meta.location.clone();
                let marks = path.as_ref().ends_with(MARK);
                let done = match marks {
                    true => abort_marked(self, &path).await,
                    false => self.backend.delete(&path).await,
                };
                match done {
                    Ok(()) => removed += 1,
                    Err(object_store::Error::NotFound { .. }) => {}
                    // the next sweep tries again; one upload must not keep the rest
                    Err(error) if marks => {
                        tracing::warn!(%error, "an unfinished upload cannot be aborted");
                    }
                    Err(error) => return Err(Error::from_backend(&info(meta).key, error)),
                }
            }
        }
        if let Some(root) = self.local_root.clone() {
            let walked =
                tokio::task::spawn_blocking(move || remove_partial_files(&root, limit)).await;
            removed += walked
                .map_err(|error| Error::from_source(Box::new(error)))?
                .map_err(|error| Error::from_source(Box::new(error)))?;
        }
        Ok(removed)
    }
}

/// Removes files `*#<digits>` last changed before `limit`.
fn remove_partial_files(folder: &FilePath, limit: SystemTime) -> std::io::Result<u64> {
    let mut removed = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && is_partial(&entry.file_name().to_string_lossy()) {
                // It may be renamed at this moment: then it is no longer ours to remove.
                let old = entry
                    .metadata()
                    .and_then(|meta| meta.modified())
                    .is_ok_and(|time| time <= limit);
                if old && std::fs::remove_file(entry.path()).is_ok() {
                    removed += 1;
                }
            }
        }
    }
    Ok(removed)
}

fn is_partial(name: &str) -> bool {
    let suffix = name.rsplit_once('#').map(|(_, suffix)| suffix);
    suffix.is_some_and(|suffix| {
        !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit())
    })
}
