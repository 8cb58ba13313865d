//! ONNX Runtime from the operator's own shared library, loaded at run time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ort::environment::Environment;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;

use crate::engine::graph::{Array, Engine, EngineError, Graph, GraphOptions, GraphSource, Output};
use crate::engine::lanes::Lanes;
use crate::onnx::WEIGHTS_NAME;

/// Loads graphs into ONNX Runtime.
pub(crate) struct OrtEngine {
    environment: Environment,
    version: String,
}

/// The library can be loaded once per process; later asks for another path get this one.
static LOADED: OnceLock<Result<(Environment, String), String>> = OnceLock::new();

impl OrtEngine {
    /// Loads the shared library. Blocking.
    ///
    /// Errors: the library is absent, is no ONNX Runtime, or is older than 1.20.
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        let loaded = LOADED.get_or_init(|| load_library(path));
        let (environment, version) = loaded.as_ref().map_err(String::as_str)?;
        Ok(Self {
            environment: environment.clone(),
            version: version.clone(),
        })
    }

    /// Version of the library, `1.31.1`.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }
}

fn load_library(path: &Path) -> Result<(Environment, String), String> {
    // The binding panics where the library is of the wrong version; that must not end a service
    // that has another engine to fall back to.
    std::panic::catch_unwind(|| {
        let environment = ort::init_from(path)
            .map_err(|error| error.to_string())?
            .with_telemetry(false)
            .build()
            .map_err(|error| error.to_string())?;
        Ok((environment, build_version(path, ort::info())))
    })
    .unwrap_or_else(|_| Err(format!("{} is not a usable ONNX Runtime", path.display())))
}

/// Tells the version from what the library says of its build, `git-branch=rel-1.31.1, ...`.
///
/// The library's own version string needs an unsafe call. Builds for PyPI name no release branch;
/// there the version is in the file's name, behind its links.
fn build_version(path: &Path, info: &str) -> String {
    let field = |name: &str| {
        let rest = info.split_once(name)?.1;
        rest.split([',', ' ']).next()
    };
    if let Some(version) = field("git-branch=").and_then(|branch| branch.strip_prefix("rel-")) {
        return version.to_owned();
    }
    let file = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let named = name
        .as_deref()
        .and_then(|name| name.split_once(".so."))
        .map(|(_, version)| version);
    let commit = || field("git-commit-id=").map(|id| format!("commit {id}"));
    named
        .map(str::to_owned)
        .or_else(commit)
        .unwrap_or_else(|| info.to_owned())
}

impl Engine for OrtEngine {
    fn load(
        &self,
        source: GraphSource,
        options: &GraphOptions,
    ) -> Result<Arc<dyn Graph>, EngineError> {
        let source = match source {
            GraphSource::File(path) => Source::File(path),
            GraphSource::Memory(model) => Source::Memory(model.proto, model.weights.into()),
        };
        // A session runs one call at a time and holds its own weights, hence the number is the
        // caller's to weigh.
        let sessions = (0..options.parallel_calls)
            .map(|_| self.session(&source, options))
            .collect::<Result<Vec<_>, _>>()?;
        let first = sessions.first().ok_or("no session")?;
        let inputs = first
            .inputs()
            .iter()
            .map(|input| input.name().to_owned())
            .collect();
        let outputs = first
            .outputs()
            .iter()
            .map(|output| output.name().to_owned())
            .collect();
        Ok(Arc::new(OrtGraph {
            inputs,
            outputs,
            sessions: Lanes::new(sessions),
        }))
    }
}

enum Source {
    File(PathBuf),
    Memory(Vec<u8>, Arc<[u8]>),
}

impl OrtEngine {
    fn session(&self, source: &Source, options: &GraphOptions) -> Result<Session, EngineError> {
        // Spinning threads would take the cores of the services beside us.
        let mut builder = Session::builder(&self.environment)?
            .with_intra_threads(options.threads)
            .map_err(ort::Error::<()>::from)?
            .with_inter_threads(1)
            .map_err(ort::Error::<()>::from)?
            .with_intra_op_spinning(false)
            .map_err(ort::Error::<()>::from)?;
        Ok(match source {
            Source::File(path) => builder.commit_from_file(path)?,
            Source::Memory(proto, weights) => builder
                .with_external_initializer_file_in_memory(WEIGHTS_NAME, Arc::clone(weights))
                .map_err(ort::Error::<()>::from)?
                .commit_from_memory(proto)?,
        })
    }
}

struct OrtGraph {
    inputs: Vec<String>,
    outputs: Vec<String>,
    sessions: Lanes<Session>,
}

impl Graph for OrtGraph {
    fn inputs(&self) -> &[String] {
        &self.inputs
    }

    fn outputs(&self) -> &[String] {
        &self.outputs
    }

    fn run(&self, inputs: Vec<(&str, Array)>, output: &str) -> Result<Output, EngineError> {
        let mut values: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
        for (name, array) in inputs {
            let value: SessionInputValue<'_> = match array {
                Array::I64(shape, data) => Tensor::from_array((shape, data))?.into(),
                Array::F32(shape, data) => Tensor::from_array((shape, data))?.into(),
            };
            values.push((name, value));
        }
        let mut session = self.sessions.take();
        let answers = session.run(values)?;
        let answer = answers.get(output).ok_or("output is missing")?;
        let (shape, data) = answer.try_extract_tensor::<f32>()?;
        let shape = shape
            .iter()
            .map(|&dim| usize::try_from(dim))
            .collect::<Result<_, _>>()?;
        Ok(Output {
            shape,
            values: data.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_branch_or_else_the_file() {
        let library = Path::new("/nowhere/libonnxruntime.so.1.31.1");
        let release =
            "ORT Build Info: git-branch=rel-1.30.0, git-commit-id=ab12, build type=Release";
        let other = "ORT Build Info: git-branch=HEAD, git-commit-id=ab12, build type=Release";
        assert_eq!(build_version(library, release), "1.30.0");
        assert_eq!(build_version(library, other), "1.31.1");
        let unnamed = Path::new("/nowhere/onnxruntime.dll");
        assert_eq!(build_version(unnamed, other), "commit ab12");
    }
}
