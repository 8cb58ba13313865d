//! Ends a process when this one is gone, however it went.

use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result};

/// A shell that waits for the end of its input, which comes when this process ends or lets go of it.
///
/// Dropping it leaves the watched process as it is.
#[derive(Debug)]
pub(crate) struct Watcher {
    shell: Child,
    _input: Option<ChildStdin>,
}

impl Watcher {
    /// Watches over `id`.
    ///
    /// Errors: there is no shell.
    pub(crate) fn over(id: u32) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", &format!("read -r _; kill -9 {id}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start sh")?;
        let input = shell.stdin.take();
        Ok(Self {
            shell,
            _input: input,
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // before its input ends
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
