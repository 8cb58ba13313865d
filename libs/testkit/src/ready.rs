//! The file that `mediamesh up --ready-file` writes once it serves.

use std::{io::ErrorKind, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Where a process serves.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ready {
    /// Address of the HTTP interface, `127.0.0.1:port`.
    pub(crate) http: String,
    /// Address of the gRPC interface.
    pub(crate) grpc: String,
    /// Process id.
    pub(crate) pid: u32,
}

/// Waits until the file is there and whole, while `alive` says the process runs.
///
/// Errors: the process ended, or `patience` ran out.
pub(crate) async fn wait(
    path: &Path,
    patience: Duration,
    mut alive: impl FnMut() -> Result<()>,
) -> Result<Ready> {
    let start = tokio::time::Instant::now();
    loop {
        match std::fs::read(path) {
            Ok(bytes) => {
                if let Ok(ready) = serde_json::from_slice(&bytes) {
                    return Ok(ready);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        }
        alive()?;
        if start.elapsed() > patience {
            bail!("not ready after {patience:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
