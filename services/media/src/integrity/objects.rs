//! From objects to rows.

use futures::{StreamExt as _, TryStreamExt as _};
use mediamesh_blob::{BlobStore, Error as BlobError, ObjectInfo};
use mediamesh_proto::time::now_micros;

use super::{Error, Event, Finding, Part, Problem, Repair, Scan, Summary, Tell};

/// Keys asked about in one statement.
const BATCH: usize = 500;

impl Scan {
    pub(super) async fn objects(
        &self,
        may_remove: bool,
        summary: &mut Summary,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        let grace = i64::try_from(self.grace().as_micros()).unwrap_or(i64::MAX);
        let before = now_micros().saturating_sub(grace);
        let mut batches = self.blobs.list("").try_chunks(BATCH);
        while let Some(batch) = batches.next().await {
            let batch: Vec<ObjectInfo> = batch.map_err(|error| error.1)?;
            let listed = batch.len();
            let (old, young): (Vec<ObjectInfo>, Vec<ObjectInfo>) =
                batch.into_iter().partition(|found| found.modified < before);
            summary.listed += listed as u64;
            summary.young += young.len() as u64;
            let keys = old.into_iter().map(|found| found.key);
            let keys = keys.filter(|key| !is_upload(key)).collect();
            for key in self.media.unreferenced_blobs(keys).await? {
                let Some(size_bytes) = untracked(&self.blobs, &key, before).await? else {
                    continue;
                };
                let repair = match (self.depth.repair, may_remove) {
                    (false, _) => Repair::NotAsked,
                    (true, false) => Repair::Impossible,
                    (true, true) => {
                        self.blobs.delete(&key).await?;
                        Repair::Removed
                    }
                };
                let finding = Finding {
                    problem: Problem::Untracked,
                    part: Part::Unknown,
                    item: None,
                    key,
                    detail: format!("it has {size_bytes} bytes"),
                    repair,
                };
                summary.add(&finding);
                tell(Event::Found(finding));
            }
            tell(Event::Listed(listed as u64));
        }
        Ok(())
    }
}

/// Whether a key is of bytes that were put to an address, or of their mark. No row ever names these, and none
/// outlives the age of an orphan, so the sweep removes them whatever else it finds.
pub(crate) fn is_upload(key: &str) -> bool {
    key.split('/').nth(1) == Some("uploads")
}

/// Size of an object that is there and old; one that was written anew since it was listed is about to
/// be referred to by a repeated job.
async fn untracked(
    blobs: &BlobStore,
    key: &str,
    before: i64,
) -> Result<Option<u64>, mediamesh_blob::Error> {
    match blobs.head(key).await {
        Ok(now) => Ok((now.modified < before).then_some(now.size_bytes)),
        Err(BlobError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes an object that no row refers to, if it is still old; answers whether it did.
pub(crate) async fn remove_untracked(
    blobs: &BlobStore,
    key: &str,
    before: i64,
) -> Result<bool, mediamesh_blob::Error> {
    if untracked(blobs, key, before).await?.is_none() {
        return Ok(false);
    }
    blobs.delete(key).await?;
    Ok(true)
}
