//! The schema goes up, down and up again, and processes that start together take turns.

use diesel::migration::MigrationSource;
use diesel_async::{AsyncPgConnection, async_connection_wrapper::AsyncConnectionWrapper};
use diesel_migrations::MigrationHarness as _;

use super::*;
use crate::postgres::database::MIGRATIONS;

const TABLES: &str = "SELECT string_agg(c.relname || ' ' || pg_get_indexdef(i.indexrelid), ';' \
     ORDER BY i.indexrelid::regclass::text) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' \
     AND c.relname NOT LIKE '\\_\\_diesel%'";

#[tokio::test]
async fn the_schema_goes_up_down_and_up_again() {
    let Some((test, store)) = store().await else {
        return;
    };
    insert(&store, new_item(1, "a.jpg")).await;
    drop(store);
    let first = test.psql(TABLES).await.unwrap();
    assert!(first.contains("idx_media_items_created"), "{first}");
    let url = test.url();
    let down_and_up = tokio::task::spawn_blocking(move || {
        use diesel::Connection as _;
        let mut conn = AsyncConnectionWrapper::<AsyncPgConnection>::establish(&url).unwrap();
        conn.revert_all_migrations(MIGRATIONS).unwrap();
        let left = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace \
                    AND relkind IN ('r', 'S', 'i') AND relname NOT LIKE '\\_\\_diesel%'";
        (conn, left)
    });
    let (mut conn, left) = down_and_up.await.unwrap();
    assert_eq!(test.psql(left).await.unwrap(), "0");
    tokio::task::spawn_blocking(move || {
        conn.run_pending_migrations(MIGRATIONS).map(drop).unwrap();
    })
    .await
    .unwrap();
    assert_eq!(test.psql(TABLES).await.unwrap(), first);
    let store = open(&test).await;
    insert(&store, new_item(1, "a.jpg")).await;
}

#[tokio::test]
async fn a_migration_that_comes_after_a_later_one_is_run_too() {
    let Some((test, store)) = store().await else {
        return;
    };
    drop(store);
    let gap =
        "DROP TABLE search_history; DELETE FROM __diesel_schema_migrations WHERE version = '0004'";
    test.psql(gap).await.unwrap();
    drop(open(&test).await);
    let there = "SELECT count(*) FROM pg_class WHERE relname = 'search_history'";
    assert_eq!(test.psql(there).await.unwrap(), "1");
}

#[tokio::test]
async fn processes_that_start_together_migrate_once() {
    let Some(test) = TestDatabase::create().await.unwrap() else {
        return;
    };
    let opens = (0..8).map(|_| {
        let mut options = DatabaseOptions::at(test.url());
        options.min_connections = 1;
        tokio::spawn(Database::open(options))
    });
    for open in futures::future::join_all(opens).await {
        open.unwrap().unwrap();
    }
    let run = "SELECT count(*) FROM __diesel_schema_migrations";
    let known = MigrationSource::<diesel::pg::Pg>::migrations(&MIGRATIONS);
    let known = known.unwrap().len().to_string();
    assert_eq!(test.psql(run).await.unwrap(), known);
}
