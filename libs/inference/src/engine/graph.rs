//! The seam between towers and engines: a graph that runs.

use std::path::PathBuf;
use std::sync::Arc;

use crate::onnx::MemoryModel;

/// Where a graph comes from.
pub(crate) enum GraphSource {
    /// An `.onnx` file, with any external data beside it.
    File(PathBuf),
    /// Made from safetensors.
    Memory(MemoryModel),
}

/// A dense input.
#[derive(Clone, Debug)]
pub(crate) enum Array {
    /// Token ids and masks.
    I64(Vec<usize>, Vec<i64>),
    /// Pixels.
    F32(Vec<usize>, Vec<f32>),
}

/// A dense f32 output.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    /// Row-major values.
    pub(crate) values: Vec<f32>,
}

/// What an engine says when it fails.
pub(crate) type EngineError = Box<dyn std::error::Error + Send + Sync>;

/// A loaded graph. Any number of threads may call `run`; those beyond `parallel_calls` wait.
pub(crate) trait Graph: Send + Sync {
    /// Names of the inputs.
    fn inputs(&self) -> &[String];
    /// Names of the outputs.
    fn outputs(&self) -> &[String];
    /// Runs the graph for one output. Blocking.
    fn run(&self, inputs: Vec<(&str, Array)>, output: &str) -> Result<Output, EngineError>;
}

/// How one graph is to be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GraphOptions {
    /// Threads of one call.
    pub(crate) threads: usize,
    /// Calls at the same time.
    pub(crate) parallel_calls: usize,
    /// Whether to trade memory (twice the weights) for speed (1.1 to 1.4 times, measured).
    pub(crate) prepack: bool,
}

/// Something that loads graphs.
pub(crate) trait Engine: Send + Sync {
    /// Loads a graph. Blocking.
    fn load(
        &self,
        source: GraphSource,
        options: &GraphOptions,
    ) -> Result<Arc<dyn Graph>, EngineError>;
}
