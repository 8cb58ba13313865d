//! CLIP: a causal text tower and a vision transformer in one space.

use std::path::Path;

use crate::family::config::{Defaults, ModelConfig};
use crate::family::dual::{Dual, Tower, add_positions, patches, words};
use crate::family::{Identity, Plan};
use crate::load::LoadError;
use crate::onnx::builder::Attr;
use crate::onnx::layers::{Dims, MASKED, pre_norm_encoder};
use crate::onnx::proto::TYPE_FLOAT;
use crate::onnx::{GraphBuilder, WeightsError};
use crate::spec::{Family, PadRule, Pooling};

const TEXT: Defaults = Defaults(512, 2048, 12, 8, 1e-5, "quick_gelu");
const VISION: Defaults = Defaults(768, 3072, 12, 12, 1e-5, "quick_gelu");
/// What old configs say for the end of text; it means "the highest id in the text".
const LEGACY_EOS: i64 = 2;

pub(crate) fn plan(
    dir: &Path,
    config: &ModelConfig,
    identity: Identity<'_>,
) -> Result<Plan, LoadError> {
    let (text, vision) = (&config.text_config, &config.vision_config);
    let (text_dims, vision_dims) = (text.dims(dir, &TEXT)?, vision.dims(dir, &VISION)?);
    let dims = config.projection_dim.unwrap_or(512);
    let max_len = text.max_position_embeddings.unwrap_or(77);
    let vocab = text.vocab_size.unwrap_or(49_408);
    let eos = text.eos_token_id.unwrap_or(49_407);
    let side = vision.image_size.unwrap_or(224);
    let patch = vision.patch_size.unwrap_or(32);

    let text_tower =
        |g: &mut GraphBuilder<'_>| convert_text(g, &text_dims, (vocab, max_len, eos), dims);
    let image_tower =
        |g: &mut GraphBuilder<'_>| convert_image(g, &vision_dims, (side, patch), dims);
    Dual {
        family: Family::Clip,
        dims,
        pooling: Pooling::EndOfText,
        max_len,
        // The mask is causal and the vector is the end token's, so what follows it is never seen:
        // no padding to 77 gives the same vector 2.5 times faster (difference 0.0, measured).
        pad: PadRule::Longest,
        side,
        text: Tower {
            convert: &text_tower,
            outputs: &["text_embeds"],
        },
        image: Tower {
            convert: &image_tower,
            outputs: &["image_embeds"],
        },
    }
    .plan(dir, identity)
}

/// Source: Radford et al. 2021; `modeling_clip.py`.
fn convert_text(
    g: &mut GraphBuilder<'_>,
    dims: &Dims,
    (vocab, max_len, eos): (usize, usize, i64),
    out: usize,
) -> Result<(), WeightsError> {
    let (ids, x, length) = words(g, vocab, max_len, dims.hidden)?;

    let causal: Vec<f32> = (0..max_len * max_len)
        .map(|i| {
            if i % max_len > i / max_len {
                MASKED
            } else {
                0.0
            }
        })
        .collect();
    let causal = g.floats(&[max_len, max_len], &causal);
    let (start, axes) = (g.ints(&[0, 0]), g.ints(&[0, 1]));
    let ends = g.op("Concat", &[&length, &length], vec![Attr::I("axis", 0)]);
    let mask = g.op("Slice", &[&causal, &start, &ends, &axes], vec![]);

    let x = pre_norm_encoder(g, x, "text_model", dims, Some(&mask))?;
    let x = g.layer_norm(&x, "text_model.final_layer_norm", dims.hidden, dims.eps)?;

    // The end of text, which occurs once: see the tokenizer. Ids are compared as floats
    // (exact below 2^24), the one type every engine takes the argmax of.
    let marks = if eos == LEGACY_EOS {
        ids
    } else {
        let eos = g.int(eos);
        g.op("Equal", &[&ids, &eos], vec![])
    };
    let marks = g.op(
        "Cast",
        &[&marks],
        vec![Attr::I("to", i64::from(TYPE_FLOAT))],
    );
    let at = g.op(
        "ArgMax",
        &[&marks],
        vec![Attr::I("axis", 1), Attr::I("keepdims", 1)],
    );
    let state = g.op("GatherND", &[&x, &at], vec![Attr::I("batch_dims", 1)]);
    let vector = g.linear(&state, "text_projection", dims.hidden, out)?;
    g.output(&vector, "text_embeds", &["batch", &out.to_string()]);
    Ok(())
}

fn convert_image(
    g: &mut GraphBuilder<'_>,
    dims: &Dims,
    (side, patch): (usize, usize),
    out: usize,
) -> Result<(), WeightsError> {
    let d = dims.hidden;
    let (pixels, patches) = patches(g, side, patch, d)?;
    let class = g.read("vision_model.embeddings.class_embedding", &[d])?;
    let class = g.floats(&[1, 1, d], &class);
    let shape = g.op("Shape", &[&pixels], vec![]);
    let (zero, rest) = (g.ints(&[0]), g.ints(&[1, d as i64]));
    let batch = g.op("Gather", &[&shape, &zero], vec![Attr::I("axis", 0)]);
    let shape = g.op("Concat", &[&batch, &rest], vec![Attr::I("axis", 0)]);
    let class = g.op("Expand", &[&class, &shape], vec![]);
    let x = g.op("Concat", &[&class, &patches], vec![Attr::I("axis", 1)]);
    let count = (side / patch) * (side / patch) + 1;
    let x = add_positions(g, &x, count, d)?;
    // The missing letter is part of the published weights' names.
    let x = g.layer_norm(&x, "vision_model.pre_layrnorm", d, dims.eps)?;
    let x = pre_norm_encoder(g, x, "vision_model", dims, None)?;
    let first = g.int(0);
    let state = g.op("Gather", &[&x, &first], vec![Attr::I("axis", 1)]);
    let state = g.layer_norm(&state, "vision_model.post_layernorm", d, dims.eps)?;
    let vector = g.linear(&state, "visual_projection", d, out)?;
    g.output(&vector, "image_embeds", &["batch", &out.to_string()]);
    Ok(())
}
