//! SigLIP: a bidirectional text tower and a vision transformer with an attention-pooling head.

use std::path::Path;

use crate::family::config::{Defaults, ModelConfig, image_spec};
use crate::family::{Identity, Plan, TowerPlan, find};
use crate::load::LoadError;
use crate::onnx::builder::{Attr, Elem};
use crate::onnx::layers::{
    Dims, attend, feed_forward, patch_embeddings, pre_norm_encoder, text_embeddings,
};
use crate::onnx::{GraphBuilder, WeightsError};
use crate::spec::{Family, ModelSpec, PadRule, Pooling, Towers};

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
    let found = find(
        dir,
        &[("text_model", &text_tower), ("vision_model", &image_tower)],
    )?;
    let (precision, source) = (found.precision, found.source);
    let mut graphs = found.graphs.into_iter();
    let text = graphs.next().flatten().map(|graph| TowerPlan {
        graph,
        outputs: &["text_embeds", "pooler_output"],
    });
    let image = graphs.next().flatten().map(|graph| TowerPlan {
        graph,
        outputs: &["image_embeds", "pooler_output"],
    });
    let spec = ModelSpec {
        id: identity.id.to_owned(),
        version: identity.version.to_owned(),
        sha256: identity.sha256,
        family: Family::Siglip,
        dims: out,
        towers: Towers {
            text: text.is_some(),
            image: image.is_some(),
        },
        precision,
        pooling: Pooling::LastPosition,
        normalize: true,
        max_len,
        // Every token sees every other and the vector is the last position's, so the padding the
        // model was trained with is part of its input.
        pad: PadRule::Fixed(max_len),
        image: image
            .as_ref()
            .map(|_| image_spec(dir, Family::Siglip, side))
            .transpose()?,
    };
    Ok(Plan {
        spec,
        text,
        image,
        source,
    })
}

/// Source: Zhai et al. 2023; `modeling_siglip.py`.
fn convert_text(
    g: &mut GraphBuilder<'_>,
    dims: &Dims,
    vocab: usize,
    max_len: usize,
    out: usize,
) -> Result<(), WeightsError> {
    let ids = g.input("input_ids", Elem::I64, &["batch", "length"]);
    let words = ("text_model.embeddings.token_embedding.weight", vocab);
    let table = ("text_model.embeddings.position_embedding.weight", max_len);
    let (x, _) = text_embeddings(g, &ids, words, table, dims.hidden)?;
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
    let edge = side.to_string();
    let pixels = g.input("pixel_values", Elem::F32, &["batch", "3", &edge, &edge]);
    let x = patch_embeddings(
        g,
        &pixels,
        "vision_model.embeddings.patch_embedding",
        d,
        patch,
    )?;
    let count = (side / patch) * (side / patch);
    let positions = g.weight(
        "vision_model.embeddings.position_embedding.weight",
        &[count, d],
    )?;
    let x = g.op("Add", &[&x, &positions], vec![]);
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
