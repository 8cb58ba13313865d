//! The store traits on PostgreSQL: the queries of `sql`, compiled for this backend, and what
//! differs.
//!
//! - [`database`]: connections, their pools, migrations, and the end of statements nobody waits for
//! - `advise`: what could be better about the database
//! - `bell`: tells workers of other processes of new jobs
//! - `replica`: reads that a replica may answer, and when it may
//! - `tls`: connections by rustls
//! - `types`: ids and vectors as PostgreSQL holds them
//! - `dialect`: statements that PostgreSQL says in its own way
//! - `partitions`: those of the request log
//! - `nearest`, `vector_index`: nearest vectors by pgvector, and when its indexes are built
//! - `words`: the full text as `tsvector` and `tsquery`, and its BM25
//! - `sql/...`: the traits; see `docs/adr/0011-one-query-source-for-two-databases.md`

use diesel::pg::Pg as Backend;
use diesel_async::AsyncPgConnection as Connection;

mod advise;
mod bell;
pub mod database;
mod dialect;
mod nearest;
mod partitions;
mod replica;
mod tls;
mod types;
mod vector_index;
mod words;

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

use std::{collections::HashMap, sync::Arc};

use mediamesh_proto::TenantId;
use parking_lot::{Mutex, RwLock};

use self::PostgresStore as Store;
pub use self::{
    database::{Database, DatabaseOptions},
    replica::{Replica, ReplicaStatus},
    vector_index::IndexKind,
};
use crate::limit::Turn;

/// The store traits on a PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    db: Database,
    /// Where searches and reports read.
    reader: replica::Reader,
    index_kind: IndexKind,
    bell: bell::Bell,
    /// Which tenant's jobs come next.
    turn: Turn,
    /// Sizes of the vector spaces that were searched.
    spaces: Arc<RwLock<HashMap<(TenantId, String), nearest::Known>>>,
    /// When the vector indexes were last in order.
    tended: Arc<Mutex<Option<vector_index::Tended>>>,
}

impl PostgresStore {
    /// Uses an open database.
    #[must_use]
    pub fn new(db: Database) -> Self {
        Self {
            reader: replica::Reader::new(db.clone(), None),
            bell: bell::Bell::new(db.clone()),
            turn: Turn::default(),
            db,
            index_kind: IndexKind::default(),
            spaces: Arc::default(),
            tended: Arc::default(),
        }
    }

    /// Reads for searches and reports from a replica (S4-25) while it may be used. What was just
    /// written is found there once it has come there; everything else is read where it is written.
    #[must_use]
    pub fn with_replica(mut self, replica: Replica) -> Self {
        self.reader = replica::Reader::new(self.db.clone(), Some(replica));
        self
    }

    /// Builds vector indexes of this kind.
    #[must_use]
    pub fn with_index_kind(mut self, kind: IndexKind) -> Self {
        self.index_kind = kind;
        // another kind is looked after anew
        self.tended = Arc::default();
        self
    }

    fn replica(&self) -> &replica::Reader {
        &self.reader
    }
}
