//! Statements end when nobody waits for them any more.

use std::time::Duration;

use diesel::sql_query;
use diesel_async::RunQueryDsl as _;
use futures::FutureExt as _;
use tempfile::TempDir;

use crate::{Database, DatabaseOptions, Error};

const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

async fn run(database: &Database, statement: &'static str) -> Result<usize, Error> {
    database
        .read("test", move |conn| {
            async move { Ok(sql_query(statement).execute(conn).await?) }.boxed()
        })
        .await
}

#[tokio::test]
async fn a_statement_whose_caller_went_away_gives_its_connection_back() {
    let dir = TempDir::new().unwrap();
    let mut options = DatabaseOptions::at(dir.path().join("test.db"));
    options.readers = 1;
    let database = Database::open(options).await.unwrap();
    for _ in 0..3 {
        // the caller's deadline
        tokio::time::timeout(Duration::from_millis(50), run(&database, ENDLESS))
            .await
            .expect_err("an endless statement does not end by itself");
        // the only reader: this would wait for ever behind a statement that runs on
        run(&database, "SELECT count(*) FROM media_items")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_caller_that_left_stops_nobody_else() {
    let dir = TempDir::new().unwrap();
    let options = DatabaseOptions::at(dir.path().join("test.db"));
    let database = Database::open(options).await.unwrap();
    let counted = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000) \
                   SELECT max(i) FROM n";
    let others: Vec<_> = (0..3)
        .map(|_| {
            let database = database.clone();
            tokio::spawn(async move { run(&database, counted).await })
        })
        .collect();
    for _ in 0..20 {
        let _ = tokio::time::timeout(Duration::from_millis(5), run(&database, ENDLESS)).await;
    }
    for other in others {
        other.await.unwrap().unwrap();
    }
}
