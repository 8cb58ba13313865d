//! What is over is removed.

use super::service::Sessions;

/// Sweeps every interval, in one process of all that share the store; runs until it is dropped.
pub(crate) async fn sweep(sessions: Sessions) {
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
