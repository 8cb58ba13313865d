//! Bytes of any size under keys: local files, memory and S3 behind the same type.
//!
//! - [`store`]: [`BlobStore`], reading, listing and removing
//! - [`writer`]: streaming in, in constant memory, hashing on the way, published at once or not at all
//! - `upload`: the parts of one upload, and what undoes it
//! - [`bucket`]: S3 and compatible servers
//! - [`presign`]: addresses that let others read or write one object for a while
//! - [`key`]: the keys of originals and renditions
//! - [`stale`]: what a crash left behind, and its removal
//! - [`error`]: what can go wrong
//! - `contract`: the suite that every backend passes

pub mod bucket;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod error;
pub mod key;
pub mod presign;
pub mod stale;
pub mod store;
mod upload;
pub mod writer;

pub use bucket::{Credentials, S3Options};
pub use error::{Error, Result};
pub use presign::{DEFAULT_EXPIRY, MAX_EXPIRY, Presigned, PresignedMethod};
pub use store::{BlobStore, ObjectInfo};
pub use writer::{Staged, Writer, Written};
