//! What can go wrong at the crate's surface.

use std::io;
use std::path::PathBuf;

use crate::types::ItemKey;

/// Failure of an index operation. A failed operation has changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A vector of another model was offered.
    #[error("vector has {actual} dimensions; the index holds {expected}")]
    DimensionMismatch {
        /// Dimensions of the index.
        expected: usize,
        /// Dimensions of the offered vector.
        actual: usize,
    },
    /// A query holds NaN or infinity, or is too large to normalise.
    #[error("query vector holds a value that is not finite")]
    QueryNotFinite,
    /// A stored vector holds NaN or infinity, or is too large to normalise.
    #[error("vector of item {key} holds a value that is not finite")]
    VectorNotFinite {
        /// The item offered.
        key: ItemKey,
    },
    /// Options outside what the index can do.
    #[error("{option} is {value}; it must be between {min} and {max}")]
    InvalidOption {
        /// Field of `IndexOptions`.
        option: &'static str,
        /// What was given.
        value: usize,
        /// Smallest accepted.
        min: usize,
        /// Largest accepted.
        max: usize,
    },
    /// `snapshot` was called on an index that has no directory.
    #[error("the index is in memory only and cannot be written to disk")]
    NoDirectory,
    /// A worker thread could not be started.
    #[error("cannot start the threads of the vector index")]
    Threads(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The directory or a file in it could not be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}
