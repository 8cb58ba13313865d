//! The stream of what happens to entries.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use mediamesh_proto::cache::v1::{Invalidation, WatchInvalidationsResponse};
use mediamesh_telemetry::HealthRegistry;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::timeout,
};
use tonic::Status;

/// How often there is a sign of life; the contract promises a second.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);
/// Changes told at once.
const AT_ONCE: usize = 256;

/// Tells of `changes` until the process goes down: whoever watches must not hold it up.
pub(super) fn stream(
    changes: Receiver<Arc<Invalidation>>,
    health: &HealthRegistry,
) -> BoxStream<'static, Result<WatchInvalidationsResponse, Status>> {
    let mut states = health.subscribe();
    let draining = async move {
        // an error: the process is going down
        let _ = states.wait_for(|state| state.draining).await;
    };
    let first = futures::stream::once(async { Ok(WatchInvalidationsResponse::default()) });
    let rest = futures::stream::unfold(changes, |mut changes| async move {
        let invalidations = next(&mut changes).await?;
        let response = WatchInvalidationsResponse { invalidations };
        Some((Ok(response), changes))
    });
    first.chain(rest).take_until(draining).boxed()
}

/// Waits for what happens next; nothing for a sign of life, `None` at the end.
async fn next(changes: &mut Receiver<Arc<Invalidation>>) -> Option<Vec<Invalidation>> {
    let mut told = match timeout(SIGN_OF_LIFE, changes.recv()).await {
        Err(_) => return Some(Vec::new()),
        Ok(Ok(change)) => vec![Invalidation::clone(&change)],
        Ok(Err(RecvError::Lagged(_))) => vec![everything()],
        Ok(Err(RecvError::Closed)) => return None,
    };
    while told.len() < AT_ONCE
        && let Ok(change) = changes.try_recv()
    {
        told.push(Invalidation::clone(&change));
    }
    Some(told)
}

fn everything() -> Invalidation {
    Invalidation {
        everything: true,
        ..Invalidation::default()
    }
}
