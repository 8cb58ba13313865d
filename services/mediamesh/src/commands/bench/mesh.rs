//! A whole mesh on ports of its own, in a data folder that is removed afterwards.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use mediamesh_mesh::{Channel, LOCAL_TENANT_ID, Policy, ServiceName, Shutdown, client};
use mediamesh_proto::TenantId;
use tokio::{net::TcpListener, process::Command, time::Instant};

use crate::{
    config::{Config, DatabaseConfig},
    data_dir::DataDir,
    import::screen::say,
    layout::Layout,
    node::Frame,
    stores::Stores,
    up,
};

/// Longest wait for the mesh to end; saving the vector index is part of it.
const DRAIN: Duration = Duration::from_secs(120);

/// A running mesh.
pub(super) struct BenchMesh {
    dir: DataDir,
    database: DatabaseConfig,
    media: Channel,
    http: SocketAddr,
    grpc: SocketAddr,
    shutdown: Shutdown,
}

impl BenchMesh {
    /// Starts a mesh; without a worker, jobs stay where they are.
    pub(super) async fn start(mut config: Config, worker: bool) -> Result<Self> {
        let root = std::env::temp_dir().join(format!("mediamesh-bench-{}", std::process::id()));
        config.data_dir = Some(root.clone());
        let dir = DataDir::locate(Some(&root))?;
        std::fs::create_dir_all(&root).context("cannot make a folder for the benchmark")?;
        if config.database.url.is_some() {
            let stores = Stores::open(&config.database, &dir, None).await?;
            let tenant = TenantId(LOCAL_TENANT_ID);
            if stores.search.corpus(tenant).await?.newest_key > 0 {
                bail!("the benchmark fills the database of database.url, which is not empty");
            }
        }
        let shutdown = Shutdown::new();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let (http, grpc) = (
            TcpListener::bind(loopback).await?,
            TcpListener::bind(loopback).await?,
        );
        let (http_at, grpc_at) = (http.local_addr()?, grpc.local_addr()?);
        let layout = Layout::whole(&config)?;
        let frame = Frame::new(&config, &dir, &layout)?;
        let media = frame.registry().channel(ServiceName::Media);
        let health = frame.health();
        up::answer(&frame, grpc, http, &shutdown)?;
        let mut node = frame.build().await?;
        node.worker = node.worker.filter(|_| worker);
        up::begin(node, &shutdown).await?;
        health.set_started();
        Ok(Self {
            dir,
            database: config.database,
            media,
            http: http_at,
            grpc: grpc_at,
            shutdown,
        })
    }

    /// The media service, in process.
    pub(super) fn media(&self) -> Channel {
        self.media.clone()
    }

    /// Any service, over TCP.
    pub(super) fn remote(&self) -> Result<Channel> {
        Ok(client::connect(
            &format!("http://{}", self.grpc),
            Policy::default(),
        )?)
    }

    /// Address of an HTTP route.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// The database of the mesh, opened beside it.
    pub(super) async fn store(&self) -> Result<Stores> {
        Stores::open(&self.database, &self.dir, None).await
    }

    /// Stops the mesh, starts it again as a process of its own, and says how long it takes until
    /// that is ready, and how much memory it needs.
    pub(super) async fn restart(&self) -> Result<()> {
        self.shutdown.begin();
        self.shutdown.drained(DRAIN).await;
        let ready = self.dir.root().join("bench-ready.json");
        let start = Instant::now();
        let mut process = Command::new(std::env::current_exe()?)
            .args(["up", "--log", "warn", "--listen", "127.0.0.1:0"])
            .args(["--grpc-listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.dir.root())
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        while !tokio::fs::try_exists(&ready).await? {
            if let Some(status) = process.try_wait()? {
                bail!("the mesh did not start again: {status}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seconds = start.elapsed().as_secs_f64();
        say(&format!("start-up to ready: {seconds:.2} s"));
        if let Some(pid) = process.id() {
            say_memory_of(&pid.to_string(), "after start-up");
        }
        Ok(())
    }
}

impl Drop for BenchMesh {
    fn drop(&mut self) {
        self.shutdown.begin();
        // What stays behind lies in the folder for temporary files.
        let _ = std::fs::remove_dir_all(self.dir.root());
    }
}

/// Says how much memory this process takes now and took at most.
pub(super) fn say_memory(when: &str) {
    say_memory_of("self", when);
}

fn say_memory_of(process: &str, when: &str) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib >> 10)
    };
    if let (Some(now), Some(peak)) = (field("VmRSS:"), field("VmHWM:")) {
        say(&format!(
            "memory {when}: {now} MiB resident, {peak} MiB at most"
        ));
    }
}
