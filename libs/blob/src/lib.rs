//! Bytes of any size under keys: local files and memory today, S3 behind the same type.
//!
//! - [`store`]: [`BlobStore`], reading, listing and removing
//! - [`writer`]: streaming in, in constant memory, hashing on the way, published at once or not at all
//! - [`key`]: the keys of originals and renditions
//! - [`stale`]: what a crash left behind, and its removal
//! - [`error`]: what can go wrong
//! - `contract`: the suite that every backend passes

#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod error;
pub mod key;
pub mod stale;
pub mod store;
pub mod writer;

pub use error::{Error, Result};
pub use store::{BlobStore, ObjectInfo};
pub use writer::{Staged, Writer, Written};
