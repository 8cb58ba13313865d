//! A Redis Cluster: three masters, each with a replica.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::time::Instant;

use super::server::{Node, RedisTls};
use crate::address::Address;

/// Nodes: masters first, then a replica of each.
const NODES: usize = 6;
/// Longest wait for all nodes to agree; it takes 2.4 s on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// A replica must sync at once and follow a lost master at once, or a test waits for minutes: with
/// the defaults of Redis a fail-over did not happen within ten.
const ARGUMENTS: [&str; 10] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "500",
    "--repl-diskless-sync-delay",
    "0",
    "--repl-diskless-load",
    "swapdb",
    "--cluster-replica-validity-factor",
    "0",
];
/// What else it takes that nodes speak TLS with each other too.
const TLS_ARGUMENTS: [&str; 4] = ["--tls-cluster", "yes", "--tls-replication", "yes"];

/// A Redis Cluster that keeps nothing on disk. Dropping it kills it; it does not outlive this
/// process.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
    _scratch: TempDir,
    _address: Address,
}

impl RedisCluster {
    /// Starts one on a loopback address of its own and waits until every node is whole.
    ///
    /// Errors: it does not start.
    pub async fn start(programs: &Path) -> Result<Self> {
        Self::start_with(programs, None).await
    }

    /// Starts one that speaks TLS only, if there are files for the address it gets.
    ///
    /// Errors: it does not start.
    pub async fn start_with(
        programs: &Path,
        tls: Option<&(dyn Fn(IpAddr) -> RedisTls + Sync)>,
    ) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("mediamesh-redis-cluster-")
            .tempdir()?;
        let address = Address::claim()?;
        let tls = tls.map(|files| files(address.port(0, 0).ip()));
        let more = tls.as_ref().map_or(&[][..], |_| &TLS_ARGUMENTS[..]);
        let arguments: Vec<String> = (ARGUMENTS.iter().chain(more))
            .map(|text| (*text).to_owned())
            .collect();
        let mut nodes = Vec::new();
        for index in 0..NODES {
            let folder = scratch.path().join(format!("node-{index}"));
            let at = address.port(index, 0);
            nodes.push(Node::new(
                programs,
                at,
                tls.clone(),
                arguments.clone(),
                folder,
            )?);
        }
        for node in &mut nodes {
            node.spawn()?;
        }
        for node in &mut nodes {
            node.answers().await?;
        }
        let mut cluster = Self {
            nodes,
            _scratch: scratch,
            _address: address,
        };
        cluster.join()?;
        cluster.whole().await?;
        Ok(cluster)
    }

    fn join(&mut self) -> Result<()> {
        let addresses: Vec<String> = (self.nodes.iter())
            .map(|node| node.address.to_string())
            .collect();
        let mut arguments = vec!["--cluster", "create"];
        arguments.extend(addresses.iter().map(String::as_str));
        arguments.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        self.nodes[0].command(&arguments).map(drop)
    }

    /// Waits until every running node sees a whole cluster and every replica its master.
    ///
    /// Errors: they do not in time.
    pub async fn whole(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let whole = self.running().all(|node| {
                let state = node.command(&["cluster", "info"]).unwrap_or_default();
                let role = node.command(&["info", "replication"]).unwrap_or_default();
                state.contains("cluster_state:ok")
                    && (role.contains("role:master") || role.contains("master_link_status:up"))
            });
            if whole {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let states: Vec<_> = (self.running())
                    .map(|node| node.command(&["cluster", "nodes"]))
                    .collect();
                bail!("the cluster is not whole after {PATIENCE:?}: {states:#?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.process().is_ok())
    }

    /// Where the nodes listen, as clients are told.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// Where the nodes listen.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// Runs a command on one node and answers what it prints.
    ///
    /// Errors: it cannot be run, or Redis answers with an error.
    /// Blocking: as long as the command takes.
    pub fn command(&self, index: usize, arguments: &[&str]) -> Result<String> {
        let node = self.nodes.get(index).context("there is no such node")?;
        node.command(arguments)
    }

    /// Moves `slots` slots, and what is in them, from one master to another.
    ///
    /// Errors: it cannot be done.
    /// Blocking: as long as it takes.
    pub fn reshard(&self, slots: u16) -> Result<()> {
        let mut masters = Vec::new();
        for node in self.running() {
            if node.command(&["role"])?.starts_with("master") {
                masters.push(node.command(&["cluster", "myid"])?);
            }
        }
        let [from, to, ..] = &masters[..] else {
            bail!("there are not two masters");
        };
        let (slots, at) = (slots.to_string(), self.nodes[0].address.to_string());
        let mut arguments = vec!["--cluster", "reshard", &at, "--cluster-yes"];
        arguments.extend(["--cluster-from", from, "--cluster-to", to]);
        arguments.extend(["--cluster-slots", &slots]);
        self.nodes[0].command(&arguments).map(drop)
    }

    /// Runs a command on every master and answers what each prints.
    ///
    /// Errors: one cannot be asked.
    pub fn on_masters(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let mut answers = Vec::new();
        for node in self.running() {
            if node.command(&["role"])?.starts_with("master") {
                answers.push(node.command(arguments)?);
            }
        }
        Ok(answers)
    }

    /// Kills a master (SIGKILL) that has a replica; answers its index.
    ///
    /// Errors: there is none.
    pub fn kill_a_master(&mut self) -> Result<usize> {
        let index = (self.nodes.iter())
            .position(|node| {
                let role = node.command(&["info", "replication"]).unwrap_or_default();
                role.contains("role:master") && !role.contains("connected_slaves:0")
            })
            .context("no master with a replica runs")?;
        self.nodes[index].kill()?;
        Ok(index)
    }

    /// Starts a killed node again; it joins as a replica.
    ///
    /// Errors: it does not start.
    pub async fn restart(&mut self, index: usize) -> Result<()> {
        self.nodes[index].start().await
    }
}
