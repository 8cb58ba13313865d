//! What models of two towers share, text and image in one space: from their plan down to the
//! embeddings that their encoders begin with.

use std::path::Path;

use crate::family::config::image_spec;
use crate::family::{Convert, Identity, Plan, TowerPlan, find};
use crate::load::LoadError;
use crate::onnx::builder::{Elem, Val};
use crate::onnx::layers::{patch_embeddings, text_embeddings};
use crate::onnx::{GraphBuilder, WeightsError};
use crate::spec::{Family, ModelSpec, PadRule, Pooling, Towers};

/// One tower: how its graph is made, and which of an exported graph's outputs is the vector, best
/// first.
pub(crate) struct Tower<'a> {
    pub(crate) convert: Convert<'a>,
    pub(crate) outputs: &'static [&'static str],
}

/// Wherein two models of two towers differ.
pub(crate) struct Dual<'a> {
    pub(crate) family: Family,
    pub(crate) dims: usize,
    pub(crate) pooling: Pooling,
    pub(crate) max_len: usize,
    pub(crate) pad: PadRule,
    /// Pixels of the square that the image tower reads.
    pub(crate) side: usize,
    pub(crate) text: Tower<'a>,
    pub(crate) image: Tower<'a>,
}

impl Dual<'_> {
    /// Finds or makes the graphs. Blocking.
    pub(crate) fn plan(self, dir: &Path, identity: Identity<'_>) -> Result<Plan, LoadError> {
        let towers = [
            ("text_model", self.text.convert),
            ("vision_model", self.image.convert),
        ];
        let found = find(dir, &towers)?;
        let (precision, source) = (found.precision, found.source);
        let mut graphs = found.graphs.into_iter();
        let mut tower = |outputs| {
            let graph = graphs.next().flatten();
            graph.map(|graph| TowerPlan { graph, outputs })
        };
        let text = tower(self.text.outputs);
        let image = tower(self.image.outputs);
        let spec = ModelSpec {
            id: identity.id.to_owned(),
            version: identity.version.to_owned(),
            sha256: identity.sha256,
            family: self.family,
            dims: self.dims,
            towers: Towers {
                text: text.is_some(),
                image: image.is_some(),
            },
            precision,
            pooling: self.pooling,
            normalize: true,
            max_len: self.max_len,
            pad: self.pad,
            image: image
                .as_ref()
                .map(|_| image_spec(dir, self.family, self.side))
                .transpose()?,
        };
        Ok(Plan {
            spec,
            text,
            image,
            source,
        })
    }
}

/// The words with their positions: the ids, `[batch, length, hidden]`, and the length.
pub(crate) fn words(
    g: &mut GraphBuilder<'_>,
    vocab: usize,
    max_len: usize,
    hidden: usize,
) -> Result<(Val, Val, Val), WeightsError> {
    let ids = g.input("input_ids", Elem::I64, &["batch", "length"]);
    let words = ("text_model.embeddings.token_embedding.weight", vocab);
    let table = ("text_model.embeddings.position_embedding.weight", max_len);
    let (x, length) = text_embeddings(g, &ids, words, table, hidden)?;
    Ok((ids, x, length))
}

/// The patches of a square picture without their positions: the pixels, and
/// `[batch, patches, hidden]`.
pub(crate) fn patches(
    g: &mut GraphBuilder<'_>,
    side: usize,
    patch: usize,
    hidden: usize,
) -> Result<(Val, Val), WeightsError> {
    let edge = side.to_string();
    let pixels = g.input("pixel_values", Elem::F32, &["batch", "3", &edge, &edge]);
    let name = "vision_model.embeddings.patch_embedding";
    let patches = patch_embeddings(g, &pixels, name, hidden, patch)?;
    Ok((pixels, patches))
}

/// Adds the positions of `count` patches.
pub(crate) fn add_positions(
    g: &mut GraphBuilder<'_>,
    x: &Val,
    count: usize,
    hidden: usize,
) -> Result<Val, WeightsError> {
    let positions = g.weight(
        "vision_model.embeddings.position_embedding.weight",
        &[count, hidden],
    )?;
    Ok(g.op("Add", &[x, &positions], vec![]))
}
