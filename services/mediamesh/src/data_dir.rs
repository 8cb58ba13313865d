//! The folder that holds everything, locked by one process at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use fd_lock::RwLock;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

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

    /// Makes the folder and takes its lock; the lock ends with the process, however it ends.
    ///
    /// Errors: it cannot be made or written, or another process holds it.
    pub(crate) fn open(&self) -> Result<Lock> {
        let say = |verb: &str| format!("cannot {verb} the data folder {}", self.root.display());
        create_private_dir(&self.root).with_context(|| say("make"))?;
        let path = self.root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .open(path)
            .with_context(|| say("write to"))?;
        // The guard borrows the lock, and both live as long as the process.
        let lock = Box::leak(Box::new(RwLock::new(file)));
        match lock.try_write() {
            Ok(guard) => Ok(Lock { _guard: guard }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => bail!(
                "the data folder {} is in use by another process{}",
                self.root.display(),
                self.ready().map_or(String::new(), |ready| format!(
                    " (pid {}, http://{})",
                    ready.pid, ready.http
                ))
            ),
            Err(error) => Err(error).with_context(|| say("lock")),
        }
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

    /// Installed models.
    pub(crate) fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// The secret that seals page tokens; made at the first start.
    ///
    /// Errors: it cannot be read or written.
    pub(crate) fn secret(&self) -> Result<Vec<u8>> {
        let path = self.root.join("secret");
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
    pub(crate) fn announce(&self, ready: &Ready, more: Option<&Path>) -> Result<()> {
        let text = serde_json::to_string(ready)?;
        let own = self.root.join("ready.json");
        for path in [Some(own.as_path()), more].into_iter().flatten() {
            let part = path.with_extension("json.part");
            fs::write(&part, &text)
                .and_then(|()| fs::rename(&part, path))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
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

/// Holds the data folder until the process ends.
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
