//! The end of a statement whose caller has gone.
//!
//! PostgreSQL is told so by a connection of its own, and the signal that it then sends to the one that
//! works may come late, when that is at somebody else's statement. So a connection is not used again
//! once it was told to stop: a new one costs milliseconds.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Object};
use futures::future::BoxFuture;
use tokio::{sync::oneshot, time::timeout};

use super::super::tls::Connector;
use crate::error::{Error, Result};

/// Longest that telling the server may take; the statement then ends with its connection, or by the
/// server's own time-out.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs `operation` until it is done, or until its caller has gone; then it is cancelled and the
/// connection closed.
///
/// Errors: those of the operation; `TimedOut` to a caller that is no more.
pub(super) async fn unless_gone<T>(
    mut conn: Object<AsyncPgConnection>,
    operation: impl for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>>,
    gone: oneshot::Receiver<()>,
    connector: &Connector,
) -> (Option<Object<AsyncPgConnection>>, Result<T>) {
    let token = conn.cancel_token();
    let done = tokio::select! {
        biased;
        result = operation(&mut conn) => Some(result),
        _ = gone => None,
    };
    if let Some(result) = done {
        return (Some(conn), result);
    }
    match timeout(PATIENCE, connector.cancel(token)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot cancel a statement nobody waits for"),
        Err(_) => tracing::warn!("the server takes no word about a statement nobody waits for"),
    }
    drop(Object::take(conn));
    (None, Err(Error::TimedOut))
}
