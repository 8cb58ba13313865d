//! The store traits on SQLite.
//!
//! - `rows`: rows of the tables and their domain types
//! - `media`, `jobs`, `search`, `keys`: one trait each
//! - `filter`: a search filter as SQL
//! - `full_text`: words of people as an FTS5 query

use crate::database::Database;

mod filter;
pub(crate) mod full_text;
mod jobs;
mod keys;
mod media;
mod media_write;
mod rows;
mod search;
#[cfg(test)]
mod tests;

/// The store traits on one embedded database.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    db: Database,
}

impl SqliteStore {
    /// Uses an open database.
    #[must_use]
    pub fn new(db: Database) -> Self {
        Self { db }
    }
}
