//! SigLIP: a bidirectional text tower and a vision transformer with an attention-pooling head.

use std::path::Path;

use crate::family::config::{Defaults, ModelConfig};
use crate::family::dual::{Dual, Tower, add_positions, patches, words};
use crate::family::{Identity, Plan};
use crate::load::LoadError;
use crate::onnx::builder::Attr;
use crate::onnx::layers::{Dims, attend, feed_forward, pre_norm_encoder};
use crate::onnx::{GraphBuilder, WeightsError};
use crate::spec::{Family, PadRule, Pooling};

const DEFAULTS: Defaults = Defaults(768, 3072, 12, 12, 1e-6, "gelu_pytorch_tanh");

pub(crate) fn plan(
    dir: &Path,
    config: &ModelConfig,
    identity: Identity<'_>,
) -> Result<Plan, LoadError> {
    let (text, vision) = (&config.text_config, &config.vision_config);
    let (text_dims, vision_dims) = (text.dims(dir, &DEFAULTS)?, vision.dims(dir, &DEFAULTS)?);
    let max_len = text.max_position_embeddings.unwrap_or(64);
    let vocab = text.vocab_size.unwrap_or(32_000);
    let out = text.projection_size.unwrap_or(text_dims.hidden);
    let side = vision.image_size.unwrap_or(224);
    let patch = vision.patch_size.unwrap_or(16);
    let unsupported = |what: String| LoadError::Unsupported {
        dir: dir.to_owned(),
        what,
    };
    if !vision.vision_use_head.unwrap_or(true) {
        return Err(unsupported(
            "a vision tower without its pooling head".to_owned(),
        ));
    }
    if out != vision_dims.hidden {
        return Err(unsupported(format!(
            "text vectors of {out} and image vectors of {}",
            vision_dims.hidden
        )));
    }

    let text_tower = |g: &mut GraphBuilder<'_>| convert_text(g, &text_dims, vocab, max_len, out);
    let image_tower = |g: &mut GraphBuilder<'_>| convert_image(g, &vision_dims, side, patch);
    Dual {
        family: Family::Siglip,
        dims: out,
        pooling: Pooling::LastPosition,
        max_len,
        // Every token sees every other and the vector is the last position's, so the padding the
        // model was trained with is part of its input.
        pad: PadRule::Fixed(max_len),
        side,
        text: Tower {
            convert: &text_tower,
            outputs: &["text_embeds", "pooler_output"],
        },
        image: Tower {
            convert: &image_tower,
            outputs: &["image_embeds", "pooler_output"],
        },
    }
    .plan(dir, identity)
}

/// Source: Zhai et al. 2023; `modeling_siglip.py`.
fn convert_text(
    g: &mut GraphBuilder<'_>,
    dims: &Dims,
    vocab: usize,
    max_len: usize,
    out: usize,
) -> Result<(), WeightsError> {
    let (_, x, _) = words(g, vocab, max_len, dims.hidden)?;
    let x = pre_norm_encoder(g, x, "text_model", dims, None)?;
    let x = g.layer_norm(&x, "text_model.final_layer_norm", dims.hidden, dims.eps)?;
    let last = g.int(-1);
    let state = g.op("Gather", &[&x, &last], vec![Attr::I("axis", 1)]);
    let vector = g.linear(&state, "text_model.head", dims.hidden, out)?;
    g.output(&vector, "text_embeds", &["batch", &out.to_string()]);
    Ok(())
}

fn convert_image(
    g: &mut GraphBuilder<'_>,
    dims: &Dims,
    side: usize,
    patch: usize,
) -> Result<(), WeightsError> {
    let d = dims.hidden;
    let (_, x) = patches(g, side, patch, d)?;
    let count = (side / patch) * (side / patch);
    let x = add_positions(g, &x, count, d)?;
    let x = pre_norm_encoder(g, x, "vision_model", dims, None)?;
    let x = g.layer_norm(&x, "vision_model.post_layernorm", d, dims.eps)?;

    // One learned query attends over the patches. torch keeps the three projections in one matrix.
    let weight = g.read("vision_model.head.attention.in_proj_weight", &[3 * d, d])?;
    let bias = g.read("vision_model.head.attention.in_proj_bias", &[3 * d])?;
    let probe = g.weight("vision_model.head.probe", &[1, 1, d])?;
    let mut part = |i: usize, x: &_| {
        g.affine(
            x,
            &weight[i * d * d..(i + 1) * d * d],
            Some(&bias[i * d..(i + 1) * d]),
            d,
            d,
        )
    };
    let (query, key, value) = (part(0, &probe), part(1, &x), part(2, &x));
    let mixed = attend(g, (&query, &key, &value), d, dims.heads, None);
    let mixed = g.linear(&mixed, "vision_model.head.attention.out_proj", d, d)?;
    let normed = g.layer_norm(&mixed, "vision_model.head.layernorm", d, dims.eps)?;
    let fed = feed_forward(g, &normed, "vision_model.head.mlp", dims)?;
    let sum = g.op("Add", &[&mixed, &fed], vec![]);
    let first = g.int(0);
    let vector = g.op("Gather", &[&sum, &first], vec![Attr::I("axis", 1)]);
    g.output(&vector, "image_embeds", &["batch", &d.to_string()]);
    Ok(())
}
