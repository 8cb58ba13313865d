//! From `model.safetensors` to an ONNX graph, in memory.
//!
//! - [`proto`]: the few messages of onnx.proto that a graph of plain operators needs
//! - [`weights`]: tensors of a safetensors file, read one at a time
//! - [`builder`]: operators with weights into a graph
//! - [`layers`]: attention and feed-forward blocks shared by the families

pub(crate) mod builder;
pub(crate) mod layers;
pub(crate) mod proto;
pub(crate) mod weights;

pub(crate) use builder::{GraphBuilder, Val};
pub(crate) use weights::SafeTensorsFile;
pub use weights::WeightsError;

/// A graph whose weights lie beside it in one buffer, which engines use without copying.
pub(crate) struct MemoryModel {
    /// Encoded `ModelProto`; its initialisers point into `weights` as external data.
    pub(crate) proto: Vec<u8>,
    /// All weights, each at a multiple of 64 bytes.
    pub(crate) weights: Vec<u8>,
}

/// External data name the initialisers refer to. rten accepts only `.data` and `.onnx_data` names.
pub(crate) const WEIGHTS_NAME: &str = "weights.data";
