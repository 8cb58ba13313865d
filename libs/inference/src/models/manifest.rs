//! What is installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::models::ModelsError;
use crate::spec::{Family, Precision, Towers};

/// Name of the manifest in a model's directory.
pub const MANIFEST_FILE: &str = "mediamesh-model.json";

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

/// What a model's directory holds. Written last: a directory with a manifest is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Hub id, `owner/name`.
    pub id: String,
    /// Commit of the hub's repository; empty for files installed from a folder.
    pub revision: String,
    /// Architecture family.
    pub family: Family,
    /// Length of a vector.
    pub dims: usize,
    /// Which inputs it takes.
    pub towers: Towers,
    /// Number format of the weights.
    pub precision: Precision,
    /// Files by their path in the repository.
    pub files: BTreeMap<String, FileEntry>,
}

impl Manifest {
    /// Sum of the files' lengths.
    pub fn size_bytes(&self) -> u64 {
        self.files.values().map(|file| file.size_bytes).sum()
    }

    /// Reads the manifest of a directory; `None` if it has none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, ModelsError> {
        let path = dir.join(MANIFEST_FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| ModelsError::Manifest { path, source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ModelsError::Io { path, source }),
        }
    }

    /// Writes it durably.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), ModelsError> {
        let json =
            serde_json::to_vec_pretty(self).expect("a manifest holds only strings and numbers");
        write_durably(&dir.join(MANIFEST_FILE), &json)
    }
}

/// Replaces a file so that a crash leaves the old or the new content, never a mixture.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<(), ModelsError> {
    use std::io::Write;
    let part = path.with_extension("part");
    let write = || {
        let mut file = std::fs::File::create(&part)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(ModelsError::io(path))
}

/// A model whose files are complete and were verified when they arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct InstalledModel {
    /// Hub id, `owner/name`.
    pub id: String,
    /// Revision (commit) of the hub's repository; empty if installed from a folder.
    pub revision: String,
    /// Directory holding its files.
    pub dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
}
