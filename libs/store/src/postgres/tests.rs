//! The suites of the store traits on a real PostgreSQL.
#![allow(clippy::unwrap_used)]

use mediamesh_testkit::postgres::TestDatabase;

use super::{Database, DatabaseOptions, PostgresStore, PostgresStore as Store};
use crate::{
    MediaStore as _,
    job::NewJob,
    media::{Inserted, NewMediaItem, Processed},
};

#[path = "../contract/advise.rs"]
mod advise;
mod bell;
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
mod leases;
#[path = "../contract/limits.rs"]
mod limits;
#[path = "../contract/media.rs"]
mod media;
mod migrations;
mod partitions;
mod pool;
mod races;
mod relevance;
mod replica;
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
mod tls;
#[path = "../contract/trees.rs"]
mod trees;
#[path = "../contract/users.rs"]
mod users;
mod vectors;

use self::rig::*;

/// An empty store; none where there is no PostgreSQL, and the test skips.
async fn store() -> Option<(TestDatabase, Store)> {
    let database = TestDatabase::create().await.unwrap()?;
    let store = open(&database).await;
    Some((database, store))
}

async fn open(database: &TestDatabase) -> Store {
    let options = DatabaseOptions::at(database.url());
    PostgresStore::new(Database::open(options).await.unwrap())
}

async fn store_with(slow: crate::slow::SlowOptions) -> Option<(TestDatabase, Store)> {
    let database = TestDatabase::create().await.unwrap()?;
    let mut options = DatabaseOptions::at(database.url());
    options.slow = slow;
    let store = PostgresStore::new(Database::open(options).await.unwrap());
    Some((database, store))
}
