//! The vector indexes, one per tenant and model, kept level with their change logs.
//!
//! An index is derived: rows are the truth. Before a search on a newer version of the corpus, and
//! after each write, the rows that came since are read into the index, so a search never misses a
//! vector that was acknowledged before it.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use half::f16;
use mediamesh_proto::TenantId;
use mediamesh_store::{SearchStore, search::VectorChange};
use mediamesh_vectors::{Change, IndexOptions, VectorIndex};
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::error::Error;

/// Rows read at a time while catching up.
const CATCH_UP_BATCH: i64 = 2000;

/// One vector index and how far it has read.
pub(crate) struct Space {
    pub(crate) tenant: TenantId,
    pub(crate) model: String,
    pub(crate) index: Arc<VectorIndex>,
    /// Corpus version up to which the log was read.
    corpus_version: AtomicI64,
    /// One catches up at a time.
    reading: Mutex<()>,
}

/// All vector indexes of the process.
pub(crate) struct Spaces {
    store: Arc<dyn SearchStore>,
    dir: PathBuf,
    spaces: RwLock<HashMap<(TenantId, String), Arc<Space>>>,
    opening: Mutex<()>,
}

impl Spaces {
    pub(crate) fn new(store: Arc<dyn SearchStore>, dir: PathBuf) -> Self {
        Self {
            store,
            dir,
            spaces: RwLock::default(),
            opening: Mutex::default(),
        }
    }

    /// Opens every index of the database and reads what came after its snapshot.
    pub(crate) async fn open_all(&self) -> Result<(), Error> {
        for known in self.store.vector_spaces().await? {
            let space = self.open(known.tenant_id, &known.model, known.dims).await?;
            self.catch_up(&space).await?;
        }
        Ok(())
    }

    /// The index of a model, if it holds a vector.
    pub(crate) fn get(&self, tenant: TenantId, model: &str) -> Option<Arc<Space>> {
        self.spaces.read().get(&(tenant, model.to_owned())).cloned()
    }

    /// All indexes of a tenant.
    pub(crate) fn of(&self, tenant: TenantId) -> Vec<Arc<Space>> {
        self.spaces
            .read()
            .values()
            .filter(|space| space.tenant == tenant)
            .cloned()
            .collect()
    }

    /// The index of a model, opened or made if it is not there yet.
    pub(crate) async fn open(
        &self,
        tenant: TenantId,
        model: &str,
        dims: usize,
    ) -> Result<Arc<Space>, Error> {
        if let Some(space) = self.get(tenant, model) {
            return Ok(space);
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(space) = self.get(tenant, model) {
            return Ok(space);
        }
        let name = hex::encode(&Sha256::digest(model)[..8]);
        let dir = self.dir.join(tenant.to_string()).join(name);
        let options = IndexOptions::new(dims);
        let index = tokio::task::spawn_blocking(move || VectorIndex::open(&dir, options)).await??;
        let space = Arc::new(Space {
            tenant,
            model: model.to_owned(),
            index: Arc::new(index),
            corpus_version: AtomicI64::new(-1),
            reading: Mutex::default(),
        });
        // A snapshot ahead of the rows belongs to another database (one restored from a backup,
        // say): start from nothing.
        let last = self.store.last_sequence(tenant, model).await?;
        if space.index.applied_seq() > last {
            tracing::warn!(
                model,
                "snapshot of the vector index is ahead of the database; rebuilding"
            );
            let fresh = Arc::new(Space {
                tenant,
                model: model.to_owned(),
                index: Arc::new(VectorIndex::in_memory(IndexOptions::new(dims))?),
                corpus_version: AtomicI64::new(-1),
                reading: Mutex::default(),
            });
            self.spaces
                .write()
                .insert((tenant, model.to_owned()), Arc::clone(&fresh));
            return Ok(fresh);
        }
        self.spaces
            .write()
            .insert((tenant, model.to_owned()), Arc::clone(&space));
        Ok(space)
    }

    /// Brings an index level with `corpus_version` if it is behind.
    pub(crate) async fn level(&self, space: &Arc<Space>, corpus_version: i64) -> Result<(), Error> {
        if space.corpus_version.load(Ordering::Acquire) >= corpus_version {
            return Ok(());
        }
        self.catch_up(space).await?;
        space
            .corpus_version
            .fetch_max(corpus_version, Ordering::AcqRel);
        Ok(())
    }

    /// Reads the rows that came since the last time.
    pub(crate) async fn catch_up(&self, space: &Arc<Space>) -> Result<(), Error> {
        let _one_at_a_time = space.reading.lock().await;
        loop {
            let after = space.index.applied_seq();
            let changes = self
                .store
                .vector_changes(space.tenant, &space.model, after, CATCH_UP_BATCH)
                .await?;
            let full = changes.len() >= usize::try_from(CATCH_UP_BATCH).unwrap_or(usize::MAX);
            if changes.is_empty() {
                return Ok(());
            }
            let index = Arc::clone(&space.index);
            tokio::task::spawn_blocking(move || apply(&index, &changes)).await??;
            if !full {
                return Ok(());
            }
        }
    }

    /// Writes snapshots of the indexes that changed.
    pub(crate) async fn snapshot_all(&self) {
        let spaces: Vec<_> = self.spaces.read().values().cloned().collect();
        for space in spaces {
            let index = Arc::clone(&space.index);
            match tokio::task::spawn_blocking(move || index.snapshot()).await {
                Ok(Ok(info)) if info.written => {
                    tracing::debug!(
                        model = space.model,
                        items = info.items,
                        "vector index saved"
                    );
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    model = space.model,
                    "vector index not saved; the next start reads it from the database"
                ),
                Err(error) => tracing::error!(%error, "saving a vector index panicked"),
            }
        }
    }
}

/// Applies one batch of rows. Blocking.
fn apply(index: &VectorIndex, rows: &[VectorChange]) -> Result<(), Error> {
    let vectors: Vec<Option<Vec<f32>>> = rows
        .iter()
        .map(|row| row.vector.as_deref().map(decode))
        .collect();
    let changes: Vec<Change<'_>> = rows
        .iter()
        .zip(&vectors)
        .filter_map(|(row, vector)| match vector {
            Some(vector) => match index.validate(row.item_key, vector) {
                Ok(()) => Some(Change::Upsert { key: row.item_key, vector }),
                Err(error) => {
                    tracing::error!(%error, key = row.item_key, "stored vector is unfit and left out");
                    None
                }
            },
            None => Some(Change::Remove { key: row.item_key }),
        })
        .collect();
    let last = rows.last().map_or(0, |row| row.seq);
    Ok(index.apply(last, &changes)?)
}

/// Reads a vector as it is stored.
fn decode(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(2)
        .map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32())
        .collect()
}

/// Writes a vector as it is stored.
pub(crate) fn encode(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| f16::from_f32(*value).to_le_bytes())
        .collect()
}
