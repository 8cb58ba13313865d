//! Cache entries in a process's own memory: the first tier of the cache service, and of its callers.
//!
//! - [`client`]: the cache service with such a memory in front; [`options`]: its settings
//! - [`entry`]: entries, their names, and how full a tier is
//! - [`memory`]: entries in memory, weighed by bytes, with tags and a time to live each
//! - [`pattern`]: names of entries by pattern
//! - [`stripes`]: whether something was changed since a moment, so that a late answer from
//!   elsewhere never undoes an invalidation
//! - `tags`: which keys of a tenant carry a tag

pub mod client;
pub mod entry;
pub mod memory;
pub mod options;
pub mod pattern;
pub mod stripes;
mod tags;

pub use client::NearCache;
pub use entry::{Key, Stored, Usage};
pub use memory::{Memory, MemoryMetrics};
pub use options::Options;
pub use pattern::Pattern;
pub use stripes::Mark;
