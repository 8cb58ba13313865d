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
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use half::f16;
use mediamesh_proto::TenantId;
use mediamesh_store::{
    SearchStore, VectorStore,
    search::{Sequences, VectorChange},
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
/// An index that was not read for so long is looked at before it is: rows that it never read may be gone. By the
/// clock on the wall, which goes on while a machine sleeps.
const CHECK_AFTER: Duration = Duration::from_secs(3600);
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
    opening: Mutex<()>,
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
            opening: Mutex::default(),
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
        let _one_at_a_time = self.opening.lock().await;
        if let Some(space) = self.embedded(tenant, model) {
            return Ok(space);
        }
        let name = hex::encode(&Sha256::digest(model)[..8]);
        let dir = self.dir.join(tenant.to_string()).join(name);
        let (at, options) = (dir.clone(), IndexOptions::new(dims));
        let index = tokio::task::spawn_blocking(move || VectorIndex::open(&at, options)).await??;
        let space = Arc::new(Space {
            tenant,
            model: model.to_owned(),
            engine: Engine::Embedded(Embedded {
                index: ArcSwap::from_pointee(index),
                dir,
                corpus_version: AtomicI64::new(-1),
                // never
                read: Mutex::new(SystemTime::UNIX_EPOCH),
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
        let mut read = embedded.read.lock().await;
        // of one that was read since nothing is swept that it does not know
        let mut swept = 0;
        if !read.elapsed().is_ok_and(|ago| ago < CHECK_AFTER) {
            swept = self.check(space, embedded).await?;
        }
        let began = SystemTime::now();
        loop {
            let index = embedded.index.load_full();
            let after = index.applied_seq();
            let changes = self
                .store
                .vector_changes(space.tenant, &space.model, after, CATCH_UP_BATCH)
                .await?;
            let full = changes.len() >= usize::try_from(CATCH_UP_BATCH).unwrap_or(usize::MAX);
            let through = if full { 0 } else { swept };
            if !changes.is_empty() || after < through {
                tokio::task::spawn_blocking(move || apply(&index, &changes, through)).await??;
            }
            if !full {
                *read = began;
                return Ok(());
            }
        }
    }

    /// Makes an index anew that the log no longer fits; answers the newest row that is gone.
    async fn check(&self, space: &Space, embedded: &Embedded) -> Result<u64, Error> {
        let log = self.store.sequences(space.tenant, &space.model).await?;
        let index = embedded.index.load_full();
        let Some(why) = unfit(index.applied_seq(), log) else {
            return Ok(log.swept);
        };
        tracing::warn!(
            model = space.model,
            why,
            "the vector index is made anew from the database"
        );
        let (dir, options) = (embedded.dir.clone(), index.options().clone());
        let new = tokio::task::spawn_blocking(move || VectorIndex::create(&dir, options));
        embedded.index.store(Arc::new(new.await??));
        Ok(log.swept)
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
            let index = embedded.index.load_full();
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
