//! Choosing and describing what runs the graphs.

use std::path::PathBuf;

use serde::Serialize;

use crate::engine::graph::{Engine, GraphOptions};
use crate::engine::ort::OrtEngine;
use crate::engine::rten::RtenEngine;
use crate::load::LoadError;
use crate::spec::{Precision, Tower};

pub(crate) mod graph;
pub(crate) mod lanes;
mod ort;
mod rten;

#[cfg(test)]
mod contract;

/// An engine that can run a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Pure Rust, always there.
    Rten,
    /// ONNX Runtime, loaded from the operator's shared library.
    Ort,
}

impl EngineKind {
    /// Returns the lower-case name used in config and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            EngineKind::Rten => "rten",
            EngineKind::Ort => "ort",
        }
    }
}

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// ONNX Runtime if a library is configured and loads, else rten (and the report says why).
    #[default]
    Auto,
    /// Always rten.
    Rten,
    /// ONNX Runtime or an error.
    Ort,
}

/// How to run a model. The defaults suit a service that shares its cores.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Which engine.
    pub choice: EngineChoice,
    /// Path of ONNX Runtime's shared library; `None` reads `ORT_DYLIB_PATH`.
    pub ort_dylib: Option<PathBuf>,
    /// Threads used by one text call; 0 is 1: queries scale best as many calls in parallel.
    pub text_threads: usize,
    /// Threads used by one image call; 0 is every core: batches of images use them well.
    pub image_threads: usize,
    /// Calls of one tower that may run at the same time, the rest waits; 0 is one per core.
    pub parallel_calls: usize,
}

/// What runs a loaded model, for the log and for `doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EngineReport {
    /// Which engine.
    pub engine: EngineKind,
    /// Version of the engine (for ONNX Runtime, that of the library found).
    pub version: String,
    /// Execution provider in use: `cpu`, `cuda`.
    pub provider: String,
    /// Number format of the weights.
    pub precision: Precision,
    /// Where the graph came from: `onnx` files or `safetensors` converted on load.
    pub source: String,
    /// Threads of one text call.
    pub text_threads: usize,
    /// Threads of one image call.
    pub image_threads: usize,
    /// Why the engine is not the one that was hoped for, if so.
    pub note: Option<String>,
}

/// An engine picked and the thread counts resolved.
pub(crate) struct Chosen {
    pub(crate) kind: EngineKind,
    pub(crate) engine: Box<dyn Engine>,
    version: String,
    note: Option<String>,
    text_threads: usize,
    image_threads: usize,
    parallel_calls: Option<usize>,
}

/// Picks the engine. Blocking: may load a shared library.
///
/// Errors: `LoadError::Engine` if ONNX Runtime was demanded and cannot be had.
pub(crate) fn choose(options: &EngineOptions) -> Result<Chosen, LoadError> {
    let dylib = options
        .ort_dylib
        .clone()
        .or_else(|| std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from));
    let dylib = dylib.filter(|path| !path.as_os_str().is_empty());
    let open = |path: PathBuf| OrtEngine::open(&path).map_err(|source| (path, source));
    let ort = match (options.choice, dylib) {
        (EngineChoice::Rten, _) | (EngineChoice::Auto, None) => None,
        (EngineChoice::Auto | EngineChoice::Ort, Some(path)) => Some(open(path)),
        (EngineChoice::Ort, None) => {
            let source = "no library path is configured and ORT_DYLIB_PATH is not set".into();
            return Err(LoadError::Engine {
                engine: "ort",
                source,
            });
        }
    };
    let mut note = None;
    let (kind, version, engine): (_, _, Box<dyn Engine>) = match ort {
        Some(Ok(ort)) => (EngineKind::Ort, ort.version().to_owned(), Box::new(ort)),
        Some(Err((_, source))) if options.choice == EngineChoice::Ort => {
            return Err(LoadError::Engine {
                engine: "ort",
                source,
            });
        }
        other => {
            if let Some(Err((path, source))) = other {
                note = Some(format!(
                    "ONNX Runtime at {} cannot be used: {source}",
                    path.display()
                ));
            }
            (
                EngineKind::Rten,
                rten::VERSION.to_owned(),
                Box::new(RtenEngine),
            )
        }
    };
    let or = |value: usize, default: usize| if value == 0 { default } else { value };
    Ok(Chosen {
        kind,
        engine,
        version,
        note,
        text_threads: or(options.text_threads, 1),
        image_threads: or(options.image_threads, cores()),
        parallel_calls: Some(options.parallel_calls).filter(|&calls| calls > 0),
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Chosen {
    /// How to run a tower's graph.
    ///
    /// By default text calls run in parallel, one per core, and image calls one after another on
    /// all cores. ONNX Runtime gets two sessions at most, since each holds its own weights.
    pub(crate) fn graph_options(&self, tower: Tower) -> GraphOptions {
        let threads = match tower {
            Tower::Text => self.text_threads,
            Tower::Image => self.image_threads,
        };
        let fitting = (cores() / threads).max(1);
        let most = if self.kind == EngineKind::Ort {
            2
        } else {
            fitting
        };
        GraphOptions {
            threads,
            parallel_calls: self.parallel_calls.unwrap_or(fitting.min(most)),
            // Twice the weights in memory for 1.1 to 1.4 times the speed: worth it for the small
            // text towers a person waits for, not for images.
            prepack: tower == Tower::Text,
        }
    }

    /// Describes the choice.
    pub(crate) fn report(&self, precision: Precision, source: &str) -> EngineReport {
        EngineReport {
            engine: self.kind,
            version: self.version.clone(),
            provider: "cpu".to_owned(),
            precision,
            source: source.to_owned(),
            text_threads: self.text_threads,
            image_threads: self.image_threads,
            note: self.note.clone(),
        }
    }
}
