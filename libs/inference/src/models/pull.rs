//! Fetching a model, with resume and hash check.

use std::path::Path;

use serde_json::Value;

use crate::load::LoadError;
use crate::models::download::{Download, Meter};
use crate::models::hub::{DEFAULT_ENDPOINT, Hub};
use crate::models::manifest::InstalledModel;
use crate::models::select::wanted;
use crate::models::store::ModelStore;
use crate::models::{ModelsError, select};
use crate::spec::{Family, Precision};

/// How to pull. The defaults fetch `main` in f32 from the public hub.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Base URL of the hub; `None` reads `HF_ENDPOINT`, and without it takes the public hub.
    pub endpoint: Option<String>,
    /// Branch, tag or commit.
    pub revision: String,
    /// Access token for gated and private models; `None` reads `HF_TOKEN`.
    pub token: Option<String>,
    /// Which weights to fetch.
    pub precision: Precision,
    /// How often a transfer that was cut is taken up again before giving up.
    pub retries: u32,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            revision: "main".to_owned(),
            token: None,
            precision: Precision::F32,
            retries: 5,
        }
    }
}

/// How far a pull is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// File being fetched, by its path in the repository.
    pub file: String,
    /// Its bytes so far, those of an earlier try included.
    pub file_bytes: u64,
    /// Its length, if the hub said.
    pub file_total: Option<u64>,
    /// Bytes of all files so far.
    pub bytes: u64,
    /// Bytes of all files, as far as the hub said.
    pub total: u64,
}

impl ModelStore {
    /// Fetches a model from a hub and installs it; the model in use stays as it is.
    ///
    /// Files arrive as `.part` and are renamed once their SHA-256 (large files) or length is what
    /// the hub promised; the model appears in the store when all are there. A pull that ends early,
    /// by an error, a kill or a dropped future, is resumed by the next one of the same commit.
    ///
    /// Errors: `NotFound`, `Denied`, `Hash`, `Transfer`, `Incomplete`, `Unusable`, `Busy`.
    /// Cancel: safe at every await. Hashing and renaming run on the blocking pool.
    pub async fn pull(
        &self,
        id: &str,
        options: &PullOptions,
        mut progress: impl FnMut(&Progress) + Send,
    ) -> Result<InstalledModel, ModelsError> {
        let _lock = self.lock(id)?;
        let endpoint = options.endpoint.clone().or_else(|| variable("HF_ENDPOINT"));
        let token = options.token.clone().or_else(|| variable("HF_TOKEN"));
        let hub = Hub::new(endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT), token)?;
        let repository = hub.repository(id, &options.revision).await?;
        let commit = repository.sha.clone();

        if let Ok(installed) = self.get(id)
            && installed.revision == commit
            && installed.manifest.precision == options.precision
        {
            return Ok(installed);
        }

        let staging = self.staging_dir(id, &format!("{commit}-{}", options.precision))?;
        let published = repository.files();
        let mut meter = Meter::new(&mut progress);
        let download = |file: String| Download {
            hub: &hub,
            id,
            commit: &commit,
            promise: repository.promise(&file),
            staging: &staging,
            retries: options.retries,
            file,
        };
        // The config says which weights are needed.
        if !published.iter().any(|file| file == "config.json") {
            return Err(ModelsError::Incomplete {
                id: id.to_owned(),
                what: "config.json".to_owned(),
            });
        }
        download("config.json".to_owned()).run(&mut meter).await?;
        let family = family_of(id, &staging.join("config.json")).await?;
        let files = wanted(id, family, options.precision, &published)?;
        meter.total = files
            .iter()
            .filter_map(|file| repository.promise(file).size)
            .sum();
        for file in files.into_iter().filter(|file| file != select::CONFIG) {
            download(file).run(&mut meter).await?;
        }

        let (store, id) = (self.clone(), id.to_owned());
        let installed =
            tokio::task::spawn_blocking(move || store.publish(&id, &commit, &staging)).await;
        installed.expect("publishing does not panic")
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

async fn family_of(id: &str, path: &Path) -> Result<Family, ModelsError> {
    let bytes = tokio::fs::read(path).await.map_err(ModelsError::io(path))?;
    let unusable = |source| ModelsError::Unusable {
        id: id.to_owned(),
        source: Box::new(source),
    };
    let config: Value = serde_json::from_slice(&bytes).map_err(|source| {
        unusable(LoadError::Config {
            path: path.to_owned(),
            source,
        })
    })?;
    let model_type = config
        .get("model_type")
        .and_then(Value::as_str)
        .unwrap_or("unknown");
    Family::from_model_type(model_type).ok_or_else(|| {
        unusable(LoadError::Family {
            model_type: model_type.to_owned(),
        })
    })
}
