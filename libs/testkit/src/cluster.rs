//! The mesh as several processes: any services, any number of replicas, each killed, stopped and
//! started again on its own ports, with a [`Proxy`] in front of each if the network is to fail too.
//!
//! - `replica`: one process

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

mod replica;

pub use replica::Replica;

use crate::{Proxy, address::Address};
use replica::Spec;

/// What a cluster consists of, before it is started.
#[derive(Debug)]
pub struct ClusterBuilder {
    binary: PathBuf,
    groups: Vec<Group>,
    env: Vec<(String, String)>,
    args: Vec<OsString>,
    proxied: bool,
    data_dir: Option<PathBuf>,
}

/// Services that share a process, and how many such processes there are.
#[derive(Debug)]
struct Group {
    services: Vec<String>,
    replicas: usize,
    env: Vec<(String, String)>,
}

impl ClusterBuilder {
    /// Adds `replicas` processes of one service, such as `search`.
    #[must_use]
    pub fn service(self, name: &str, replicas: usize) -> Self {
        self.together(&[name], replicas)
    }

    /// Adds `replicas` processes that each run all of `services`.
    #[must_use]
    pub fn together(mut self, services: &[&str], replicas: usize) -> Self {
        self.groups.push(Group {
            services: services.iter().map(|name| (*name).to_owned()).collect(),
            replicas,
            env: Vec::new(),
        });
        self
    }

    /// Sets a variable of the environment for the processes that were added last.
    ///
    /// # Panics
    /// If none was added.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let group = self.groups.last_mut().expect("services are added first");
        group.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable of the environment of every process.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets variables of the environment of every process, such as those of [`crate::S3::env`].
    #[must_use]
    pub fn envs(self, all: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        all.into_iter()
            .fold(self, |cluster, (name, value)| cluster.env(name, &value))
    }

    /// Adds arguments after `serve` to every process.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Puts a [`Proxy`] in front of every gRPC address: peers then know only the proxies.
    #[must_use]
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Keeps the data of first replicas elsewhere than in a folder of the cluster.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Picks addresses and starts the proxies; no process runs yet.
    ///
    /// First replicas share one data folder; every further replica has its own, because a service
    /// locks its part of a folder.
    /// Errors: no address to be had. Must run inside a tokio runtime.
    pub async fn build(self) -> Result<Cluster> {
        let scratch = tempfile::Builder::new()
            .prefix("mediamesh-cluster-")
            .tempdir()?;
        let shared = self
            .data_dir
            .clone()
            .unwrap_or_else(|| scratch.path().join("data"));
        let address = Address::claim()?;
        let mut replicas: Vec<Replica> = Vec::new();
        for group in &self.groups {
            for _ in 0..group.replicas {
                // several groups may have the same services, each with an environment of its own
                let same = |known: &&Replica| known.services() == group.services;
                let index = replicas.iter().filter(same).count();
                let name = format!("{}-{index}", group.services.join("+"));
                let grpc = address.port(replicas.len(), 0);
                let proxy = match self.proxied {
                    true => Some(Proxy::bind(address.port(replicas.len(), 2), grpc).await?),
                    false => None,
                };
                let data_dir = match index {
                    0 => shared.clone(),
                    _ => scratch.path().join(format!("data-{name}")),
                };
                let spec = Spec {
                    binary: self.binary.clone(),
                    services: group.services.clone(),
                    grpc,
                    http: address.port(replicas.len(), 1),
                    data_dir,
                    log: scratch.path().join(format!("{name}.log")),
                    ready_file: scratch.path().join(format!("{name}.ready.json")),
                    env: self.env.iter().chain(&group.env).cloned().collect(),
                    args: self.args.clone(),
                    peers: Vec::new(),
                    name,
                };
                replicas.push(Replica::new(spec, proxy)?);
            }
        }
        let known: Vec<(Vec<String>, String)> = replicas
            .iter()
            .map(|replica| (replica.services().to_vec(), replica.uri()))
            .collect();
        for replica in &mut replicas {
            replica.meet(&known);
        }
        Ok(Cluster {
            replicas,
            scratch,
            _address: address,
        })
    }

    /// Starts every process at once and waits until all of them serve.
    ///
    /// Errors: one ended or is not ready in time; the message has its log.
    pub async fn start(self) -> Result<Cluster> {
        let mut cluster = self.build().await?;
        cluster.start().await?;
        Ok(cluster)
    }
}

/// The processes of one mesh. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    // before the folder they write to
    replicas: Vec<Replica>,
    scratch: TempDir,
    _address: Address,
}

impl Cluster {
    /// A cluster of this binary without processes.
    #[must_use]
    pub fn of(binary: impl Into<PathBuf>) -> ClusterBuilder {
        ClusterBuilder {
            binary: binary.into(),
            groups: Vec::new(),
            env: Vec::new(),
            args: Vec::new(),
            proxied: false,
            data_dir: None,
        }
    }

    /// Starts what does not run, all at once, because readiness may wait for each other; then waits.
    ///
    /// Errors: one ended or is not ready in time; the message has its log.
    pub async fn start(&mut self) -> Result<()> {
        for replica in self.replicas.iter_mut().filter(|replica| !replica.runs()) {
            replica.spawn()?;
        }
        for replica in &mut self.replicas {
            replica.ready().await?;
        }
        Ok(())
    }

    /// A replica of a service, counted from 0.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn replica(&self, service: &str, index: usize) -> &Replica {
        self.of_service(service)
            .nth(index)
            .unwrap_or_else(|| panic!("no replica {index} of {service}"))
    }

    /// A replica of a service, to be killed or started.
    ///
    /// # Panics
    /// If there is none.
    pub fn replica_mut(&mut self, service: &str, index: usize) -> &mut Replica {
        let has = |replica: &&mut Replica| replica.services().iter().any(|name| name == service);
        self.replicas
            .iter_mut()
            .filter(has)
            .nth(index)
            .unwrap_or_else(|| panic!("no replica {index} of {service}"))
    }

    /// The proxy in front of a replica.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn proxy(&self, service: &str, index: usize) -> &Proxy {
        self.replica(service, index)
            .proxy()
            .expect("the cluster was built without proxies")
    }

    /// Every replica of a service.
    pub fn of_service(&self, service: &str) -> impl Iterator<Item = &Replica> {
        let has = move |replica: &&Replica| replica.services().iter().any(|name| name == service);
        self.replicas.iter().filter(has)
    }

    /// Every process.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Where the peers of a service look for it, one URI per replica.
    #[must_use]
    pub fn uris(&self, service: &str) -> Vec<String> {
        self.of_service(service).map(Replica::uri).collect()
    }

    /// A folder for files of the test, removed with the cluster.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Stops replicas of a service one after the other (SIGTERM) and starts each again before the
    /// next: a rolling restart.
    ///
    /// Errors: one did not end or start in time; the message has its log.
    pub async fn roll(&mut self, service: &str) -> Result<()> {
        let count = self.of_service(service).count();
        for index in 0..count {
            let replica = self.replica_mut(service, index);
            let (status, log) = replica.stop().await?;
            anyhow::ensure!(status.success(), "ended with {status}; log:\n{log}");
            replica
                .start()
                .await
                .with_context(|| format!("{service} {index} did not come back"))?;
        }
        Ok(())
    }

    /// The logs of all processes, for the message of a failed test.
    #[must_use]
    pub fn logs(&self) -> String {
        self.replicas
            .iter()
            .map(|replica| format!("=== {}\n{}\n", replica.name(), replica.log()))
            .collect()
    }
}
