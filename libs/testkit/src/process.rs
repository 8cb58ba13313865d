//! A child process that dies with its owner.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Longest that the threads of a process take to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How often the end of a process is looked for.
const POLL: Duration = Duration::from_millis(20);

/// A running child whose output goes to a file.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; both its streams are appended to `log`.
    ///
    /// Errors: the program or the log file cannot be opened.
    pub(crate) fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Sends a signal without waiting for what it does.
    ///
    /// Errors: the process is gone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?).context("process id 0")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?}"))
    }

    /// Stops it where it is (SIGSTOP) and waits until every thread has: a signal takes its time.
    ///
    /// Errors: the process is gone, or goes on. Blocking: well under a millisecond.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let start = tokio::time::Instant::now();
        while !self.is_stopped()? {
            if start.elapsed() > STOP_PATIENCE {
                bail!("goes on {STOP_PATIENCE:?} after SIGSTOP");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Whether every thread is stopped; taken for granted on a system without /proc.
    fn is_stopped(&self) -> Result<bool> {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.child.id())) else {
            return Ok(true);
        };
        for thread in threads {
            // a thread that has ended since does not run either
            let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else {
                continue;
            };
            // the state follows the name, which is in brackets and may hold anything
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            if state != Some('T') {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fails if the process has ended, and says how.
    pub(crate) fn runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("ended with {status}"),
            None => Ok(()),
        }
    }

    /// Kills it at once (SIGKILL) and waits until it is gone; a stopped process too.
    ///
    /// Errors: it cannot be killed.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended by itself.
    ///
    /// Errors: `patience` ran out; the message has its log.
    pub(crate) async fn ended(&mut self, patience: Duration) -> Result<ExitStatus> {
        let start = tokio::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > patience {
                bail!("did not end within {patience:?}; log:\n{}", self.log());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Memory in use and its peak so far, in bytes: VmRSS and VmHWM.
    ///
    /// Errors: no such numbers, as on a system without /proc.
    pub(crate) fn memory_bytes(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<u64> {
            let line = status
                .lines()
                .find(|line| line.starts_with(name))
                .with_context(|| format!("no {name}"))?;
            Ok(line
                .split_whitespace()
                .nth(1)
                .context("no number")?
                .parse::<u64>()?
                * 1024)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
