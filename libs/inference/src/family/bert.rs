//! BERT-like sentence encoders, as sentence-transformers runs them.

use std::path::Path;

use serde::Deserialize;

use crate::family::config::{Defaults, ModelConfig, optional};
use crate::family::{Identity, Plan, TowerPlan, find};
use crate::load::LoadError;
use crate::onnx::builder::{Attr, Elem};
use crate::onnx::layers::{Dims, MASKED, attend, text_embeddings};
use crate::onnx::{GraphBuilder, WeightsError};
use crate::spec::{Family, ModelSpec, PadRule, Pooling, Towers};

const DEFAULTS: Defaults = Defaults(768, 3072, 12, 12, 1e-12, "gelu");

/// `1_Pooling/config.json` of sentence-transformers.
#[derive(Default, Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
}

/// `sentence_bert_config.json` of sentence-transformers.
#[derive(Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
}

pub(crate) fn plan(
    dir: &Path,
    config: &ModelConfig,
    identity: Identity<'_>,
) -> Result<Plan, LoadError> {
    let unsupported = |what: &str| LoadError::Unsupported {
        dir: dir.to_owned(),
        what: what.to_owned(),
    };
    let dims = config.flat.dims(dir, &DEFAULTS)?;
    let positions = config.flat.max_position_embeddings.unwrap_or(512);
    if config
        .position_embedding_type
        .as_deref()
        .is_some_and(|kind| kind != "absolute")
    {
        return Err(unsupported("relative position embeddings"));
    }
    let pooling = match optional::<PoolingConfig>(dir, "1_Pooling/config.json")? {
        Some(PoolingConfig {
            pooling_mode_cls_token: true,
            ..
        }) => Pooling::Cls,
        None
        | Some(PoolingConfig {
            pooling_mode_mean_tokens: true,
            ..
        }) => Pooling::Mean,
        Some(_) => return Err(unsupported("a pooling that is neither mean nor cls")),
    };
    let sentence: Option<SentenceConfig> = optional(dir, "sentence_bert_config.json")?;
    let max_len = sentence
        .and_then(|s| s.max_seq_length)
        .unwrap_or(positions)
        .min(positions);
    let vocab = config.flat.vocab_size.unwrap_or(30_522);
    let types = config.flat.type_vocab_size.unwrap_or(2);

    let convert = |g: &mut GraphBuilder<'_>| convert(g, &dims, vocab, positions, types);
    let found = find(dir, &[("model", &convert)])?;
    let spec = ModelSpec {
        id: identity.id.to_owned(),
        version: identity.version.to_owned(),
        sha256: identity.sha256,
        family: Family::Bert,
        dims: dims.hidden,
        towers: Towers {
            text: true,
            image: false,
        },
        precision: found.precision,
        pooling,
        normalize: true,
        max_len,
        pad: PadRule::Longest,
        image: None,
    };
    let outputs = &["last_hidden_state", "token_embeddings"];
    let text = found
        .graphs
        .into_iter()
        .next()
        .flatten()
        .map(|graph| TowerPlan { graph, outputs });
    Ok(Plan {
        spec,
        text,
        image: None,
        source: found.source,
    })
}

/// Token states of a post-norm encoder. Source: Devlin et al. 2018; `modeling_bert.py`.
fn convert(
    g: &mut GraphBuilder<'_>,
    dims: &Dims,
    vocab: usize,
    positions: usize,
    types: usize,
) -> Result<(), WeightsError> {
    let d = dims.hidden;
    // Checkpoints of a bare encoder have no prefix, those with a head have one.
    let root = if g.has("bert.embeddings.word_embeddings.weight") {
        "bert."
    } else {
        ""
    };
    let ids = g.input("input_ids", Elem::I64, &["batch", "length"]);
    let mask = g.input("attention_mask", Elem::I64, &["batch", "length"]);

    let e = format!("{root}embeddings");
    let (words, table) = (
        format!("{e}.word_embeddings.weight"),
        format!("{e}.position_embeddings.weight"),
    );
    let (x, _) = text_embeddings(g, &ids, (&words, vocab), (&table, positions), d)?;
    // Every token of a single text is of type 0.
    let kinds = g.read(&format!("{e}.token_type_embeddings.weight"), &[types, d])?;
    let kind = g.floats(&[d], &kinds[..d]);
    let x = g.op("Add", &[&x, &kind], vec![]);
    let mut x = g.layer_norm(&x, &format!("{e}.LayerNorm"), d, dims.eps)?;

    let mask = g.op(
        "Cast",
        &[&mask],
        vec![Attr::I("to", i64::from(crate::onnx::proto::TYPE_FLOAT))],
    );
    let one = g.float(1.0);
    let hidden = g.op("Sub", &[&one, &mask], vec![]);
    let masked = g.float(MASKED);
    let bias = g.op("Mul", &[&hidden, &masked], vec![]);
    let axes = g.ints(&[1, 2]);
    let bias = g.op("Unsqueeze", &[&bias, &axes], vec![]);

    for layer in 0..dims.layers {
        let p = format!("{root}encoder.layer.{layer}");
        let query = g.linear(&x, &format!("{p}.attention.self.query"), d, d)?;
        let key = g.linear(&x, &format!("{p}.attention.self.key"), d, d)?;
        let value = g.linear(&x, &format!("{p}.attention.self.value"), d, d)?;
        let mixed = attend(g, (&query, &key, &value), d, dims.heads, Some(&bias));
        let mixed = g.linear(&mixed, &format!("{p}.attention.output.dense"), d, d)?;
        let sum = g.op("Add", &[&mixed, &x], vec![]);
        x = g.layer_norm(
            &sum,
            &format!("{p}.attention.output.LayerNorm"),
            d,
            dims.eps,
        )?;
        let wide = g.linear(&x, &format!("{p}.intermediate.dense"), d, dims.intermediate)?;
        let wide = dims.activation.apply(g, &wide);
        let narrow = g.linear(&wide, &format!("{p}.output.dense"), dims.intermediate, d)?;
        let sum = g.op("Add", &[&narrow, &x], vec![]);
        x = g.layer_norm(&sum, &format!("{p}.output.LayerNorm"), d, dims.eps)?;
    }
    g.output(
        &x,
        "last_hidden_state",
        &["batch", "length", &d.to_string()],
    );
    Ok(())
}
