//! What goes into the index and what comes out.

use roaring::RoaringBitmap;

/// Dense integer key of an item in its table (its rowid), chosen by the caller.
pub type ItemKey = u32;

/// One change of the table the index is derived from.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// The item has this vector now, whatever it had before.
    Upsert {
        /// Which item.
        key: ItemKey,
        /// `[dims]` f32 of any non-zero length; stored L2-normalised as f16.
        vector: &'a [f32],
    },
    /// The item is gone; unknown keys are ignored.
    Remove {
        /// Which item.
        key: ItemKey,
    },
}

/// Which keys may be returned.
#[derive(Debug, Clone, Copy)]
pub enum Filter<'a> {
    /// Every item of the index.
    All,
    /// Only these keys; keys the index does not hold are ignored.
    Only(&'a RoaringBitmap),
}

/// One result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// The item.
    pub key: ItemKey,
    /// Cosine similarity in [-1, 1], higher is better. Both vectors are f16, so it is within
    /// 0.001 of the f32 value, and it is the same number whichever plan found the item.
    pub score: f32,
}

/// How an answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Every matching vector was compared: the answer is exact.
    ExactScan,
    /// HNSW over all items, re-ranked with the exact score.
    Graph,
    /// HNSW that passes over items outside the filter, re-ranked with the exact score.
    GraphFiltered,
}

/// Result of a search.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Best first; equal scores by ascending key. Exactly `min(k, matching)` of them.
    pub neighbors: Vec<Neighbor>,
    /// How they were found.
    pub plan: Plan,
    /// Items that match the filter and have a vector.
    pub matching: u64,
    /// Vectors scored exactly, re-ranking included; graph hops are not counted.
    pub scanned: u64,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Last change contained.
    pub applied_seq: u64,
    /// Items contained.
    pub items: u64,
    /// Size of the vectors' file.
    pub arena_bytes: u64,
    /// Size of the graph's file; 0 when there is no graph, which is then rebuilt on open.
    pub graph_bytes: u64,
    /// False if this very state was on disk already and nothing was written.
    pub written: bool,
}
