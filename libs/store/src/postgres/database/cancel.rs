//! The end of a statement whose caller has gone.
//!
//! PostgreSQL is told so by a connection of its own, and the signal that it then sends to the one that
//! works may come late, when that is at somebody else's statement. So a connection is not used again
//! once it was told to stop: a new one costs milliseconds.

use std::{panic::AssertUnwindSafe, time::Duration};

use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Object};
use futures::{FutureExt as _, future::BoxFuture};
use scopeguard::ScopeGuard;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use super::{super::tls::Connector, joined};
use crate::{error::Result, slow::Watch, statements};

/// Longest that telling the server may take; the statement then ends with its connection, or by the
/// server's own time-out.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs `operation`, begun at `start`, in its caller's task: the way over another and back was a part of
/// each statement.
///
/// Errors: those of the operation; a panic in it is a bug that stays contained.
/// Cancel: at any point; the server and `watch` are told, and the connection is not used again.
pub(super) async fn unless_gone<T>(
    conn: Object<AsyncPgConnection>,
    operation: impl for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>>,
    start: Instant,
    watch: Watch,
    connector: Connector,
) -> Result<T> {
    let mut conn = scopeguard::guard(conn, |conn| {
        watch.gone(start);
        // without a runtime the process ends, and the connection with it
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(stop(conn, connector))),
            Err(_) => drop(Object::take(conn)),
        }
    });
    let result = AssertUnwindSafe(operation(&mut conn)).catch_unwind().await;
    // a panic may have left it amid a statement
    if result.is_ok() {
        let mut conn = ScopeGuard::into_inner(conn);
        statements::let_go(&mut *conn, "postgresql");
    }
    joined(result)
}

/// Tells the server to stop; until then the connection has its place in the pool.
async fn stop(conn: Object<AsyncPgConnection>, connector: Connector) {
    let token = conn.cancel_token();
    match timeout(PATIENCE, connector.cancel(token)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot cancel a statement nobody waits for"),
        Err(_) => tracing::warn!("the server takes no word about a statement nobody waits for"),
    }
    drop(Object::take(conn));
}
