//! From a directory on disk to encoders ready to run.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::encoder::Encoder;
use crate::engine::graph::Graph;
use crate::engine::{self, EngineOptions, EngineReport};
use crate::family::{self, Identity, TowerPlan};
use crate::models::{InstalledModel, hash_file};
use crate::onnx::WeightsError;
use crate::spec::{ModelSpec, Tower};
use crate::tokenize::TextTokenizer;
use crate::tower::{ImageTower, TextTower};

/// A model in memory: its towers and what runs them.
#[derive(Clone)]
pub struct LoadedModel {
    /// What the model is.
    pub spec: Arc<ModelSpec>,
    /// Text tower, if it has one.
    pub text: Option<Arc<dyn Encoder>>,
    /// Image tower, if it has one; same space as the text tower.
    pub image: Option<Arc<dyn Encoder>>,
    /// Engine, provider and threads in use.
    pub report: EngineReport,
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file the model needs is not in its directory.
    #[error("model directory {} has no {file}", dir.display())]
    Missing {
        /// The model's directory.
        dir: PathBuf,
        /// What is missing.
        file: String,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// A configuration file is not what it should be.
    #[error("cannot understand {}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where it went wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The tokenizer could not be made.
    #[error("cannot load the tokenizer {}", path.display())]
    Tokenizer {
        /// `tokenizer.json`.
        path: PathBuf,
        /// What the tokenizer library said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The architecture is none of those this crate knows.
    #[error("models of type {model_type} are not supported; supported are bert, clip and siglip")]
    Family {
        /// `model_type` of `config.json`.
        model_type: String,
    },
    /// The architecture is known, but not this variant.
    #[error("model {} uses {what}, which is not supported", dir.display())]
    Unsupported {
        /// The model's directory.
        dir: PathBuf,
        /// What it uses.
        what: String,
    },
    /// The weights do not fit the config.
    #[error("cannot convert the weights of {}", dir.display())]
    Weights {
        /// The model's directory.
        dir: PathBuf,
        /// What did not fit.
        #[source]
        source: WeightsError,
    },
    /// The engine asked for cannot be used.
    #[error("engine {engine} cannot be used")]
    Engine {
        /// Its name.
        engine: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine does not take the graph.
    #[error("{engine} cannot load the {tower} tower of {}", dir.display())]
    Graph {
        /// Engine name.
        engine: &'static str,
        /// Which tower.
        tower: Tower,
        /// The model's directory.
        dir: PathBuf,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An exported graph does not answer with a vector.
    #[error("the {tower} graph of {} has outputs {found:?}; one of {wanted:?} is needed", dir.display())]
    Outputs {
        /// Which tower.
        tower: Tower,
        /// The model's directory.
        dir: PathBuf,
        /// What the graph has.
        found: Vec<String>,
        /// What would do.
        wanted: Vec<String>,
    },
}

impl LoadError {
    /// `Missing` if the file is absent, else `Read`.
    pub(crate) fn read(dir: &Path, file: &str, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            Self::Missing {
                dir: dir.to_owned(),
                file: file.to_owned(),
            }
        } else {
            Self::Read {
                path: dir.join(file),
                source,
            }
        }
    }
}

/// Loads an installed model.
///
/// Errors: files missing or not understood, an architecture not supported, an engine not there.
/// Blocking: reads all weights and converts them; see docs/performance/inference.md.
pub fn load(model: &InstalledModel, options: &EngineOptions) -> Result<LoadedModel, LoadError> {
    let hashes = family::weight_files(&model.dir)
        .iter()
        .map(|path| {
            let name = path
                .strip_prefix(&model.dir)
                .unwrap_or(path)
                .to_string_lossy()
                .into_owned();
            match model.manifest.files.get(&name) {
                Some(file) => Ok(file.sha256.clone()),
                None => {
                    hash_file(path).map_err(|source| LoadError::read(&model.dir, &name, source))
                }
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    load_with(&model.dir, &model.id, &model.revision, &hashes, options)
}

/// Loads a model directory in Hugging Face layout that no store manages.
///
/// Errors: as [`load`].
/// Blocking: as [`load`], and hashes the weights.
pub fn load_dir(
    dir: &Path,
    id: &str,
    revision: &str,
    options: &EngineOptions,
) -> Result<LoadedModel, LoadError> {
    let hashes = family::weight_files(dir)
        .iter()
        .map(|path| {
            hash_file(path).map_err(|source| LoadError::Read {
                path: path.clone(),
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    load_with(dir, id, revision, &hashes, options)
}

/// One file's own hash, or for several the hash of their hashes in order.
fn combined(hashes: &[String]) -> String {
    match hashes {
        [one] => one.clone(),
        many => hex::encode(Sha256::digest(many.join("\n"))),
    }
}

fn load_with(
    dir: &Path,
    id: &str,
    version: &str,
    hashes: &[String],
    options: &EngineOptions,
) -> Result<LoadedModel, LoadError> {
    let plan = family::plan(
        dir,
        Identity {
            id,
            version,
            sha256: combined(hashes),
        },
    )?;
    let spec = Arc::new(plan.spec);
    let chosen = engine::choose(options)?;
    let open = |tower, plan: TowerPlan| open_tower(dir, &chosen, tower, plan);

    let mut text = None;
    if let Some(tower) = plan.text {
        let tokenizer = TextTokenizer::open(dir, spec.max_len, spec.pad, spec.pooling)?;
        let (graph, output) = open(Tower::Text, tower)?;
        let spec = Arc::clone(&spec);
        text = Some(Arc::new(TextTower {
            spec,
            engine: chosen.kind,
            graph,
            output,
            tokenizer,
        }) as Arc<dyn Encoder>);
    }
    let mut image = None;
    if let (Some(tower), Some(rules)) = (plan.image, spec.image.clone()) {
        let (graph, output) = open(Tower::Image, tower)?;
        let spec = Arc::clone(&spec);
        image = Some(Arc::new(ImageTower {
            spec,
            image: rules,
            engine: chosen.kind,
            graph,
            output,
        }) as Arc<dyn Encoder>);
    }
    let report = chosen.report(spec.precision, plan.source);
    tracing::info!(
        model = %spec.id,
        identity = %spec.identity(),
        engine = report.engine.as_str(),
        engine_version = %report.version,
        provider = %report.provider,
        source = %report.source,
        dims = spec.dims,
        note = report.note.as_deref().unwrap_or(""),
        "model loaded"
    );
    Ok(LoadedModel {
        spec,
        text,
        image,
        report,
    })
}

fn open_tower(
    dir: &Path,
    chosen: &engine::Chosen,
    tower: Tower,
    plan: TowerPlan,
) -> Result<(Arc<dyn Graph>, String), LoadError> {
    let graph = chosen
        .engine
        .load(plan.graph, &chosen.graph_options(tower))
        .map_err(|source| LoadError::Graph {
            engine: chosen.kind.as_str(),
            tower,
            dir: dir.to_owned(),
            source,
        })?;
    let output = plan
        .outputs
        .iter()
        .find(|name| graph.outputs().iter().any(|output| output == *name));
    let output = output.ok_or_else(|| LoadError::Outputs {
        tower,
        dir: dir.to_owned(),
        found: graph.outputs().to_vec(),
        wanted: plan.outputs.iter().map(|name| (*name).to_owned()).collect(),
    })?;
    Ok((graph, (*output).to_owned()))
}
