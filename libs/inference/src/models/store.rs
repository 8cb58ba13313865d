//! The models under `<data-dir>/models`, and which of them is in use.
//!
//! ```text
//! models/active                      id of the model in use
//! models/owner--name/                a complete model: its files and mediamesh-model.json
//! models/.pull/owner--name@commit/   a pull in progress; *.part files are resumed
//! models/.pull/owner--name.lock      held while a process pulls
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::family;
use crate::models::manifest::{FileEntry, InstalledModel, Manifest, write_durably};
use crate::models::select::wanted_locally;
use crate::models::{ModelsError, hash_file};

/// A directory of models. All methods block on the file system, briefly unless they say so.
#[derive(Clone, Debug)]
pub struct ModelStore {
    dir: PathBuf,
}

impl ModelStore {
    /// Opens (and creates, if absent) a store in `dir`, and completes an install that a crash cut
    /// between its last two steps.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, ModelsError> {
        let dir = dir.as_ref().to_owned();
        std::fs::create_dir_all(&dir).map_err(ModelsError::io(&dir))?;
        let store = Self { dir };
        store.recover()?;
        Ok(store)
    }

    /// Returns the store's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lists installed models by id.
    pub fn list(&self) -> Result<Vec<InstalledModel>, ModelsError> {
        let mut models = Vec::new();
        for dir in subdirectories(&self.dir)? {
            models.extend(read_model(dir)?);
        }
        models.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(models)
    }

    /// Finds an installed model by id.
    ///
    /// Errors: `NotInstalled`, `BadId`.
    pub fn get(&self, id: &str) -> Result<InstalledModel, ModelsError> {
        let found = read_model(self.model_dir(id)?)?;
        found.ok_or_else(|| ModelsError::NotInstalled { id: id.to_owned() })
    }

    /// Returns the model in use, `None` if none was chosen or the chosen one is gone.
    pub fn active(&self) -> Result<Option<InstalledModel>, ModelsError> {
        let path = self.dir.join("active");
        let id = match std::fs::read_to_string(&path) {
            Ok(id) => id,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ModelsError::Io { path, source }),
        };
        match self.get(id.trim()) {
            Ok(model) => Ok(Some(model)),
            Err(ModelsError::NotInstalled { .. } | ModelsError::BadId { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Chooses the model in use; takes effect where it is next loaded.
    ///
    /// Errors: `NotInstalled`.
    pub fn set_active(&self, id: &str) -> Result<(), ModelsError> {
        self.get(id)?;
        write_durably(&self.dir.join("active"), id.as_bytes())
    }

    /// Uses no model from now on.
    pub fn clear_active(&self) -> Result<(), ModelsError> {
        let path = self.dir.join("active");
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(ModelsError::Io { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Removes an installed model.
    ///
    /// Errors: `NotInstalled`.
    pub fn remove(&self, id: &str) -> Result<(), ModelsError> {
        let dir = self.get(id)?.dir;
        std::fs::remove_dir_all(&dir).map_err(ModelsError::io(&dir))
    }

    /// Installs a model from a folder in Hugging Face layout, for machines without a hub. The
    /// folder stays as it is. Blocking: copies and hashes the weights.
    ///
    /// Errors: `Unusable` if it is not a model this crate can load, `Busy`.
    pub fn install_dir(&self, id: &str, from: &Path) -> Result<InstalledModel, ModelsError> {
        let _lock = self.lock(id)?;
        let staging = self.staging_dir(id, "local")?;
        match std::fs::remove_dir_all(&staging) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ModelsError::Io {
                    path: staging,
                    source,
                });
            }
            _ => {}
        }
        for file in wanted_locally(from) {
            let to = staging.join(&file);
            let parent = to.parent().unwrap_or(&staging);
            std::fs::create_dir_all(parent).map_err(ModelsError::io(parent))?;
            let source = from.join(&file);
            std::fs::copy(&source, &to).map_err(ModelsError::io(&source))?;
        }
        self.publish(id, "", &staging)
    }

    /// Turns a staging directory with verified files into an installed model.
    pub(super) fn publish(
        &self,
        id: &str,
        revision: &str,
        staging: &Path,
    ) -> Result<InstalledModel, ModelsError> {
        let unusable = |source| ModelsError::Unusable {
            id: id.to_owned(),
            source: Box::new(source),
        };
        let summary = family::summarize(staging).map_err(unusable)?;
        let mut files = std::collections::BTreeMap::new();
        for name in wanted_locally(staging) {
            let path = staging.join(&name);
            let size_bytes = std::fs::metadata(&path)
                .map_err(ModelsError::io(&path))?
                .len();
            let sha256 = hash_file(&path).map_err(ModelsError::io(&path))?;
            files.insert(name, FileEntry { size_bytes, sha256 });
        }
        let manifest = Manifest {
            id: id.to_owned(),
            revision: revision.to_owned(),
            family: summary.family,
            dims: summary.dims,
            towers: summary.towers,
            precision: summary.precision,
            files,
        };
        manifest.write(staging)?;
        let dir = self.model_dir(id)?;
        self.swap(staging, &dir)?;
        Ok(InstalledModel {
            id: id.to_owned(),
            revision: revision.to_owned(),
            dir,
            manifest,
        })
    }

    /// Puts `staging` in the place of `dir`. A crash in between leaves `staging` complete, and
    /// `open` ends the move.
    fn swap(&self, staging: &Path, dir: &Path) -> Result<(), ModelsError> {
        let old = self.dir.join(".pull").join("replaced");
        for path in [&old, &old.with_extension("again")] {
            let _ = std::fs::remove_dir_all(path);
        }
        match std::fs::rename(dir, &old) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(ModelsError::Io {
                    path: dir.to_owned(),
                    source,
                });
            }
            _ => {}
        }
        std::fs::rename(staging, dir).map_err(ModelsError::io(dir))?;
        let _ = std::fs::remove_dir_all(&old);
        Ok(())
    }

    fn recover(&self) -> Result<(), ModelsError> {
        for staging in subdirectories(&self.dir.join(".pull"))? {
            let Ok(Some(manifest)) = Manifest::read(&staging) else {
                continue;
            };
            let dir = self.model_dir(&manifest.id)?;
            // Somebody at it right now ends it without our help.
            let Ok(_lock) = self.lock(&manifest.id) else {
                continue;
            };
            if staging.file_name() != Some("replaced".as_ref()) && !dir.is_dir() {
                self.swap(&staging, &dir)?;
            }
        }
        Ok(())
    }

    /// Directory of an installed model.
    fn model_dir(&self, id: &str) -> Result<PathBuf, ModelsError> {
        Ok(self.dir.join(directory_name(id)?))
    }

    /// Directory in which a revision is assembled.
    pub(super) fn staging_dir(&self, id: &str, revision: &str) -> Result<PathBuf, ModelsError> {
        Ok(self
            .dir
            .join(".pull")
            .join(format!("{}@{revision}", directory_name(id)?)))
    }

    /// Keeps other processes from assembling the same model; ends with the value or the process.
    pub(super) fn lock(&self, id: &str) -> Result<File, ModelsError> {
        let dir = self.dir.join(".pull");
        std::fs::create_dir_all(&dir).map_err(ModelsError::io(&dir))?;
        let path = dir.join(format!("{}.lock", directory_name(id)?));
        let file = File::create(&path).map_err(ModelsError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(ModelsError::Busy { id: id.to_owned() }),
            Err(std::fs::TryLockError::Error(source)) => Err(ModelsError::Io { path, source }),
        }
    }
}

fn read_model(dir: PathBuf) -> Result<Option<InstalledModel>, ModelsError> {
    let manifest = Manifest::read(&dir)?;
    Ok(manifest.map(|manifest| InstalledModel {
        id: manifest.id.clone(),
        revision: manifest.revision.clone(),
        dir,
        manifest,
    }))
}

/// Directories in a directory that may be absent, hidden ones left out.
fn subdirectories(dir: &Path) -> Result<Vec<PathBuf>, ModelsError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(ModelsError::Io {
                path: dir.to_owned(),
                source,
            });
        }
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(ModelsError::io(dir))?;
        if entry.path().is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// `owner/name` as one safe directory name, `owner--name`.
fn directory_name(id: &str) -> Result<String, ModelsError> {
    let fine = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.len() <= 96
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let parts: Vec<&str> = id.split('/').collect();
    if parts.len() == 2 && parts.iter().all(|part| fine(part)) {
        Ok(parts.join("--"))
    } else {
        Err(ModelsError::BadId { id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_the_store() {
        assert_eq!(
            directory_name("openai/clip-vit-base-patch32")
                .ok()
                .as_deref(),
            Some("openai--clip-vit-base-patch32")
        );
        for id in [
            "",
            "name",
            "../x",
            "a/../b",
            "a/.b",
            "/etc/passwd",
            "a/b/c",
            "a/b c",
            "a\\b/c",
        ] {
            assert!(directory_name(id).is_err(), "{id}");
        }
    }
}
