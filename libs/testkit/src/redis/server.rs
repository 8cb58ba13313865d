//! One Redis server.

use std::{
    fs::{self, File},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{address::Address, process::Process, watcher::Watcher};

/// Longest wait for it to answer; it takes 30 ms.
const START_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Files of a server that speaks TLS only.
#[derive(Debug, Clone)]
pub struct RedisTls {
    /// Its certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Who signed it, PEM.
    pub authority: PathBuf,
}

/// A Redis server that keeps nothing on disk. Dropping it kills it; it does not outlive this process.
#[derive(Debug)]
pub struct Redis {
    node: Node,
    _scratch: TempDir,
    _address: Address,
}

impl Redis {
    /// Starts one on a loopback address of its own and waits until it answers.
    ///
    /// Errors: it does not start; the message has its log.
    pub async fn start(programs: &Path) -> Result<Self> {
        Self::start_with(programs, None, &[]).await
    }

    /// Starts one with further arguments, and with TLS if there are files for the address it gets.
    ///
    /// Errors: it does not start; the message has its log.
    pub async fn start_with(
        programs: &Path,
        tls: Option<&(dyn Fn(IpAddr) -> RedisTls + Sync)>,
        arguments: &[&str],
    ) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("mediamesh-redis-")
            .tempdir()?;
        let address = Address::claim()?;
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let mut node = Node::new(
            programs,
            address.port(0, 0),
            tls.map(|files| files(address.port(0, 0).ip())),
            arguments,
            scratch.path().join("redis"),
        )?;
        node.start().await?;
        Ok(Self {
            node,
            _scratch: scratch,
            _address: address,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.node.address
    }

    /// The environment of a process whose cache is here.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 1] {
        [(
            "MEDIAMESH_CACHE__REDIS__URLS",
            format!("[\"{}\"]", self.url()),
        )]
    }

    /// Where it listens, as clients are told.
    #[must_use]
    pub fn url(&self) -> String {
        self.node.url()
    }

    /// Runs a command with `redis-cli` and answers what it prints.
    ///
    /// Errors: it cannot be run, or Redis answers with an error.
    /// Blocking: as long as the command takes.
    pub fn command(&self, arguments: &[&str]) -> Result<String> {
        self.node.command(arguments)
    }

    /// Stops it where it is (SIGSTOP): connections stay, nothing is answered.
    ///
    /// Errors: it is gone.
    pub fn pause(&self) -> Result<()> {
        self.node.process()?.pause()
    }

    /// Lets it go on (SIGCONT).
    ///
    /// Errors: it is gone.
    pub fn resume(&self) -> Result<()> {
        self.node.process()?.signal(Signal::CONT)
    }

    /// Kills it (SIGKILL), and all it held with it.
    ///
    /// Errors: it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.node.kill()
    }

    /// Starts it again where it was, empty.
    ///
    /// Errors: it does not start; the message has its log.
    pub async fn restart(&mut self) -> Result<()> {
        self.node.start().await
    }
}

/// A server process, running or not.
#[derive(Debug)]
pub(super) struct Node {
    // before the process: it must not kill what took its number since
    watcher: Option<Watcher>,
    process: Option<Process>,
    pub(super) address: SocketAddr,
    tls: Option<RedisTls>,
    arguments: Vec<String>,
    programs: PathBuf,
    folder: PathBuf,
}

impl Node {
    pub(super) fn new(
        programs: &Path,
        address: SocketAddr,
        tls: Option<RedisTls>,
        arguments: Vec<String>,
        folder: PathBuf,
    ) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self {
            watcher: None,
            process: None,
            address,
            tls,
            arguments,
            programs: programs.to_owned(),
            folder,
        })
    }

    /// Where it listens, as clients are told.
    pub(super) fn url(&self) -> String {
        let scheme = self.tls.as_ref().map_or("redis", |_| "rediss");
        format!("{scheme}://{}", self.address)
    }

    pub(super) fn spawn(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.address);
        let mut command = Command::new(self.programs.join("redis-server"));
        command
            .args(["--bind", &self.address.ip().to_string()])
            // nodes of a cluster know each other by where their connections come from
            .args(["--bind-source-addr", &self.address.ip().to_string()])
            .args(["--cluster-announce-ip", &self.address.ip().to_string()])
            .args(["--dir", &self.folder.to_string_lossy()])
            .args(["--save", "", "--appendonly", "no"])
            // nobody else reaches a loopback address of the test's own
            .args(["--protected-mode", "no"]);
        let port = self.address.port().to_string();
        match &self.tls {
            None => command.args(["--port", &port]),
            Some(tls) => command
                .args(["--port", "0", "--tls-port", &port])
                .args(["--tls-auth-clients", "no"])
                .arg("--tls-cert-file")
                .arg(&tls.certificate)
                .arg("--tls-key-file")
                .arg(&tls.key)
                .arg("--tls-ca-cert-file")
                .arg(&tls.authority),
        };
        command.args(&self.arguments);
        let log = self.folder.join("redis.log");
        // what an earlier life of it said helps nobody
        File::create(&log)?;
        let process = Process::spawn(command, &log)?;
        self.watcher = Some(Watcher::over(process.id())?);
        self.process = Some(process);
        Ok(())
    }

    pub(super) async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.answers().await
    }

    /// Waits until it answers.
    pub(super) async fn answers(&mut self) -> Result<()> {
        let start = Instant::now();
        while self
            .command(&["ping"])
            .map_or(true, |answer| answer != "PONG")
        {
            let process = self.process.as_mut().context("not started")?;
            let log = process.log();
            process
                .runs()
                .with_context(|| format!("redis ended; log:\n{log}"))?;
            if start.elapsed() > START_PATIENCE {
                bail!("redis does not answer; log:\n{log}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    pub(super) fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("redis does not run")
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        self.watcher = None;
        let mut process = self.process.take().context("redis does not run")?;
        process.kill()
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.cli();
        command.args(arguments);
        let output = command.output().context("cannot run redis-cli")?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(
            output.status.success() && !text.starts_with("ERR ") && !text.starts_with("(error)"),
            "redis-cli {arguments:?}: {text} {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(text)
    }

    fn cli(&self) -> Command {
        let mut command = Command::new(self.programs.join("redis-cli"));
        command
            .args(["-h", &self.address.ip().to_string()])
            .args(["-p", &self.address.port().to_string()]);
        if let Some(tls) = &self.tls {
            command.arg("--tls").arg("--cacert").arg(&tls.authority);
        }
        command
    }
}
