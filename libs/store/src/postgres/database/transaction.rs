//! Transactions that write, and how long they may take.
//!
//! A process can be stopped amid a transaction, with everybody else's lock in its hands. So the server
//! gives up a transaction whose process is silent, whoever waits for a lock waits for a short time, and
//! no statement works for longer than the caller of its transaction waits.

use std::time::Duration;

use diesel::result::Error as Diesel;
use diesel_async::{
    AnsiTransactionManager as Transactions, AsyncPgConnection, TransactionManager as _,
};
use futures::future::BoxFuture;

use crate::error::{Error, Result};

/// Longest that a transaction may be silent: between two of its statements lie microseconds, and a
/// process that is merely slow answers well within this.
const SILENCE: Duration = Duration::from_secs(5);
/// Longest that a statement waits for a lock: twice what its holder may be silent, and far less than
/// uploads may take.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Longest time-out that the server takes is some weeks.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings of every connection that writes.
pub(super) fn settings() -> String {
    format!(
        "SET idle_in_transaction_session_timeout = {}; SET lock_timeout = {};",
        SILENCE.as_millis(),
        LOCK_PATIENCE.as_millis(),
    )
}

/// How a transaction begins whose caller has so much time `left`; all of it is one message to the server.
fn begin(left: Option<Duration>, statement_timeout: Duration) -> String {
    let Some(left) = left else {
        return "BEGIN".to_owned();
    };
    // a little earlier, so that the caller still hears what it was that it waited for
    let lock = LOCK_PATIENCE.min(left - left / 10);
    // zero is no limit
    let statement = match statement_timeout.is_zero() {
        true => left.min(LONGEST),
        false => left.min(statement_timeout),
    };
    format!(
        "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {}",
        lock.as_millis().max(1),
        statement.as_millis().max(1),
    )
}

/// Runs `operation` in a transaction, which is undone if it fails.
///
/// Errors: those of the operation; `TimedOut` if there is no time left; those of the transaction.
pub(super) async fn run<T>(
    conn: &mut AsyncPgConnection,
    left: Option<Duration>,
    statement_timeout: Duration,
    operation: impl for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>>,
) -> Result<T> {
    if left.is_some_and(|left| left.is_zero()) {
        return Err(Error::TimedOut);
    }
    Transactions::begin_transaction_sql(conn, &begin(left, statement_timeout)).await?;
    match operation(conn).await {
        Ok(value) => {
            Transactions::commit_transaction(conn).await?;
            Ok(value)
        }
        Err(error) => match Transactions::rollback_transaction(conn).await {
            // what broke it is what the operation tells
            Ok(()) | Err(Diesel::BrokenTransactionManager) => Err(error),
            Err(rollback) => Err(rollback.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_the_time_of_its_caller_and_no_more_than_the_server_allows() {
        let minute = Duration::from_secs(60);
        let begun = |millis| begin(Some(Duration::from_millis(millis)), minute);
        let of = |lock: u32, statement: u32| {
            format!(
                "BEGIN; SET LOCAL lock_timeout = {lock}; SET LOCAL statement_timeout = {statement}"
            )
        };
        assert_eq!(begun(1_000), of(900, 1_000));
        assert_eq!(begun(100_000), of(10_000, 60_000));
        assert_eq!(begin(Some(Duration::MAX), minute), of(10_000, 60_000));
        assert_eq!(begin(Some(Duration::from_nanos(1)), minute), of(1, 1));
        assert_eq!(begin(Some(minute), Duration::ZERO), of(10_000, 60_000));
        assert_eq!(begin(None, minute), "BEGIN");
    }
}
