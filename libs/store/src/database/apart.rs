//! The counterpart of a connection beside the pool: there is one writer, so there is none.

use futures::future::BoxFuture;

use super::{Connection, Database};
use crate::error::Result;

/// Something to be done on a connection.
pub(crate) type Operation<A, T> = for<'c> fn(&'c mut Connection, A) -> BoxFuture<'c, Result<T>>;

/// Writes like any other.
pub(crate) struct Apart(Database);

impl Database {
    /// The writer, which is everybody's.
    pub(crate) fn apart(&self) -> Apart {
        Apart(self.clone())
    }
}

impl Apart {
    /// Runs an operation that writes, in one transaction.
    ///
    /// Errors: those of the operation; `PoolExhausted`.
    pub(crate) async fn write<A: Send + 'static, T: Send + 'static>(
        &mut self,
        name: &'static str,
        about: A,
        operation: Operation<A, T>,
    ) -> Result<T> {
        self.0.write(name, move |conn| operation(conn, about)).await
    }
}
