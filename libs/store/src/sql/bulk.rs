//! Many rows in one statement. diesel writes a list of rows to SQLite one by one, so both databases get
//! theirs from here.

use diesel_async::RunQueryDsl as _;

use super::{
    Connection,
    filter::{Bind, Sql},
};
use crate::error::Result;

/// Most values that one statement binds: SQLite takes 32,766, PostgreSQL 65,535.
const MAX_BINDS: usize = 30_000;

/// Inserts rows, of one length each; `into` is a table with its columns, `then` what follows the values.
/// Answers how many rows were written.
pub(super) async fn insert(
    conn: &mut Connection,
    into: &str,
    rows: Vec<Vec<Bind>>,
    then: &str,
) -> Result<usize> {
    let columns = rows.iter().map(Vec::len).next().unwrap_or(1).max(1);
    let marks = format!("({})", vec!["?"; columns].join(", "));
    let (mut rows, mut written) = (rows.into_iter().peekable(), 0);
    while rows.peek().is_some() {
        let mut sql = Sql::new(&format!("INSERT INTO {into} VALUES ")).once();
        for (place, row) in rows.by_ref().take(MAX_BINDS / columns).enumerate() {
            debug_assert_eq!(row.len(), columns);
            if place > 0 {
                sql.push(", ", []);
            }
            sql.push(&marks, row);
        }
        sql.push(then, []);
        written += sql.execute(conn).await?;
    }
    Ok(written)
}
