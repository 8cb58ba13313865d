//! What is over is removed.

use std::time::Duration;

use super::service::Sessions;

/// How often a store that does not answer is asked what it does when it is full.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Sweeps every interval, in one process of all that share the store; runs until it is dropped.
pub(crate) async fn sweep(sessions: Sessions) {
    warn_of_eviction(&sessions).await;
    let interval = sessions.options.sweep_interval();
    loop {
        // processes that were started together do not go on together
        let part = fastrand::f64() * 0.1 + 0.95;
        tokio::time::sleep(interval.mul_f64(part)).await;
        // shorter than the interval, so that it is over when its holder comes again
        match sessions.store.turn_to_sweep(interval.mul_f64(0.9)).await {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                tracing::debug!(?error, "sessions cannot be swept now");
                continue;
            }
        }
        match sessions.sweep(None).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "expired sessions removed"),
            Err(error) => tracing::warn!(%error, "expired sessions could not be removed"),
        }
    }
}

/// Says once if the store would log users out to make room.
async fn warn_of_eviction(sessions: &Sessions) {
    loop {
        match sessions.store.eviction().await {
            Ok(None) => return,
            Ok(Some(policy)) => {
                tracing::warn!(
                    policy,
                    "redis may drop sessions when it is full, and log their users out; with \
                     maxmemory-policy noeviction it would not"
                );
                return;
            }
            // nothing can be swept either
            Err(_) => tokio::time::sleep(ASK_AGAIN).await,
        }
    }
}
