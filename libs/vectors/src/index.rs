//! The index itself: open, apply, search, snapshot.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io};

use numkong::f16;
use parking_lot::Mutex;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::arena::Arena;
use crate::builder::{self, Shared, State};
use crate::error::Error;
use crate::graph::Graph;
use crate::kernel::{self, Best};
use crate::options::IndexOptions;
use crate::plan::{self, Sizes};
use crate::scan;
use crate::snapshot;
use crate::types::{Answer, Change, Filter, ItemKey, Plan, SnapshotInfo};

/// Vectors of one model, searchable by cosine similarity.
///
/// All methods take `&self`; searches run beside each other and beside `apply`, and each sees
/// whole batches only. Dropping the index stops and joins its graph builder (one batch of insertions); it
/// writes nothing, so call [`VectorIndex::snapshot`] first to spare the next start the replay.
pub struct VectorIndex {
    shared: Arc<Shared>,
    pool: ThreadPool,
    builder: Option<JoinHandle<()>>,
    dir: Option<PathBuf>,
    /// The snapshot on disk that is known to be good; held while one is written.
    on_disk: Mutex<Option<SnapshotInfo>>,
}

impl std::fmt::Debug for VectorIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VectorIndex")
            .field("options", &self.shared.options)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl VectorIndex {
    /// Opens the index of `dir`, which is created if missing, from its newest valid snapshot.
    ///
    /// A snapshot that is torn, damaged or of other dimensions is passed over with a warning; an
    /// older one or an empty index takes its place. Ask `applied_seq` from where to replay. One
    /// process at a time may use `dir`; the caller holds the lock.
    ///
    /// Errors: `InvalidOption`, `Threads`, `Io` if the directory cannot be used.
    /// Blocking: reads the whole snapshot, see `docs/performance/vectors.md`.
    pub fn open(dir: &Path, options: IndexOptions) -> Result<Self, Error> {
        options.validate()?;
        match snapshot::load_newest(dir, &options)? {
            Some(loaded) => {
                let state = State {
                    arena: loaded.arena,
                    applied_seq: loaded.info.applied_seq,
                };
                Self::start(options, state, loaded.graph, Some(dir), Some(loaded.info))
            }
            None => {
                let state = State::empty(options.dims);
                Self::start(options, state, None, Some(dir), None)
            }
        }
    }

    /// Deletes the snapshots of `dir` and opens an empty index there.
    ///
    /// Errors: as [`VectorIndex::open`].
    /// Blocking: deletes files.
    pub fn create(dir: &Path, options: IndexOptions) -> Result<Self, Error> {
        let aside = dir.with_extension("old");
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io {
                action,
                path,
                source,
            }
        };
        // all at once: of some that are left one might be taken for good
        remove_dir(&aside).map_err(failed("delete", &aside))?;
        match fs::rename(dir, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(failed("move", dir))?,
        }
        remove_dir(&aside).map_err(failed("delete", &aside))?;
        Self::open(dir, options)
    }

    /// An empty index that is never written to disk.
    ///
    /// Errors: `InvalidOption`, `Threads`.
    pub fn in_memory(options: IndexOptions) -> Result<Self, Error> {
        options.validate()?;
        let state = State::empty(options.dims);
        Self::start(options, state, None, None, None)
    }

    fn start(
        options: IndexOptions,
        state: State,
        graph: Option<Graph>,
        dir: Option<&Path>,
        on_disk: Option<SnapshotInfo>,
    ) -> Result<Self, Error> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|n| format!("vector-scan-{n}"))
            .build()
            .map_err(|e| Error::Threads(Box::new(e)))?;
        let shared = Arc::new(Shared::new(options, state, graph));
        let builder = thread::Builder::new()
            .name("vector-graph".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || builder::run(&shared)
            })
            .map_err(|e| Error::Threads(Box::new(e)))?;
        Ok(Self {
            shared,
            pool,
            builder: Some(builder),
            dir: dir.map(Path::to_owned),
            on_disk: Mutex::new(on_disk),
        })
    }

    /// Last change the index contains; 0 if none.
    pub fn applied_seq(&self) -> u64 {
        self.shared.state.read().applied_seq
    }

    /// Applies the changes up to and including sequence number `seq`, all or none.
    ///
    /// Idempotent: a `seq` not above `applied_seq` is ignored. Within a batch the last change of
    /// a key wins.
    ///
    /// Errors: `DimensionMismatch`, `VectorNotFinite`; nothing has changed then, so check vectors
    /// with [`VectorIndex::validate`] before they get into the table.
    /// Blocking: searches wait while the vectors are copied in.
    pub fn apply(&self, seq: u64, changes: &[Change<'_>]) -> Result<(), Error> {
        if seq <= self.applied_seq() {
            return Ok(());
        }
        // Encoded before the lock: that is most of the work.
        let encoded = changes
            .iter()
            .map(|change| match *change {
                Change::Remove { key } => Ok((key, None)),
                Change::Upsert { key, vector } => {
                    self.check_dims(vector)?;
                    match kernel::encode(vector) {
                        Some(encoded) => Ok((key, Some(encoded))),
                        None => Err(Error::VectorNotFinite { key }),
                    }
                }
            })
            .collect::<Result<Vec<_>, Error>>()?;

        let mut state = self.shared.state.write();
        if seq <= state.applied_seq {
            return Ok(());
        }
        for (key, vector) in &encoded {
            match vector {
                Some(vector) => state.arena.upsert(*key, vector),
                None => state.arena.remove(*key),
            }
        }
        if state.arena.wants_compaction() {
            state.arena.compact();
        }
        state.applied_seq = seq;
        drop(state);
        self.shared.wake();
        Ok(())
    }

    /// Whether `apply` would take this vector for `key`.
    ///
    /// Errors: `DimensionMismatch`, `VectorNotFinite`.
    pub fn validate(&self, key: ItemKey, vector: &[f32]) -> Result<(), Error> {
        self.check_dims(vector)?;
        kernel::encode(vector)
            .map(drop)
            .ok_or(Error::VectorNotFinite { key })
    }

    /// Returns the `k` nearest items to `query` among those the filter lets through, best first.
    ///
    /// Always `min(k, matching)` of them: where the graph finds fewer, everything is scanned.
    ///
    /// Shape: `query` is `[dims]` f32 of any length; scores are cosine similarity in [-1, 1].
    /// Errors: `DimensionMismatch`, `QueryNotFinite`; never fails on an empty index.
    /// Blocking: milliseconds of CPU; run on the blocking pool.
    /// Source: HNSW search, Malkov & Yashunin 2018, algorithm 5; plan choice in `plan`.
    pub fn search(&self, query: &[f32], k: usize, filter: Filter<'_>) -> Result<Answer, Error> {
        self.check_dims(query)?;
        let query = kernel::encode(query).ok_or(Error::QueryNotFinite)?;
        let state = self.shared.state.read();
        let arena = &state.arena;
        let matching = match filter {
            Filter::All => arena.len() as u64,
            Filter::Only(allowed) => arena.live_keys().intersection_len(allowed),
        };
        let wanted = k.min(matching as usize);
        if wanted == 0 {
            let neighbors = Vec::new();
            return Ok(Answer {
                neighbors,
                plan: Plan::ExactScan,
                matching,
                scanned: 0,
            });
        }
        // Scores spent on a graph answer that came up short, so that `scanned` tells the truth.
        let mut wasted = 0;
        if let Some((plan, best)) = self.search_graph(arena, &query, wanted, filter, matching) {
            if best.len() == wanted {
                let scanned = best.scanned;
                return Ok(Answer {
                    neighbors: best.into_sorted(),
                    plan,
                    matching,
                    scanned,
                });
            }
            wasted = best.scanned;
        }
        let best = scan::exact(&self.pool, arena, &query, wanted, filter, matching);
        let scanned = best.scanned + wasted;
        Ok(Answer {
            neighbors: best.into_sorted(),
            plan: Plan::ExactScan,
            matching,
            scanned,
        })
    }

    /// The graph's answer plus a scan of what it does not cover yet; `None` if scanning is better.
    fn search_graph(
        &self,
        arena: &Arena,
        query: &[f16],
        k: usize,
        filter: Filter<'_>,
        matching: u64,
    ) -> Option<(Plan, Best)> {
        // Never wait for the builder: a scan is faster than its batch.
        let guard = self.shared.graph.try_read();
        let graph = guard
            .as_ref()?
            .as_ref()
            .filter(|graph| graph.epoch() == arena.epoch())?;
        let sizes = Sizes {
            matching: matching as usize,
            items: arena.len(),
            covered: Some(graph.covered()),
            slots: arena.slots(),
        };
        let plan = plan::choose(&self.shared.options, sizes, k, filter);
        if plan == Plan::ExactScan {
            return None;
        }
        // Dead slots are refused here, so neither an old vector nor a removed item gets out.
        let accept = |slot| {
            arena
                .live_key(slot)
                .is_some_and(|key| scan::allows(filter, key))
        };
        // Twice `k`: inside the graph equal distances are cut off in any order.
        let slots = match graph.search(query, k * 2, accept) {
            Ok(slots) => slots,
            Err(error) => {
                tracing::debug!(%error, "scanning instead of the vector graph");
                return None;
            }
        };
        let mut best = Best::new(k);
        for slot in slots {
            if let Some(key) = arena.live_key(slot) {
                best.offer(key, kernel::score(query, arena.vector(slot)));
            }
        }
        let tail = graph.covered()..arena.slots();
        Some((
            plan,
            best.merge(scan::slots(&self.pool, arena, query, k, filter, tail)),
        ))
    }

    /// The stored vector of an item: L2-normalised and rounded to f16.
    pub fn get(&self, key: ItemKey) -> Option<Vec<f32>> {
        let state = self.shared.state.read();
        let slot = state.arena.slot(key)?;
        Some(
            state
                .arena
                .vector(slot)
                .iter()
                .map(|x| x.to_f32())
                .collect(),
        )
    }

    /// Items that have a vector.
    pub fn len(&self) -> usize {
        self.shared.state.read().arena.len()
    }

    /// Whether no item has a vector.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Settings in force.
    pub fn options(&self) -> &IndexOptions {
        &self.shared.options
    }

    /// Bytes held by vectors, tables and graph. May wait for a graph batch (128 insertions).
    pub fn memory_bytes(&self) -> usize {
        let arena = self.shared.state.read().arena.memory_bytes();
        arena
            + self
                .shared
                .graph
                .read()
                .as_ref()
                .map_or(0, Graph::memory_bytes)
    }

    /// Waits until the graph is up to date (or not wanted); false if `timeout` passed first.
    ///
    /// Nothing depends on it but speed: use it before measuring or before a last snapshot.
    pub fn wait_for_graph(&self, timeout: Duration) -> bool {
        self.shared.wait_idle(timeout)
    }

    /// Writes the present state so that the next `open` starts from it.
    ///
    /// Files appear by temporary file, fsync, rename and fsync of the directory; the previous
    /// snapshot is kept beside the new one. Searches and `apply` go on meanwhile.
    ///
    /// Errors: `NoDirectory`, `Io`; the earlier snapshots are untouched then.
    /// Blocking: writes about `items * dims * 2` bytes, twice that with a graph.
    pub fn snapshot(&self) -> Result<SnapshotInfo, Error> {
        let dir = self.dir.as_deref().ok_or(Error::NoDirectory)?;
        let mut on_disk = self.on_disk.lock();
        let state = self.shared.state.read();
        let graph = self.shared.graph.read();
        // Cheap: the clone shares the vector blocks. Taken with the graph held, which therefore
        // covers no slot the clone does not have.
        let arena = state.arena.clone();
        let applied_seq = state.applied_seq;
        drop(state);
        let usable = graph
            .as_ref()
            .filter(|graph| graph.epoch() == arena.epoch());
        if let Some(known) = on_disk.as_ref()
            && known.applied_seq == applied_seq
            && (known.graph_bytes > 0 || usable.is_none())
        {
            return Ok(SnapshotInfo {
                written: false,
                ..known.clone()
            });
        }
        let info = snapshot::write(dir, &arena, applied_seq, usable)?;
        *on_disk = Some(info.clone());
        Ok(info)
    }

    fn check_dims(&self, vector: &[f32]) -> Result<(), Error> {
        let (expected, actual) = (self.shared.options.dims, vector.len());
        if expected == actual {
            Ok(())
        } else {
            Err(Error::DimensionMismatch { expected, actual })
        }
    }
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Drop for VectorIndex {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(builder) = self.builder.take()
            && builder.join().is_err()
        {
            tracing::error!("vector graph builder panicked");
        }
    }
}
