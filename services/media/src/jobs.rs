//! The worker and what it does.
//!
//! - [`worker`]: claims jobs, runs them, and drains at shutdown
//! - `attempt`: one attempt at a job: time limit, panics, retries, the end
//! - `heartbeat`: keeps leases alive from a thread, and on a connection, that work cannot starve
//! - `completer`: ends jobs that succeeded, many with one transaction
//! - `cpu`: a bounded pool for decoding
//! - `process`, `derive`: original in; renditions, colours, hashes out
//! - `embed`: pixels and words to vectors to the index; `patience`: its calls wait for room
//! - `delete`: removes the bytes of deleted items
//! - `backfill`: finds items that an active model has not seen
//! - `check`: what rows name against what is stored
//! - `request_log`: room for requests to come, and an end of the old ones
//! - `periodic`: queues jobs when their schedules say so
//! - `sweep`: expired leases, ended jobs, orphaned bytes

mod attempt;
mod backfill;
mod check;
mod completer;
mod cpu;
mod delete;
mod derive;
pub(crate) mod embed;
mod heartbeat;
mod patience;
mod periodic;
mod process;
mod request_log;
mod sweep;
pub mod worker;

pub use worker::Worker;

use std::sync::Arc;

use mediamesh_blob::BlobStore;
use mediamesh_imaging::Plan;
use mediamesh_mesh::Channel;
use mediamesh_proto::{
    ErrorReason, embedding::v1::embedding_service_client::EmbeddingServiceClient,
    search::v1::search_service_client::SearchServiceClient,
};
use mediamesh_store::{
    IntegrityStore, JobStore, MediaStore, SearchStore, job::Job, media::MediaItem,
};

use crate::{metrics::MediaMetrics, options::Options};

/// What every job may use.
pub(crate) struct Context {
    pub(crate) options: Arc<Options>,
    pub(crate) plan: Plan,
    pub(crate) media: Arc<dyn MediaStore>,
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) records: Arc<dyn IntegrityStore>,
    pub(crate) search_store: Arc<dyn SearchStore>,
    pub(crate) blobs: BlobStore,
    pub(crate) embedding: EmbeddingServiceClient<Channel>,
    pub(crate) search: SearchServiceClient<Channel>,
    pub(crate) cpu: cpu::CpuPool,
    pub(crate) metrics: MediaMetrics,
}

impl Context {
    /// The item of a job; `None` if it was deleted meanwhile, which ends the job well.
    async fn item(&self, job: &Job) -> Result<Option<MediaItem>, Failure> {
        let Some(id) = job.media_item_id else {
            return Ok(None);
        };
        Ok(self.media.get_items(job.tenant_id, &[id]).await?.pop())
    }
}

/// Why an attempt failed, as far as it decides what happens next.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another attempt would fail as well.
    Permanent {
        /// For machines.
        reason: ErrorReason,
        /// One sentence for people.
        detail: String,
    },
    /// Another attempt may succeed.
    Transient(String),
    /// Somebody else has the job now, or nobody needs it: its result must not be written.
    LeaseLost,
}

impl From<mediamesh_store::Error> for Failure {
    fn from(error: mediamesh_store::Error) -> Self {
        match error {
            mediamesh_store::Error::LeaseLost { .. } => Self::LeaseLost,
            other => Self::Transient(chain(&other)),
        }
    }
}

impl From<mediamesh_blob::Error> for Failure {
    fn from(error: mediamesh_blob::Error) -> Self {
        match error {
            mediamesh_blob::Error::NotFound { .. } => Self::Permanent {
                reason: ErrorReason::DataCorrupt,
                detail: "the stored original is missing".to_owned(),
            },
            mediamesh_blob::Error::TooLarge { limit_bytes } => Self::Permanent {
                reason: ErrorReason::TooLarge,
                detail: format!(
                    "the original is larger than {limit_bytes} bytes, the limit for images"
                ),
            },
            other => Self::Transient(chain(&other)),
        }
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
