//! Embedded vector index: which stored vectors are nearest to this one, among these keys?
//!
//! The index is derived. The truth is a table of changes with a growing sequence number; the
//! index says how far it has read ([`VectorIndex::applied_seq`]) and the caller replays the rest.
//! Losing the whole directory therefore costs time, never a vector.
//!
//! - `index`: [`VectorIndex`], the only way in: open, apply, search, snapshot
//! - `options`: [`IndexOptions`], documented defaults
//! - `types`: what goes in and out: [`Change`], [`Filter`], [`Answer`], [`Plan`]
//! - `plan`: chooses between scan and graph by the size of the matching set
//! - `arena`: all vectors as f16 in append-only blocks; key to slot and back
//! - `kernel`: normalise, encode, dot product, best-k heap
//! - `scan`: exact answers over arena slots, in parallel when large
//! - `graph`: HNSW over the same slots, an accelerator that may lag or be missing
//! - `builder`: the background thread that brings the graph up to date
//! - `snapshot`: atomic checksummed files; anything torn is refused
//! - `error`: [`Error`]

mod arena;
mod builder;
mod error;
mod graph;
mod index;
mod kernel;
mod options;
mod plan;
mod scan;
mod snapshot;
mod types;

pub use error::Error;
pub use index::VectorIndex;
pub use options::IndexOptions;
pub use types::{Answer, Change, Filter, ItemKey, Neighbor, Plan, SnapshotInfo};
