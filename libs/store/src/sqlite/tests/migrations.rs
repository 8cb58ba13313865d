//! The schema goes up, down and up again.

use diesel::{
    Connection as _, QueryableByName, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _, sql_query, sql_types::Text,
};
use diesel_migrations::MigrationHarness as _;

use super::*;
use crate::database::MIGRATIONS;

#[derive(QueryableByName)]
struct Made {
    #[diesel(sql_type = Text)]
    what: String,
}

/// Everything in the schema but the list of migrations.
fn schema(conn: &mut SqliteConnection) -> Vec<String> {
    let made = sql_query(
        "SELECT type || ' ' || name || ' ' || coalesce(sql, '') AS what FROM sqlite_master \
         WHERE tbl_name NOT LIKE '\\_\\_diesel%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         ORDER BY type, name",
    );
    let made: Vec<Made> = made.load(conn).unwrap();
    made.into_iter().map(|made| made.what).collect()
}

#[tokio::test]
async fn the_schema_goes_up_down_and_up_again() {
    let (dir, store) = store().await.unwrap();
    let item = insert(&store, new_item(1, "a.jpg")).await;
    finish(&store, &item, processed(4, 3)).await;
    drop(store);
    let path = dir.path().join("test.db").to_string_lossy().into_owned();
    let down_and_up = tokio::task::spawn_blocking(move || {
        let mut conn = SqliteConnection::establish(&path).unwrap();
        // as the store itself does when it opens the file
        conn.batch_execute("PRAGMA busy_timeout = 5000").unwrap();
        let first = schema(&mut conn);
        assert!(first.iter().any(|made| made.contains("media_items")));
        conn.revert_all_migrations(MIGRATIONS).unwrap();
        assert_eq!(schema(&mut conn), Vec::<String>::new());
        conn.run_pending_migrations(MIGRATIONS).map(drop).unwrap();
        assert_eq!(schema(&mut conn), first);
    });
    down_and_up.await.unwrap();
    let store = open(&dir).await;
    insert(&store, new_item(1, "a.jpg")).await;
}
