//! Local text and image encoders behind one blocking trait.
//!
//! - [`spec`]: what a model is (family, dims, pooling, padding, image rules, precision)
//! - [`encoder`]: the [`Encoder`] trait and its errors
//! - [`engine`]: what runs a graph: rten by default, ONNX Runtime when its library loads
//! - `family`: how a BERT, CLIP or SigLIP directory becomes graphs and a spec
//! - `onnx`: `model.safetensors` to an ONNX graph, in memory
//! - `tokenize`, `preprocess`: text to ids and image to pixels, as the reference does it
//! - `tower`: the encoders themselves
//! - [`load`](mod@load): an installed model to a [`LoadedModel`]
//! - [`models`]: the directory of installed models, and pulling from a model hub

pub mod encoder;
pub mod engine;
pub mod load;
pub mod models;
pub mod spec;

mod family;
mod onnx;
mod preprocess;
mod tokenize;
mod tower;

pub use mediamesh_imaging::RgbImage;

pub use encoder::{EncodeError, Encoder};
pub use engine::{EngineChoice, EngineKind, EngineOptions, EngineReport};
pub use load::{LoadError, LoadedModel, load, load_dir};
pub use models::{InstalledModel, ModelStore, ModelsError};
pub use onnx::WeightsError;
pub use spec::{Family, ImageSpec, ModelSpec, PadRule, Pooling, Precision, Tower, Towers};
