//! A connection beside the pool, for what must not wait for anybody else.

use std::{sync::Arc, time::Duration};

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout};

use super::{Database, Inner, sorted, transaction};
use crate::{
    error::{Error, Result},
    statements,
};

/// Longest that an operation may take, with its connection: several fit into the lease of a job.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something to be done on a connection, more than once if the connection breaks.
pub(crate) type Operation<A, T> =
    for<'c> fn(&'c mut AsyncPgConnection, A) -> BoxFuture<'c, Result<T>>;

/// A connection of its own. It is opened when it is first used and served by the runtime that used it,
/// and opened again after a failure.
pub(crate) struct Apart {
    inner: Arc<Inner>,
    conn: Option<AsyncPgConnection>,
}

impl Database {
    /// A connection beside the pool.
    pub(crate) fn apart(&self) -> Apart {
        Apart {
            inner: Arc::clone(&self.inner),
            conn: None,
        }
    }
}

impl Apart {
    /// Runs an operation that writes, in one transaction.
    ///
    /// Errors: those of the operation; `Unavailable`; `TimedOut`.
    pub(crate) async fn write<A: Clone, T>(
        &mut self,
        name: &'static str,
        about: A,
        operation: Operation<A, T>,
    ) -> Result<T> {
        let start = Instant::now();
        let was_open = self.conn.is_some();
        let mut result = self.attempt(name, about.clone(), operation).await;
        // it may have broken long ago
        if was_open && matches!(result, Err(Error::Unavailable { .. })) {
            result = self.attempt(name, about, operation).await;
        }
        self.inner.observe(name, start);
        result
    }

    async fn attempt<A, T>(
        &mut self,
        name: &'static str,
        about: A,
        operation: Operation<A, T>,
    ) -> Result<T> {
        // taken out: whatever cuts this short closes it
        let (open, inner) = (self.conn.take(), &self.inner);
        let run = async {
            let mut conn = match open {
                Some(conn) => conn,
                None => inner.open_apart().await?,
            };
            let watch = Some(inner.slow.watch(name));
            statements::follow(&mut conn, "postgresql", tracing::Span::current(), watch);
            let result = transaction::run(&mut conn, None, Duration::ZERO, |conn| {
                operation(conn, about)
            })
            .await;
            statements::let_go(&mut conn, "postgresql");
            result.map(|value| (conn, value)).map_err(sorted)
        };
        let (conn, value) = timeout(PATIENCE, run)
            .await
            .map_err(|_| Error::TimedOut)??;
        self.conn = Some(conn);
        Ok(value)
    }
}

impl Inner {
    async fn open_apart(&self) -> Result<AsyncPgConnection> {
        let mut conn = self.connector.open().await?;
        let settings = format!(
            "SET statement_timeout = {}; {}",
            PATIENCE.as_millis(),
            transaction::settings()
        );
        conn.batch_execute(&settings)
            .await
            .map_err(Error::from_diesel)?;
        Ok(conn)
    }
}
