//! How long a search waits for what it can do without.

use std::time::Duration;

use mediamesh_mesh::{Deadline, deadline};

/// Runs a call with so much of the search's time.
pub(crate) async fn within<T>(limit: Duration, call: impl Future<Output = T>) -> T {
    let limit = Deadline::after(limit);
    let limit = Deadline::current().map_or(limit, |whole| whole.min(limit));
    deadline::scope(limit, call).await
}

/// Returns `limit`, or half of the time that the search has left if that is less: the other half is for an
/// answer without.
pub(crate) fn at_most(limit: Duration) -> Duration {
    Deadline::current().map_or(limit, |whole| limit.min(whole.remaining() / 2))
}
