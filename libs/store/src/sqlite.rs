//! The store traits on SQLite: the queries of `sql`, compiled for this backend, and what differs.
//!
//! - `types`: ids and vectors as SQLite holds them
//! - `advise`: what could be better about the database
//! - `bell`: tells the worker of new jobs
//! - `dialect`: statements that SQLite says in its own way, full text among them
//! - `sql/...`: the traits; see `docs/adr/0011-one-query-source-for-two-databases.md`

use diesel::sqlite::Sqlite as Backend;

use crate::{
    database::{Connection, Database},
    limit::Turn,
};

mod advise;
mod bell;
mod dialect;
mod types;

#[path = "sql/bulk.rs"]
mod bulk;
#[path = "sql/claims.rs"]
mod claims;
#[path = "sql/ends.rs"]
mod ends;
#[path = "sql/filter.rs"]
mod filter;
#[path = "sql/history.rs"]
mod history;
#[path = "sql/integrity.rs"]
mod integrity;
#[path = "sql/job_control.rs"]
mod job_control;
#[path = "sql/job_counts.rs"]
mod job_counts;
#[path = "sql/jobs.rs"]
mod jobs;
#[path = "sql/keys.rs"]
mod keys;
#[path = "sql/media.rs"]
mod media;
#[path = "sql/media_write.rs"]
mod media_write;
#[path = "sql/removed.rs"]
mod removed;
#[path = "sql/request_log.rs"]
mod request_log;
#[path = "sql/rows.rs"]
mod rows;
#[path = "sql/schedules.rs"]
mod schedules;
#[path = "sql/schema.rs"]
mod schema;
#[path = "sql/search.rs"]
mod search;
#[cfg(test)]
mod tests;
#[path = "sql/trees.rs"]
mod trees;
#[path = "sql/users.rs"]
mod users;

use self::SqliteStore as Store;

/// The store traits on one embedded database.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    db: Database,
    bell: bell::Bell,
    /// Which tenant's jobs come next.
    turn: Turn,
}

impl SqliteStore {
    /// Uses an open database.
    #[must_use]
    pub fn new(db: Database) -> Self {
        Self {
            db,
            bell: bell::Bell::default(),
            turn: Turn::default(),
        }
    }

    /// Where searches read: there is one database.
    fn replica(&self) -> &Database {
        &self.db
    }
}
