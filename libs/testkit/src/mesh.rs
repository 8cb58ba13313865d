//! The real binary as a process.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    http::Http,
    ready::{self, Ready},
};

/// Longest wait for a process to serve. A debug build that imports on two busy cores takes seconds.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for a process to drain and end.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How to start `mediamesh up`. Can start again and again on the same data folder.
#[derive(Debug)]
pub struct Launcher {
    binary: PathBuf,
    scratch: TempDir,
    data_dir: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    starts: u32,
}

impl Launcher {
    /// A launcher of this binary with a fresh folder that is removed with it.
    ///
    /// Errors: the temporary folder cannot be made.
    pub fn new(binary: impl Into<PathBuf>) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("mediamesh-test-")
            .tempdir()?;
        let data_dir = scratch.path().join("data");
        Ok(Self {
            binary: binary.into(),
            scratch,
            data_dir,
            args: Vec::new(),
            env: Vec::new(),
            starts: 0,
        })
    }

    /// Keeps the data elsewhere than in the folder of its own.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = path.into();
        self
    }

    /// Adds arguments after `up`.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the process's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// A folder for files of the test, removed with the launcher.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Where the process keeps its data.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data_dir
    }

    /// A command of the same binary and environment that keeps nothing of the test's own environment
    /// that could configure it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("MEDIAMESH_"))
            {
                command.env_remove(name);
            }
        }
        command
            .env("NO_COLOR", "1")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// The command of [`Self::start`], not started: ports chosen by the system, on loopback.
    #[must_use]
    pub fn up(&self) -> Command {
        let mut command = self.command();
        command.arg("up").arg("--data-dir").arg(&self.data_dir);
        command
            .args(["--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
            .args(&self.args);
        command
    }

    /// Starts the process and waits until it serves.
    ///
    /// Errors: it ended or is not ready in time; the message has its log.
    pub async fn start(&mut self) -> Result<Mesh> {
        let mesh = self.spawn()?;
        mesh.ready().await
    }

    /// Starts the process without waiting.
    ///
    /// Errors: the binary or the log file cannot be opened.
    pub fn spawn(&mut self) -> Result<Starting> {
        self.starts += 1;
        let ready_file = self
            .scratch
            .path()
            .join(format!("ready-{}.json", self.starts));
        let log = self.scratch.path().join(format!("log-{}.txt", self.starts));
        let out = File::create(&log)?;
        let mut command = self.up();
        command
            .arg("--ready-file")
            .arg(&ready_file)
            .stdout(out.try_clone()?)
            .stderr(out);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        Ok(Starting {
            process: Process { child, log },
            ready_file,
        })
    }
}

/// A child that dies with its owner.
#[derive(Debug)]
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?).context("process id 0")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that does not serve yet.
#[derive(Debug)]
pub struct Starting {
    process: Process,
    ready_file: PathBuf,
}

impl Starting {
    /// Waits until it serves.
    ///
    /// Errors: it ended or is not ready in time; the message has its log.
    pub async fn ready(mut self) -> Result<Mesh> {
        let child = &mut self.process.child;
        let waited = ready::wait(&self.ready_file, START_PATIENCE, || {
            match child.try_wait()? {
                Some(status) => bail!("ended with {status} before it was ready"),
                None => Ok(()),
            }
        })
        .await;
        match waited {
            Ok(ready) => Ok(Mesh {
                http: Http::new(&ready.http)?,
                ready,
                process: self.process,
            }),
            Err(error) => Err(error.context(format!("log:\n{}", self.process.log()))),
        }
    }
}

/// A process that serves. Dropping it kills it.
#[derive(Debug)]
pub struct Mesh {
    http: Http,
    ready: Ready,
    process: Process,
}

impl Mesh {
    /// Client of its HTTP interface.
    #[must_use]
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// URI of its gRPC interface.
    #[must_use]
    pub fn grpc_uri(&self) -> String {
        format!("http://{}", self.ready.grpc)
    }

    /// `host:port` of its HTTP interface.
    #[must_use]
    pub fn http_address(&self) -> &str {
        &self.ready.http
    }

    /// Id it gave itself.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.ready.pid
    }

    /// Everything it printed so far, both streams.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Memory in use and its peak so far, in bytes: VmRSS and VmHWM.
    ///
    /// Errors: no such numbers, as on a system without /proc.
    pub fn memory_bytes(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.child.id()))?;
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

    /// Kills it at once (SIGKILL) and waits until it is gone.
    ///
    /// Errors: it cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.process.child.kill()?;
        self.process.child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM without waiting.
    ///
    /// Errors: it is gone already.
    pub fn terminate(&self) -> Result<()> {
        self.process.signal(Signal::TERM)
    }

    /// Asks it to end (SIGTERM) and waits; returns how it ended and its log.
    ///
    /// Errors: it did not end in time.
    pub async fn stop(mut self) -> Result<(ExitStatus, String)> {
        self.terminate()?;
        let start = tokio::time::Instant::now();
        loop {
            if let Some(status) = self.process.child.try_wait()? {
                return Ok((status, self.process.log()));
            }
            if start.elapsed() > STOP_PATIENCE {
                bail!(
                    "did not end within {STOP_PATIENCE:?} of SIGTERM; log:\n{}",
                    self.process.log()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
