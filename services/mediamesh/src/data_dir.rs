//! The folder that holds everything; what a service owns in it is locked by one process at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use fd_lock::RwLock;
use mediamesh_mesh::ServiceName;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

/// Services that own something in the folder: two processes would work against each other.
const OWNERS: [ServiceName; 2] = [ServiceName::Media, ServiceName::Search];

/// Where things lie in the data folder.
#[derive(Debug, Clone)]
pub(crate) struct DataDir {
    root: PathBuf,
}

/// Where a process serves; written once it does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// HTTP address.
    pub(crate) http: String,
    /// gRPC address.
    pub(crate) grpc: String,
    /// Process id.
    pub(crate) pid: u32,
}

impl DataDir {
    /// The configured folder, else the user's data folder.
    ///
    /// Errors: no home folder is known and none is configured.
    pub(crate) fn locate(configured: Option<&Path>) -> Result<Self> {
        let root = match configured {
            Some(path) => std::path::absolute(path)?,
            None => directories::ProjectDirs::from("", "", "mediamesh")
                .context("no home folder is known; give --data-dir")?
                .data_dir()
                .to_owned(),
        };
        Ok(Self { root })
    }

    /// Makes the folder and takes the locks of the services that own something in it; they end with
    /// the process, however it ends. Services that own nothing may run any number of times.
    ///
    /// Errors: it cannot be made or written, or another process runs one of the services on it.
    pub(crate) fn open(&self, services: &[ServiceName]) -> Result<Vec<Lock>> {
        let say = |verb: &str| format!("cannot {verb} the data folder {}", self.root.display());
        create_private_dir(&self.root).with_context(|| say("make"))?;
        let owners = services.iter().filter(|name| OWNERS.contains(name));
        owners
            .map(|name| {
                let lock = self
                    .lock_file(name.as_str())
                    .with_context(|| say("write to"))?;
                match lock.try_write() {
                    Ok(guard) => Ok(Lock { _guard: guard }),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!(
                        "the data folder {} is in use by another process{}: it runs {name}",
                        self.root.display(),
                        self.ready().map_or(String::new(), |ready| format!(
                            " (pid {}, http://{})",
                            ready.pid, ready.http
                        ))
                    ),
                    Err(error) => Err(error).with_context(|| say("lock")),
                }
            })
            .collect()
    }

    /// Waits until no other process migrates the database.
    ///
    /// Blocking: as long as the other takes. Errors: the folder cannot be written.
    pub(crate) fn wait_to_migrate(&self) -> Result<Lock> {
        let guard = self.lock_file("migrate")?.write()?;
        Ok(Lock { _guard: guard })
    }

    fn lock_file(&self, name: &str) -> io::Result<&'static mut RwLock<File>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .open(self.root.join(format!("{name}.lock")))?;
        // The guard borrows the lock, and both live as long as the process.
        Ok(Box::leak(Box::new(RwLock::new(file))))
    }

    /// The folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The embedded database.
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("mediamesh.db")
    }

    /// Bytes of originals and renditions.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Snapshots of the vector indexes.
    pub(crate) fn vectors(&self) -> PathBuf {
        self.root.join("vectors")
    }

    /// The file of sessions.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.root.join("sessions")
    }

    /// Installed models.
    pub(crate) fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// The secret that seals page tokens; made at the first start.
    ///
    /// Errors: it cannot be read or written.
    pub(crate) fn secret(&self) -> Result<Vec<u8>> {
        let path = self.root.join("secret");
        // Several processes may start on a new folder at once: one makes it, the others read it.
        let turn = self.lock_file("secret").and_then(RwLock::write);
        let _turn = turn.with_context(|| format!("cannot lock {}", path.display()))?;
        match fs::read(&path) {
            Ok(secret) if secret.len() >= 32 => return Ok(secret),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        }
        let secret: [u8; 32] = rand::rng().random();
        let mut file =
            create_private(&path).with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(&secret)?;
        file.sync_all()?;
        Ok(secret.to_vec())
    }

    /// Says where this process serves, to the clients that look into the folder.
    pub(crate) fn announce(&self, ready: &Ready) -> Result<()> {
        ready.write(&self.root.join("ready.json"))
    }

    /// Takes the announcement back.
    pub(crate) fn retract(&self) {
        // A file that stays behind only costs the next client a refused connection.
        let _ = fs::remove_file(self.root.join("ready.json"));
    }

    /// Where the process that holds the folder serves, if it said so.
    pub(crate) fn ready(&self) -> Option<Ready> {
        let text = fs::read(self.root.join("ready.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl Ready {
    /// Writes it to a file that is there whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string(self)?;
        let part = path.with_extension("json.part");
        fs::write(&part, &text)
            .and_then(|()| fs::rename(&part, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Holds a part of the data folder until the process ends.
pub(crate) struct Lock {
    _guard: fd_lock::RwLockWriteGuard<'static, File>,
}

/// Makes a folder that only its owner can look into; one that is there stays as it is.
#[cfg(unix)]
fn create_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(not(unix))]
fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<File> {
    File::create(path)
}
