//! Partitions of the request log: one for each month (UTC), made ahead and taken out as a whole.

use diesel::{
    QueryableByName, sql_query,
    sql_types::{Bool, Text},
};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};

use super::Connection;
use crate::error::Result;

/// Advisory lock of whoever makes or takes partitions: two at once would both make one.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('mediamesh request_log', 0))";

/// Whether those of last month, this one and the next two are there. Clocks of edges may be behind, and
/// the database may be away at the turn of the month.
const ARE_THERE: &str = "SELECT bool_and(to_regclass('request_log_' || to_char(\
     date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i), 'YYYYMM')) \
     IS NOT NULL) AS there FROM generate_series(-1, 2) i";

const MAKE: &str = "DO $$ DECLARE first timestamp; name text; BEGIN FOR i IN -1..2 LOOP \
     first := date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => i); \
     name := 'request_log_' || to_char(first, 'YYYYMM'); \
     IF to_regclass(name) IS NULL THEN EXECUTE format(\
     'CREATE TABLE %I PARTITION OF request_log FOR VALUES FROM (%s) TO (%s)', name, \
     (extract(epoch FROM first) * 1000000)::bigint, \
     (extract(epoch FROM first + interval '1 month') * 1000000)::bigint); \
     END IF; END LOOP; END $$";

#[derive(QueryableByName)]
struct There {
    #[diesel(sql_type = Bool)]
    there: bool,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Makes the partitions that are missing.
pub(super) async fn make_log_partitions(conn: &mut Connection) -> Result<()> {
    let found: There = sql_query(ARE_THERE).get_result(conn).await?;
    if !found.there {
        conn.batch_execute(LOCK).await?;
        conn.batch_execute(MAKE).await?;
    }
    Ok(())
}

/// Drops the partitions that end before `before`, or detaches them; answers their names.
pub(super) async fn take_log_partitions(
    conn: &mut Connection,
    before: i64,
    archive: bool,
) -> Result<Vec<String>> {
    conn.batch_execute(LOCK).await?;
    // the names are ours: a month is all that varies
    let ended = format!(
        "SELECT c.relname::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'request_log'::regclass AND c.relname ~ '^request_log_[0-9]{{6}}$' \
         AND extract(epoch FROM to_date(right(c.relname, 6), 'YYYYMM')::timestamp \
         + interval '1 month') * 1000000 <= {before} ORDER BY 1"
    );
    let names: Vec<Name> = sql_query(ended).load(conn).await?;
    for Name { name } in &names {
        conn.batch_execute(&match archive {
            true => format!("ALTER TABLE request_log DETACH PARTITION {name}"),
            false => format!("DROP TABLE {name}"),
        })
        .await?;
    }
    Ok(names.into_iter().map(|row| row.name).collect())
}
