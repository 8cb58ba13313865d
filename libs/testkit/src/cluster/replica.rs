//! One process of a cluster.

use std::{ffi::OsString, fs, net::SocketAddr, path::PathBuf, process::ExitStatus};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::{
    Http, Proxy,
    mesh::{START_PATIENCE, STOP_PATIENCE, clean},
    process::Process,
    ready,
};

/// How a process is started; the same each time.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) binary: PathBuf,
    pub(super) services: Vec<String>,
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) data_dir: PathBuf,
    pub(super) log: PathBuf,
    pub(super) ready_file: PathBuf,
    pub(super) env: Vec<(String, String)>,
    pub(super) args: Vec<OsString>,
    /// Other services and where they are, `search=http://a:1,http://b:1`.
    pub(super) peers: Vec<String>,
}

/// One process of a cluster, running or not.
#[derive(Debug)]
pub struct Replica {
    spec: Spec,
    client: Http,
    proxy: Option<Proxy>,
    process: Option<Process>,
}

impl Replica {
    pub(super) fn new(spec: Spec, proxy: Option<Proxy>) -> Result<Self> {
        Ok(Self {
            client: Http::new(&spec.http.to_string())?,
            spec,
            proxy,
            process: None,
        })
    }

    /// Notes where the services that are not its own are.
    pub(super) fn meet(&mut self, known: &[(Vec<String>, String)]) {
        let mut peers: Vec<(&str, Vec<&str>)> = Vec::new();
        for (services, uri) in known {
            let others = services
                .iter()
                // edge and worker have no gRPC service of their own
                .filter(|name| !["edge", "worker"].contains(&name.as_str()))
                .filter(|name| !self.spec.services.contains(name));
            for name in others {
                match peers.iter_mut().find(|(known, _)| known == name) {
                    Some((_, uris)) => uris.push(uri),
                    None => peers.push((name, vec![uri])),
                }
            }
        }
        self.spec.peers = peers
            .into_iter()
            .map(|(name, uris)| format!("{name}={}", uris.join(",")))
            .collect();
    }

    /// Starts it without waiting.
    ///
    /// Errors: it runs already, or the binary or the log file cannot be opened.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.spec.name);
        // that of the run before says nothing of this one
        match fs::remove_file(&self.spec.ready_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let spec = &self.spec;
        let mut command = clean(&spec.binary);
        command.arg("serve").args(&spec.services);
        command.arg("--data-dir").arg(&spec.data_dir);
        command.args(["--grpc-listen", &spec.grpc.to_string()]);
        command.args(["--listen", &spec.http.to_string()]);
        command.arg("--ready-file").arg(&spec.ready_file);
        for peer in &spec.peers {
            command.args(["--peer", peer]);
        }
        command.args(&spec.args);
        let hosts = format!("[\"{}\"]", spec.http.ip());
        command.env("MEDIAMESH_EDGE__ALLOWED_HOSTS", hosts);
        command.envs(spec.env.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::spawn(command, &spec.log)?);
        Ok(())
    }

    /// Waits until it serves.
    ///
    /// Errors: it does not run, ended, or is not ready in time; the message has its log.
    pub async fn ready(&mut self) -> Result<()> {
        let name = &self.spec.name;
        let process = self
            .process
            .as_mut()
            .with_context(|| format!("{name} does not run"))?;
        let waited = ready::wait(&self.spec.ready_file, START_PATIENCE, || process.runs()).await;
        waited.with_context(|| format!("{name} does not serve; log:\n{}", process.log()))?;
        Ok(())
    }

    /// Starts it and waits until it serves, on the ports it always has.
    ///
    /// Errors: as [`Self::spawn`] and [`Self::ready`].
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    ///
    /// Errors: it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.running()?;
        let mut process = self.process.take().context("it runs")?;
        process.kill()
    }

    /// Stops it where it is (SIGSTOP), every thread of it: its ports accept, nothing answers.
    ///
    /// Errors: it does not run, or does not stop.
    pub fn pause(&self) -> Result<()> {
        self.running()?.pause()
    }

    /// Lets it go on after [`Self::pause`] (SIGCONT).
    ///
    /// Errors: it does not run.
    pub fn resume(&self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// Asks it to end (SIGTERM) without waiting.
    ///
    /// Errors: it does not run.
    pub fn terminate(&self) -> Result<()> {
        self.running()?.signal(Signal::TERM)
    }

    /// Waits until it has ended, after [`Self::terminate`]; returns how, and the log of all its runs.
    ///
    /// Errors: it did not end in time; the message has its log.
    pub async fn ended(&mut self) -> Result<(ExitStatus, String)> {
        self.running()?;
        let process = self.process.as_mut().context("it runs")?;
        let status = process.ended(STOP_PATIENCE).await?;
        self.process = None;
        Ok((status, self.log()))
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// Errors: as [`Self::terminate`] and [`Self::ended`].
    pub async fn stop(&mut self) -> Result<(ExitStatus, String)> {
        self.terminate()?;
        self.ended().await
    }

    fn running(&self) -> Result<&Process> {
        self.process
            .as_ref()
            .with_context(|| format!("{} does not run", self.spec.name))
    }

    /// Whether it was started and not killed or stopped since.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// `search-0`, or `media+search-0` if it has two services.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its services.
    #[must_use]
    pub fn services(&self) -> &[String] {
        &self.spec.services
    }

    /// Client of its HTTP interface: the edge's, or else metrics, health and admin pages.
    #[must_use]
    pub fn http(&self) -> &Http {
        &self.client
    }

    /// Where its HTTP interface is.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.spec.http
    }

    /// Where its gRPC interface is, past any proxy.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.spec.grpc
    }

    /// Where its peers look for it: the proxy's URI, if it has one.
    #[must_use]
    pub fn uri(&self) -> String {
        let address = self.proxy.as_ref().map_or(self.spec.grpc, Proxy::address);
        let tls = |(name, _): &(String, String)| name == "MEDIAMESH_MESH__TLS__CERT";
        match self.spec.env.iter().any(tls) {
            true => format!("https://{address}"),
            false => format!("http://{address}"),
        }
    }

    /// The proxy in front of its gRPC interface.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> &std::path::Path {
        &self.spec.data_dir
    }

    /// Process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Everything it printed in all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.spec.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Memory in use and its peak so far, in bytes.
    ///
    /// Errors: it does not run.
    pub fn memory_bytes(&self) -> Result<(u64, u64)> {
        self.running()?.memory_bytes()
    }
}
