//! Asks a server where it is in the log, on a connection of its own: one of a pool may be long in coming
//! where many are in use, which says nothing about the server.

use diesel::{
    QueryableByName, sql_query,
    sql_types::{BigInt, Bool, Nullable},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::super::database::Database;
use crate::error::{Error, Result};

/// Where all lies that was written, flushed or not: with `synchronous_commit = off` that is seen before
/// it is flushed.
const WRITTEN: &str =
    "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS number";
/// How far a replica is; of any other server null.
const APPLIED: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN \
     pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END AS number";
/// Which cluster the server is of: a standby has it from its primary. Null of a server that has no such
/// function, or does not let this user ask it.
const MAY_TELL: &str = "SELECT COALESCE(has_function_privilege(\
     to_regprocedure('pg_control_system()'), 'EXECUTE'), false) AS may";
const CLUSTER: &str = "SELECT system_identifier AS number FROM pg_control_system()";
/// Length of a page of the log, and of the two headers that a page may have.
const PAGE: u64 = 8192;
const HEADERS: [u64; 2] = [24, 40];

/// Which server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Primary,
    Replica,
}

/// Asks one server.
pub(super) struct Probe {
    db: Database,
    side: Side,
    conn: Option<AsyncPgConnection>,
    cluster: Option<i64>,
}

#[derive(QueryableByName)]
struct MayRow {
    #[diesel(sql_type = Bool)]
    may: bool,
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
}

impl Probe {
    pub(super) fn new(db: Database, side: Side) -> Self {
        Self {
            db,
            side,
            conn: None,
            cluster: None,
        }
    }

    /// Where the server is, in bytes.
    ///
    /// Errors: it does not answer, or is not what it should be; then [`Self::reset`].
    pub(super) async fn ask(&mut self) -> Result<u64> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => {
                let mut conn = self.db.dedicated().await?;
                self.cluster = cluster(&mut conn).await?;
                none.insert(conn)
            }
        };
        let ask = match self.side {
            Side::Primary => WRITTEN,
            Side::Replica => APPLIED,
        };
        let row: NumberRow = sql_query(ask)
            .get_result(conn)
            .await
            .map_err(Error::from_diesel)?;
        let position = row.number.and_then(|position| u64::try_from(position).ok());
        let position = position.ok_or_else(|| Error::Unavailable {
            message: "it is no replica, or was promoted".to_owned(),
        })?;
        Ok(match self.side {
            Side::Primary => end_of_records(position),
            Side::Replica => position,
        })
    }

    /// Which cluster it was of when it last answered; `None` if it does not tell.
    pub(super) fn cluster(&self) -> Option<i64> {
        self.cluster
    }

    /// Lets go of the connection, which may be amid an answer.
    pub(super) fn reset(&mut self) {
        self.conn = None;
    }
}

async fn cluster(conn: &mut AsyncPgConnection) -> Result<Option<i64>> {
    let row: MayRow = sql_query(MAY_TELL)
        .get_result(conn)
        .await
        .map_err(Error::from_diesel)?;
    if !row.may {
        return Ok(None);
    }
    let row: NumberRow = sql_query(CLUSTER)
        .get_result(conn)
        .await
        .map_err(Error::from_diesel)?;
    Ok(row.number)
}

/// Where the last record ends, for where the next begins: behind the header of a page that has no record
/// yet, which a replica never reaches.
fn end_of_records(next: u64) -> u64 {
    match next % PAGE {
        header if HEADERS.contains(&header) => next - header,
        _ => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_empty_pages_are_no_records() {
        assert_eq!(end_of_records(0x0300_0028), 0x0300_0000);
        assert_eq!(end_of_records(0x0300_2018), 0x0300_2000);
        assert_eq!(end_of_records(0x0300_2030), 0x0300_2030);
        assert_eq!(end_of_records(0x0300_2000), 0x0300_2000);
    }
}
