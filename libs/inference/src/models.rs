//! The directory of installed models.

use std::path::{Path, PathBuf};

/// A model whose files are complete and verified on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct InstalledModel {
    /// Hub id, `owner/name`.
    pub id: String,
    /// Revision (commit) of the hub's repository.
    pub revision: String,
    /// Directory holding its files.
    pub dir: PathBuf,
}

/// Why the store or the hub refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelsError {
    /// No such model is installed.
    #[error("model {id} is not installed")]
    NotInstalled {
        /// Id asked for.
        id: String,
    },
}

/// The models under `<data-dir>/models`, and which of them is in use.
#[derive(Clone, Debug)]
pub struct ModelStore {
    dir: PathBuf,
}

impl ModelStore {
    /// Opens (and creates, if absent) a store in `dir`.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, ModelsError> {
        Ok(Self { dir: dir.as_ref().to_owned() })
    }

    /// Returns the store's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lists installed models by id.
    pub fn list(&self) -> Result<Vec<InstalledModel>, ModelsError> {
        Ok(Vec::new())
    }

    /// Finds an installed model by id.
    pub fn get(&self, id: &str) -> Result<InstalledModel, ModelsError> {
        Err(ModelsError::NotInstalled { id: id.to_owned() })
    }

    /// Returns the model in use, `None` if none was chosen.
    pub fn active(&self) -> Result<Option<InstalledModel>, ModelsError> {
        Ok(None)
    }

    /// Chooses the model in use.
    pub fn set_active(&self, id: &str) -> Result<(), ModelsError> {
        Err(ModelsError::NotInstalled { id: id.to_owned() })
    }
}
