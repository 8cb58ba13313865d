//! Tables, store traits and their SQLite implementation.
//!
//! - [`error`]: what a store can answer instead of a result
//! - [`database`]: opening, locking and migrating a database; its connection pools
//! - [`media`]: items, renditions and folders, and the [`MediaStore`] trait
//! - [`job`]: background work and the [`JobStore`] trait
//! - [`key`]: API keys, tenants, and the [`KeyStore`] trait
//! - [`search`]: full text, filters, embeddings, and the [`SearchStore`] trait
//! - [`sqlite`]: the traits on SQLite

pub mod database;
pub mod error;
pub mod job;
pub mod key;
pub mod media;
pub mod search;
pub mod sqlite;

mod schema;

pub use database::{Database, DatabaseOptions};
pub use error::{Error, Result};
pub use job::JobStore;
pub use key::KeyStore;
pub use media::MediaStore;
pub use search::SearchStore;
