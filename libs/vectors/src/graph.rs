//! HNSW over arena slots. An accelerator: it may lag behind the arena or be missing altogether.
//!
//! Nodes are slots and are only ever added, so node `s` always is the vector of slot `s` in the
//! epoch the graph belongs to. Updates and removals show as dead slots, which the search steps
//! over. Additions and searches never overlap: the owner keeps the graph in a lock.

use std::path::Path;
use std::thread;

use numkong::f16;
use usearch::{Index, IndexOptions as NativeOptions, MetricKind, ScalarKind};

use crate::options::IndexOptions;

/// Searches that may use the graph at once; one more is refused and answered by a scan.
const SEARCH_CONTEXTS: usize = 64;

/// Smallest room made at once, so that a growing index does not reallocate for each batch.
const MIN_CAPACITY: usize = 8_192;

/// The library refused; the caller answers by scanning instead.
#[derive(Debug, thiserror::Error)]
#[error("graph {action} failed: {reason}")]
pub(crate) struct GraphError {
    action: &'static str,
    /// The C++ exception has no type to keep.
    reason: String,
}

/// A graph over slots `0..covered` of one epoch.
pub(crate) struct Graph {
    index: Index,
    epoch: u64,
    covered: usize,
    capacity: usize,
}

impl Graph {
    pub(crate) fn new(options: &IndexOptions, epoch: u64) -> Result<Self, GraphError> {
        let index = Index::new(&NativeOptions {
            dimensions: options.dims,
            // Inner product of unit vectors is their cosine, and zero vectors stay harmless.
            metric: MetricKind::IP,
            quantization: ScalarKind::F16,
            connectivity: options.connectivity,
            expansion_add: options.ef_construction,
            expansion_search: options.ef_search,
            multi: false,
        })
        .map_err(|e| failed("creation", &e))?;
        Ok(Self {
            index,
            epoch,
            covered: 0,
            capacity: 0,
        })
    }

    /// Reads a graph whose bytes the caller has verified.
    pub(crate) fn load(
        options: &IndexOptions,
        path: &Path,
        covered: usize,
    ) -> Result<Self, GraphError> {
        let mut graph = Self::new(options, 0)?;
        let path = utf8(path)?;
        graph.index.load(path).map_err(|e| failed("load", &e))?;
        // Loading takes these from the file.
        graph.index.change_expansion_add(options.ef_construction);
        graph.index.change_expansion_search(options.ef_search);
        graph.covered = covered;
        graph.reserve(graph.index.size())?;
        Ok(graph)
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), GraphError> {
        self.index.save(utf8(path)?).map_err(|e| failed("save", &e))
    }

    fn reserve(&mut self, nodes: usize) -> Result<(), GraphError> {
        if nodes > self.capacity || self.capacity == 0 {
            // A quarter more: doubling would hold tables for twice the items.
            let capacity = (nodes + nodes / 4).max(MIN_CAPACITY);
            self.index
                .reserve_capacity_and_threads(capacity, SEARCH_CONTEXTS)
                .map_err(|e| failed("growth", &e))?;
            self.capacity = capacity;
        }
        Ok(())
    }

    /// Inserts the vectors of the next slots.
    ///
    /// Shape: `rows` pairs a slot with its `[dims]` vector; slots up to `covered` that are absent
    /// were dead and stay out.
    /// Blocking: 1.4 ms per row of 384 dims, measured on a busy machine.
    pub(crate) fn extend(
        &mut self,
        rows: &[(usize, Vec<f16>)],
        covered: usize,
        threads: usize,
    ) -> Result<(), GraphError> {
        self.reserve(self.index.size() + rows.len())?;
        let share = rows.len().div_ceil(threads.max(1)).max(1);
        let index = &self.index;
        thread::scope(|scope| {
            let workers: Vec<_> = rows
                .chunks(share)
                .map(|part| scope.spawn(move || insert(index, part)))
                .collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|_| {
                    Err(GraphError {
                        action: "insertion",
                        reason: "a worker panicked".into(),
                    })
                })
            })
        })?;
        self.covered = covered;
        Ok(())
    }

    /// Slots of up to `count` near vectors among those `accept` takes.
    pub(crate) fn search(
        &self,
        query: &[f16],
        count: usize,
        accept: impl Fn(usize) -> bool,
    ) -> Result<Vec<usize>, GraphError> {
        let query = native(query);
        let query = usearch::f16::from_i16s(&query);
        let matches = self
            .index
            .filtered_search(query, count, |slot| accept(slot as usize))
            .map_err(|e| failed("search", &e))?;
        Ok(matches.keys.into_iter().map(|slot| slot as usize).collect())
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Slots below this are in the graph, or were dead when it came to them.
    pub(crate) fn covered(&self) -> usize {
        self.covered
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.index.memory_usage()
    }
}

fn insert(index: &Index, rows: &[(usize, Vec<f16>)]) -> Result<(), GraphError> {
    for (slot, vector) in rows {
        let vector = native(vector);
        index
            .add(*slot as u64, usearch::f16::from_i16s(&vector))
            .map_err(|e| failed("insertion", &e))?;
    }
    Ok(())
}

/// The two libraries have their own f16 types over the same bits.
fn native(vector: &[f16]) -> Vec<i16> {
    vector.iter().map(|x| x.0.cast_signed()).collect()
}

fn failed(action: &'static str, reason: &dyn std::fmt::Display) -> GraphError {
    GraphError {
        action,
        reason: reason.to_string(),
    }
}

fn utf8(path: &Path) -> Result<&str, GraphError> {
    path.to_str().ok_or(GraphError {
        action: "file access",
        reason: "path is not UTF-8".into(),
    })
}
