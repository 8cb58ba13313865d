//! Removes the bytes of deleted items.

use mediamesh_proto::ErrorReason;
use mediamesh_store::job::Job;
use serde::Deserialize;

use super::{Context, Failure};

/// Payload that the store writes when it deletes an item.
#[derive(Debug, Deserialize)]
struct Payload {
    blob_keys: Vec<String>,
}

pub(super) async fn run(context: &Context, job: &Job) -> Result<(), Failure> {
    let payload: Payload =
        serde_json::from_str(&job.payload).map_err(|error| Failure::Permanent {
            reason: ErrorReason::Internal,
            detail: format!("payload of the job cannot be read: {error}"),
        })?;
    if payload.blob_keys.is_empty() {
        return Ok(());
    }
    // Keys hold the id of their item and are never used again, so this cannot race with an upload.
    for key in context.media.unreferenced_blobs(payload.blob_keys).await? {
        context.blobs.delete(&key).await?;
    }
    Ok(())
}
