//! How a BERT, CLIP or SigLIP directory becomes graphs and a spec.
//!
//! A directory holds exported graphs (`onnx/*.onnx`, as optimum and Xenova publish them) or
//! `model.safetensors`; exported f32 graphs are taken first, then the safetensors, then int8 graphs.

use std::path::{Path, PathBuf};

use crate::engine::graph::GraphSource;
use crate::load::LoadError;
use crate::onnx::{GraphBuilder, MemoryModel, SafeTensorsFile, WeightsError};
use crate::spec::{Family, ModelSpec, Precision, Towers};

pub(crate) mod bert;
pub(crate) mod clip;
pub(crate) mod config;
mod dual;
pub(crate) mod siglip;

use config::ModelConfig;

/// What is to be loaded.
pub(crate) struct Plan {
    pub(crate) spec: ModelSpec,
    pub(crate) text: Option<TowerPlan>,
    pub(crate) image: Option<TowerPlan>,
    /// `onnx` or `safetensors`.
    pub(crate) source: &'static str,
}

/// One tower's graph and which of its outputs is the vector, best first.
pub(crate) struct TowerPlan {
    pub(crate) graph: GraphSource,
    pub(crate) outputs: &'static [&'static str],
}

/// Who the model is, before it is loaded.
pub(crate) struct Identity<'a> {
    pub(crate) id: &'a str,
    pub(crate) version: &'a str,
    pub(crate) sha256: String,
}

/// Reads a directory's config and prepares its graphs. Blocking.
pub(crate) fn plan(dir: &Path, identity: Identity<'_>) -> Result<Plan, LoadError> {
    let config = ModelConfig::read(dir)?;
    match config.family()? {
        Family::Bert => bert::plan(dir, &config, identity),
        Family::Clip => clip::plan(dir, &config, identity),
        Family::Siglip => siglip::plan(dir, &config, identity),
    }
}

/// What can be told of a directory without loading its weights.
pub(crate) struct Summary {
    pub(crate) family: Family,
    pub(crate) dims: usize,
    pub(crate) towers: Towers,
    pub(crate) precision: Precision,
}

/// Reads a directory's config and looks which weights are there. Blocking, briefly.
pub(crate) fn summarize(dir: &Path) -> Result<Summary, LoadError> {
    let config = ModelConfig::read(dir)?;
    let family = config.family()?;
    let weights = weight_files(dir);
    let named = |base: &str| {
        weights.iter().any(|path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(base.as_bytes()))
        })
    };
    if weights.is_empty() {
        return Err(LoadError::Missing {
            dir: dir.to_owned(),
            file: "model.safetensors and no onnx graphs".to_owned(),
        });
    }
    let whole = safetensors(dir).is_some_and(|path| weights.contains(&path));
    let towers = match family {
        Family::Bert => Towers {
            text: true,
            image: false,
        },
        Family::Clip | Family::Siglip => Towers {
            text: whole || named("text_model"),
            image: whole || named("vision_model"),
        },
    };
    let text = &config.text_config;
    let dims = match family {
        Family::Bert => config.flat.hidden_size.unwrap_or(768),
        Family::Clip => config.projection_dim.unwrap_or(512),
        Family::Siglip => text.projection_size.or(text.hidden_size).unwrap_or(768),
    };
    let int8 = weights.iter().any(|path| {
        path.file_stem().is_some_and(|stem| {
            let stem = stem.to_string_lossy();
            stem.ends_with("_quantized") || stem.ends_with("_int8")
        })
    });
    let precision = if int8 {
        Precision::Int8
    } else {
        Precision::F32
    };
    Ok(Summary {
        family,
        dims,
        towers,
        precision,
    })
}

/// Finds the files with the weights of a directory: what `plan` would load, so what vectors depend
/// on.
pub(crate) fn weight_files(dir: &Path) -> Vec<PathBuf> {
    let towers = ["model", "text_model", "vision_model"];
    let exported = |precision| {
        towers
            .iter()
            .filter_map(move |tower| exported(dir, tower, precision))
    };
    let full: Vec<_> = exported(Precision::F32).collect();
    if !full.is_empty() {
        return full;
    }
    safetensors(dir).map_or_else(|| exported(Precision::Int8).collect(), |path| vec![path])
}

/// Finds an exported graph.
fn exported(dir: &Path, base: &str, precision: Precision) -> Option<PathBuf> {
    let suffixes: &[&str] = match precision {
        Precision::F32 => &[""],
        Precision::Int8 => &["_quantized", "_int8"],
    };
    suffixes
        .iter()
        .flat_map(|suffix| {
            [
                dir.join(format!("onnx/{base}{suffix}.onnx")),
                dir.join(format!("{base}{suffix}.onnx")),
            ]
        })
        .find(|path| path.is_file())
}

fn safetensors(dir: &Path) -> Option<PathBuf> {
    Some(dir.join("model.safetensors")).filter(|path| path.is_file())
}

/// Graphs found for a list of towers.
struct Found {
    graphs: Vec<Option<GraphSource>>,
    precision: Precision,
    source: &'static str,
}

/// Builds one tower's graph.
type Convert<'a> = &'a dyn Fn(&mut GraphBuilder<'_>) -> Result<(), WeightsError>;

/// Finds or makes the graph of each tower, given its exported name and its converter.
fn find(dir: &Path, towers: &[(&str, Convert<'_>)]) -> Result<Found, LoadError> {
    let exports = |precision| -> Option<Found> {
        let graphs: Vec<_> = towers
            .iter()
            .map(|(base, _)| exported(dir, base, precision).map(GraphSource::File))
            .collect();
        let any = graphs.iter().any(Option::is_some);
        any.then_some(Found {
            graphs,
            precision,
            source: "onnx",
        })
    };
    if let Some(found) = exports(Precision::F32) {
        return Ok(found);
    }
    if let Some(path) = safetensors(dir) {
        let wrap = |source| LoadError::Weights {
            dir: dir.to_owned(),
            source,
        };
        let mut file = SafeTensorsFile::open(&path).map_err(wrap)?;
        let graphs = towers
            .iter()
            .map(|(_, convert)| {
                Ok(Some(GraphSource::Memory(
                    converted(&mut file, *convert).map_err(wrap)?,
                )))
            })
            .collect::<Result<_, LoadError>>()?;
        return Ok(Found {
            graphs,
            precision: Precision::F32,
            source: "safetensors",
        });
    }
    exports(Precision::Int8).ok_or_else(|| LoadError::Missing {
        dir: dir.to_owned(),
        file: format!(
            "model.safetensors and no onnx/{}.onnx",
            towers.first().map_or("model", |(base, _)| base)
        ),
    })
}

fn converted(
    file: &mut SafeTensorsFile,
    convert: Convert<'_>,
) -> Result<MemoryModel, WeightsError> {
    let mut builder = GraphBuilder::new(file);
    convert(&mut builder)?;
    Ok(builder.finish())
}
