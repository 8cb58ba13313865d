//! The real binary as a process.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    address::Address,
    http::Http,
    process::Process,
    ready::{self, Ready},
};

/// Longest wait for a process to serve. A debug build that imports on two busy cores takes seconds.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for a process to drain and end.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// A command of `binary` that keeps nothing of the test's own environment that could configure it.
pub(crate) fn clean(binary: &Path) -> Command {
    let mut command = Command::new(binary);
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
        .stdin(std::process::Stdio::null());
    command
}

/// How to start `mediamesh up`. Can start again and again on the same data folder.
#[derive(Debug)]
pub struct Launcher {
    binary: PathBuf,
    scratch: TempDir,
    data_dir: PathBuf,
    /// HTTP and gRPC address.
    listen: [String; 2],
    /// The address they are of, if it is known before the start.
    address: Option<Address>,
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
            listen: ["127.0.0.1:0", "127.0.0.1:0"].map(str::to_owned),
            address: None,
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

    /// Serves these addresses, not ports of loopback that the system chooses.
    #[must_use]
    pub fn listen(mut self, http: &str, grpc: &str) -> Self {
        self.listen = [http, grpc].map(str::to_owned);
        self
    }

    /// Serves ports that are known before the process has chosen any; returns those of HTTP and gRPC.
    ///
    /// Errors: no address is free.
    pub fn claim(&mut self) -> Result<[String; 2]> {
        let address = Address::claim()?;
        self.listen = [0, 1].map(|slot| address.port(0, slot).to_string());
        let hosts = format!("[\"{}\"]", address.port(0, 0).ip());
        self.env
            .push(("MEDIAMESH_EDGE__ALLOWED_HOSTS".to_owned(), hosts));
        self.address = Some(address);
        Ok(self.listen.clone())
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

    /// Sets variables of the process's environment, such as those of [`crate::S3::env`].
    #[must_use]
    pub fn envs(self, all: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        all.into_iter()
            .fold(self, |launcher, (name, value)| launcher.env(name, &value))
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
        let mut command = clean(&self.binary);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The command of [`Self::start`], not started.
    #[must_use]
    pub fn up(&self) -> Command {
        let mut command = self.command();
        command.arg("up").arg("--data-dir").arg(&self.data_dir);
        command
            .args([
                "--listen",
                &self.listen[0],
                "--grpc-listen",
                &self.listen[1],
            ])
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
        let mut command = self.up();
        command.arg("--ready-file").arg(&ready_file);
        let process = Process::spawn(command, &log)?;
        Ok(Starting {
            process,
            ready_file,
        })
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
        let waited = ready::wait(&self.ready_file, START_PATIENCE, || {
            self.process.runs().context("before it was ready")
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
        self.process.memory_bytes()
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    ///
    /// Errors: it cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
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
        let status = self
            .process
            .ended(STOP_PATIENCE)
            .await
            .context("after SIGTERM")?;
        Ok((status, self.process.log()))
    }
}
