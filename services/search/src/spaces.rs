//! The vector indexes, one per tenant and model, kept level with their change logs.
//!
//! An index is derived: rows are the truth. Before a search on a newer version of the corpus, and
//! after each write, the rows that came since are read into the index, so a search never misses a
//! vector that was acknowledged before it.
//!
//! Where the database searches vectors itself there is nothing to keep level: a space is then a name
//! and a size.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use half::f16;
use mediamesh_proto::TenantId;
use mediamesh_store::{
    SearchStore, VectorStore,
    search::{Sequences, VectorChange, VectorChanges},
    vectors::SpaceSize,
};
use mediamesh_vectors::{Change, IndexOptions, VectorIndex};
use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Mutex, time::Instant};

use self::space::{Embedded, Engine};
use crate::error::Error;

mod space;

pub(crate) use space::Space;

/// Rows read at a time while catching up.
const CATCH_UP_BATCH: i64 = 2000;
/// How often rows of removed vectors are looked for: they only take room.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// All vector indexes of the process.
pub(crate) struct Spaces {
    store: Arc<dyn SearchStore>,
    /// Set where the database searches vectors.
    database: Option<Arc<dyn VectorStore>>,
    dir: PathBuf,
    /// How long the row of a removed vector is kept.
    removed_age: Duration,
    spaces: RwLock<HashMap<(TenantId, String), Arc<Space>>>,
    opening: Arc<Mutex<()>>,
    /// When rows of removed vectors were last looked for.
    swept: parking_lot::Mutex<Option<Instant>>,
}

impl Spaces {
    pub(crate) fn new(
        store: Arc<dyn SearchStore>,
        database: Option<Arc<dyn VectorStore>>,
        dir: PathBuf,
        removed_age: Duration,
    ) -> Self {
        Self {
            store,
            database,
            dir,
            removed_age,
            spaces: RwLock::default(),
            opening: Arc::default(),
            swept: parking_lot::Mutex::default(),
        }
    }

    /// Opens every index of the database and reads what came after its snapshot.
    pub(crate) async fn open_all(&self) -> Result<(), Error> {
        if self.database.is_some() {
            return Ok(());
        }
        for known in self.store.vector_spaces().await? {
            let space = self.open(known.tenant_id, &known.model, known.dims).await?;
            self.catch_up(&space).await?;
        }
        Ok(())
    }

    /// The vectors of a model, if there are any.
    pub(crate) async fn get(
        &self,
        tenant: TenantId,
        model: &str,
    ) -> Result<Option<Arc<Space>>, Error> {
        let Some(vectors) = &self.database else {
            return Ok(self.embedded(tenant, model));
        };
        let size = vectors.space_size(tenant, model).await?;
        Ok(size.map(|size| in_database(vectors, tenant, model, size)))
    }

    /// The index of a model in this process, if it is open.
    fn embedded(&self, tenant: TenantId, model: &str) -> Option<Arc<Space>> {
        self.spaces.read().get(&(tenant, model.to_owned())).cloned()
    }

    /// All that a tenant has vectors of.
    pub(crate) async fn of(&self, tenant: TenantId) -> Result<Vec<Arc<Space>>, Error> {
        let Some(vectors) = &self.database else {
            let spaces = self.spaces.read();
            let of_tenant = spaces.values().filter(|space| space.tenant == tenant);
            return Ok(of_tenant.cloned().collect());
        };
        let spaces = vectors.spaces_of(tenant).await?.into_iter();
        Ok(spaces
            .map(|(model, size)| in_database(vectors, tenant, &model, size))
            .collect())
    }

    /// The index of a model, opened or made if it is not there yet.
    pub(crate) async fn open(
        &self,
        tenant: TenantId,
        model: &str,
        dims: usize,
    ) -> Result<Arc<Space>, Error> {
        if let Some(vectors) = &self.database {
            let empty = SpaceSize { dims, vectors: 0 };
            let size = vectors.space_size(tenant, model).await?.unwrap_or(empty);
            return Ok(in_database(vectors, tenant, model, size));
        }
        if let Some(space) = self.embedded(tenant, model) {
            return Ok(space);
        }
        let one_at_a_time = Arc::clone(&self.opening).lock_owned().await;
        if let Some(space) = self.embedded(tenant, model) {
            return Ok(space);
        }
        let name = hex::encode(&Sha256::digest(model)[..8]);
        let dir = self.dir.join(tenant.to_string()).join(name);
        let log = self.store.sequences(tenant, model).await?;
        let model_key = model.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            // also if nobody waits for it any more
            let _one_at_a_time = one_at_a_time;
            open_fit(&dir, dims, log, &model_key)
        });
        let index = opened.await??;
        let space = Arc::new(Space {
            tenant,
            model: model.to_owned(),
            engine: Engine::Embedded(Embedded {
                // of what is gone an empty one has nothing, and one that fits has read it
                reading: Mutex::new(log.swept),
                index: Arc::new(index),
                corpus_version: AtomicI64::new(-1),
                missed: AtomicBool::new(false),
            }),
        });
        self.spaces
            .write()
            .insert((tenant, model.to_owned()), Arc::clone(&space));
        Ok(space)
    }

    /// Brings an index level with `corpus_version` if it is behind.
    pub(crate) async fn level(&self, space: &Arc<Space>, corpus_version: i64) -> Result<(), Error> {
        let Engine::Embedded(embedded) = &space.engine else {
            return Ok(());
        };
        if embedded.corpus_version.load(Ordering::Acquire) >= corpus_version {
            return Ok(());
        }
        self.catch_up(space).await?;
        embedded
            .corpus_version
            .fetch_max(corpus_version, Ordering::AcqRel);
        Ok(())
    }

    /// Reads the rows that came since the last time.
    pub(crate) async fn catch_up(&self, space: &Arc<Space>) -> Result<(), Error> {
        let Engine::Embedded(embedded) = &space.engine else {
            return Ok(());
        };
        let mut gone = embedded.reading.lock().await;
        loop {
            let index = Arc::clone(&embedded.index);
            let after = index.applied_seq();
            let VectorChanges { rows, swept } = self
                .store
                .vector_changes(space.tenant, &space.model, after, CATCH_UP_BATCH)
                .await?;
            if swept > after.max(*gone) {
                *gone = swept;
                if after == 0 {
                    // of these rows some may have gone as they were read
                    continue;
                }
                embedded.missed.store(true, Ordering::Release);
                tracing::warn!(
                    model = space.model,
                    "the vector index was not read for too long: it keeps some vectors of items that are gone until \
                     the next start, when it is made anew"
                );
            }
            let full = rows.len() >= usize::try_from(CATCH_UP_BATCH).unwrap_or(usize::MAX);
            let through = if full { 0 } else { *gone };
            if !rows.is_empty() || after < through {
                tokio::task::spawn_blocking(move || apply(&index, &rows, through)).await??;
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Writes snapshots of the indexes that changed, or has the database build those that are
    /// missing, and sweeps the rows of removed vectors. That may take hours, so it is not waited for when it is
    /// time to `stop`.
    pub(crate) async fn tend(&self, stop: impl Future<Output = ()>) {
        let Some(vectors) = &self.database else {
            return self.save().await;
        };
        tokio::select! {
            biased;
            () = stop => {}
            () = self.tend_database(vectors.as_ref()) => {}
        }
    }

    async fn tend_database(&self, vectors: &dyn VectorStore) {
        if let Err(error) = vectors.tend_indexes().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "vector indexes not built: searches compare all vectors"
            );
        }
        if !self.sweep_is_due() {
            return;
        }
        match vectors.all_spaces().await {
            Ok(spaces) => {
                for (tenant, model) in spaces {
                    self.sweep(tenant, &model, None).await;
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "rows of removed vectors are not swept");
            }
        }
    }

    fn sweep_is_due(&self) -> bool {
        let mut swept = self.swept.lock();
        let is_due = swept.is_none_or(|swept| swept.elapsed() >= SWEEP_EVERY);
        if is_due {
            *swept = Some(Instant::now());
        }
        is_due
    }

    /// Takes the rows of removed vectors out of a change log that nobody reads up to `through` any more.
    async fn sweep(&self, tenant: TenantId, model: &str, through: Option<u64>) {
        match self
            .store
            .sweep_removed(tenant, model, through, self.removed_age)
            .await
        {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(model, rows, "rows of removed vectors are swept"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, model, "rows of removed vectors are not swept");
            }
        }
    }

    /// Writes snapshots of the indexes of this process that changed.
    pub(crate) async fn save(&self) {
        let spaces: Vec<_> = self.spaces.read().values().cloned().collect();
        let sweeps = !spaces.is_empty() && self.sweep_is_due();
        for space in spaces {
            let Engine::Embedded(embedded) = &space.engine else {
                continue;
            };
            // a removal that nobody has searched since
            if sweeps && let Err(error) = self.catch_up(&space).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, model = space.model, "vector index not brought level");
            }
            if embedded.missed.load(Ordering::Acquire) {
                // with its snapshot, what it missed would be forgotten
                continue;
            }
            let index = Arc::clone(&embedded.index);
            match tokio::task::spawn_blocking(move || index.snapshot()).await {
                Ok(Ok(info)) => {
                    if info.written {
                        let items = info.items;
                        tracing::debug!(model = space.model, items, "vector index saved");
                    }
                    if sweeps {
                        // the snapshot has them taken out
                        let through = Some(info.applied_seq);
                        self.sweep(space.tenant, &space.model, through).await;
                    }
                }
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

/// Opens the index of `dir`, or an empty one if the snapshot there does not fit the log. Blocking.
fn open_fit(dir: &Path, dims: usize, log: Sequences, model: &str) -> Result<VectorIndex, Error> {
    let index = VectorIndex::open(dir, IndexOptions::new(dims))?;
    let Some(why) = unfit(index.applied_seq(), log) else {
        return Ok(index);
    };
    tracing::warn!(
        model,
        why,
        "the vector index is made anew from the database"
    );
    drop(index);
    Ok(VectorIndex::create(dir, IndexOptions::new(dims))?)
}

/// Why a snapshot that has read its log up to `applied` is of no use; `None` if it is.
fn unfit(applied: u64, log: Sequences) -> Option<&'static str> {
    if applied > log.last {
        // one restored from a backup, say
        return Some("its snapshot is ahead of the database");
    }
    // an empty one has nothing that had to be taken out
    (1..log.swept)
        .contains(&applied)
        .then_some("its snapshot is older than what is known of removed vectors")
}

fn in_database(
    vectors: &Arc<dyn VectorStore>,
    tenant: TenantId,
    model: &str,
    size: SpaceSize,
) -> Arc<Space> {
    Arc::new(Space {
        tenant,
        model: model.to_owned(),
        engine: Engine::Database {
            vectors: Arc::clone(vectors),
            size,
        },
    })
}

/// Applies one batch of rows; with it the log was read up to `through` at least, though the rows there may be
/// gone. Blocking.
fn apply(index: &VectorIndex, rows: &[VectorChange], through: u64) -> Result<(), Error> {
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
    Ok(index.apply(last.max(through), &changes)?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_fit_that_is_neither_ahead_of_the_log_nor_behind_what_was_swept() {
        let log = Sequences { last: 9, swept: 5 };
        for applied in [0, 5, 7, 9] {
            assert_eq!(unfit(applied, log), None, "{applied}");
        }
        for applied in [1, 4, 10] {
            assert!(unfit(applied, log).is_some(), "{applied}");
        }
        assert_eq!(unfit(3, Sequences { last: 3, swept: 0 }), None);
    }
}
