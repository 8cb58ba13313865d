//! Choosing and describing what runs the graphs.

use std::path::PathBuf;

use serde::Serialize;

use crate::spec::Precision;

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
