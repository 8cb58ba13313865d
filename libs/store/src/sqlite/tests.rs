//! The suites of the store traits on a real database file.
#![allow(clippy::unwrap_used)]

use tempfile::TempDir;

use super::{SqliteStore, SqliteStore as Store};
use crate::{
    Database, DatabaseOptions, MediaStore as _,
    job::NewJob,
    media::{Inserted, NewMediaItem, Processed},
};

#[path = "../contract/advise.rs"]
mod advise;
#[path = "../contract/ends.rs"]
mod ends;
#[path = "../contract/history.rs"]
mod history;
#[path = "../contract/integrity.rs"]
mod integrity;
#[path = "../contract/job_control.rs"]
mod job_control;
#[path = "../contract/jobs.rs"]
mod jobs;
#[path = "../contract/keys.rs"]
mod keys;
#[path = "../contract/limits.rs"]
mod limits;
#[path = "../contract/media.rs"]
mod media;
mod migrations;
#[path = "../contract/request_log.rs"]
mod request_log;
#[path = "../contract/rig.rs"]
mod rig;
#[path = "../contract/schedules.rs"]
mod schedules;
#[path = "../contract/search.rs"]
mod search;
#[path = "../contract/slow.rs"]
mod slow;
mod stop;
#[path = "../contract/trees.rs"]
mod trees;
#[path = "../contract/users.rs"]
mod users;

use self::rig::*;

/// An empty store, which this backend always has.
async fn store() -> Option<(TempDir, Store)> {
    let dir = TempDir::new().unwrap();
    let store = open(&dir).await;
    Some((dir, store))
}

async fn open(dir: &TempDir) -> Store {
    let options = DatabaseOptions::at(dir.path().join("test.db"));
    SqliteStore::new(Database::open(options).await.unwrap())
}

async fn store_with(slow: crate::slow::SlowOptions) -> Option<(TempDir, Store)> {
    let dir = TempDir::new().unwrap();
    let mut options = DatabaseOptions::at(dir.path().join("test.db"));
    options.slow = slow;
    let store = SqliteStore::new(Database::open(options).await.unwrap());
    Some((dir, store))
}

#[tokio::test]
async fn a_migration_that_comes_after_a_later_one_is_run_too() {
    use crate::HistoryStore as _;
    use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
    let (dir, store) = store().await.unwrap();
    drop(store);
    let path = dir.path().join("test.db");
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).unwrap();
    conn.batch_execute(
        "DROP TABLE search_history; DELETE FROM __diesel_schema_migrations WHERE version = '0006'",
    )
    .unwrap();
    drop(conn);
    let store = open(&dir).await;
    assert_eq!(store.recent_searches(TENANT, 1).await.unwrap(), Vec::new());
}
