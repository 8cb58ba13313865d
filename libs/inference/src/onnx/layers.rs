//! Attention and feed-forward blocks shared by the families.

use crate::onnx::builder::Attr;
use crate::onnx::{GraphBuilder, Val, WeightsError};

/// Added to the score of a position that must not be seen. Not `f32::MIN`: an engine that adds two
/// of them would get minus infinity and then NaN.
pub(crate) const MASKED: f32 = -1e30;

/// Activation of a feed-forward block, by its name in `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Exact, with erf.
    Gelu,
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// The tanh approximation.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// Reads the name `config.json` uses.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" => Self::Gelu,
            "quick_gelu" => Self::QuickGelu,
            "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Self::GeluTanh,
            "relu" => Self::Relu,
            _ => return None,
        })
    }

    /// Applies it, in the operator pattern exporters write and engines fuse.
    pub(crate) fn apply(self, g: &mut GraphBuilder<'_>, x: &Val) -> Val {
        match self {
            Self::Relu => g.op("Relu", &[x], vec![]),
            Self::QuickGelu => {
                let factor = g.float(1.702);
                let scaled = g.op("Mul", &[x, &factor], vec![]);
                let gate = g.op("Sigmoid", &[&scaled], vec![]);
                g.op("Mul", &[x, &gate], vec![])
            }
            Self::Gelu => {
                let root = g.float(std::f32::consts::SQRT_2);
                let inner = g.op("Div", &[x, &root], vec![]);
                let inner = g.op("Erf", &[&inner], vec![]);
                half_of_one_plus(g, x, &inner)
            }
            Self::GeluTanh => {
                let three = g.float(3.0);
                let cube = g.op("Pow", &[x, &three], vec![]);
                let factor = g.float(0.044_715);
                let cube = g.op("Mul", &[&cube, &factor], vec![]);
                let sum = g.op("Add", &[x, &cube], vec![]);
                let factor = g.float((2.0 / std::f32::consts::PI).sqrt());
                let inner = g.op("Mul", &[&sum, &factor], vec![]);
                let inner = g.op("Tanh", &[&inner], vec![]);
                half_of_one_plus(g, x, &inner)
            }
        }
    }
}

/// `x * (1 + inner) * 0.5`.
fn half_of_one_plus(g: &mut GraphBuilder<'_>, x: &Val, inner: &Val) -> Val {
    let one = g.float(1.0);
    let sum = g.op("Add", &[inner, &one], vec![]);
    let product = g.op("Mul", &[x, &sum], vec![]);
    let half = g.float(0.5);
    g.op("Mul", &[&product, &half], vec![])
}

/// Softmax attention over heads, from already projected states.
///
/// Shape: `query` is `[n, q, dims]`, `key` and `value` `[n, l, dims]`, `mask` broadcasts to
/// `[n, heads, q, l]`; the result is `[n, q, dims]`.
/// Source: Vaswani et al. 2017, section 3.2.
pub(crate) fn attend(
    g: &mut GraphBuilder<'_>,
    (query, key, value): (&Val, &Val, &Val),
    dims: usize,
    heads: usize,
    mask: Option<&Val>,
) -> Val {
    let head = dims / heads;
    let split = g.ints(&[0, 0, heads as i64, head as i64]);
    let mut heads_first = |x: &Val, perm: [i64; 4]| {
        let x = g.op("Reshape", &[x, &split], vec![]);
        g.op("Transpose", &[&x], vec![Attr::Ints("perm", perm.to_vec())])
    };
    let query = heads_first(query, [0, 2, 1, 3]);
    let key = heads_first(key, [0, 2, 3, 1]);
    let value = heads_first(value, [0, 2, 1, 3]);
    let scores = g.op("MatMul", &[&query, &key], vec![]);
    let scale = g.float((head as f32).sqrt().recip());
    let mut scores = g.op("Mul", &[&scores, &scale], vec![]);
    if let Some(mask) = mask {
        scores = g.op("Add", &[&scores, mask], vec![]);
    }
    let weights = g.op("Softmax", &[&scores], vec![Attr::I("axis", -1)]);
    let mixed = g.op("MatMul", &[&weights, &value], vec![]);
    let mixed = g.op(
        "Transpose",
        &[&mixed],
        vec![Attr::Ints("perm", vec![0, 2, 1, 3])],
    );
    let join = g.ints(&[0, 0, dims as i64]);
    g.op("Reshape", &[&mixed, &join], vec![])
}

/// Sizes of a CLIP-like transformer, as its config gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dims {
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) eps: f32,
    pub(crate) activation: Activation,
}

/// The pre-norm encoder that CLIP and SigLIP use in both towers.
pub(crate) fn pre_norm_encoder(
    g: &mut GraphBuilder<'_>,
    mut x: Val,
    prefix: &str,
    dims: &Dims,
    mask: Option<&Val>,
) -> Result<Val, WeightsError> {
    let d = dims.hidden;
    for layer in 0..dims.layers {
        let p = format!("{prefix}.encoder.layers.{layer}");
        let normed = g.layer_norm(&x, &format!("{p}.layer_norm1"), d, dims.eps)?;
        let query = g.linear(&normed, &format!("{p}.self_attn.q_proj"), d, d)?;
        let key = g.linear(&normed, &format!("{p}.self_attn.k_proj"), d, d)?;
        let value = g.linear(&normed, &format!("{p}.self_attn.v_proj"), d, d)?;
        let mixed = attend(g, (&query, &key, &value), d, dims.heads, mask);
        let mixed = g.linear(&mixed, &format!("{p}.self_attn.out_proj"), d, d)?;
        x = g.op("Add", &[&x, &mixed], vec![]);
        let normed = g.layer_norm(&x, &format!("{p}.layer_norm2"), d, dims.eps)?;
        let fed = feed_forward(g, &normed, &format!("{p}.mlp"), dims)?;
        x = g.op("Add", &[&x, &fed], vec![]);
    }
    Ok(x)
}

/// Two linear layers with an activation between them.
pub(crate) fn feed_forward(
    g: &mut GraphBuilder<'_>,
    x: &Val,
    prefix: &str,
    dims: &Dims,
) -> Result<Val, WeightsError> {
    let wide = g.linear(x, &format!("{prefix}.fc1"), dims.hidden, dims.intermediate)?;
    let wide = dims.activation.apply(g, &wide);
    g.linear(
        &wide,
        &format!("{prefix}.fc2"),
        dims.intermediate,
        dims.hidden,
    )
}

/// Token embeddings plus the first positions of the position table; also the text's length `[1]`.
pub(crate) fn text_embeddings(
    g: &mut GraphBuilder<'_>,
    ids: &Val,
    (table, vocab): (&str, usize),
    (positions, max_len): (&str, usize),
    hidden: usize,
) -> Result<(Val, Val), WeightsError> {
    let table = g.weight(table, &[vocab, hidden])?;
    let tokens = g.op("Gather", &[&table, ids], vec![Attr::I("axis", 0)]);
    let shape = g.op("Shape", &[ids], vec![]);
    let one = g.ints(&[1]);
    let length = g.op("Gather", &[&shape, &one], vec![Attr::I("axis", 0)]);
    let positions = g.weight(positions, &[max_len, hidden])?;
    let (zero, axis) = (g.ints(&[0]), g.ints(&[0]));
    let positions = g.op("Slice", &[&positions, &zero, &length, &axis], vec![]);
    Ok((g.op("Add", &[&tokens, &positions], vec![]), length))
}

/// Image patches as a sequence `[n, patches, hidden]`, without positions.
pub(crate) fn patch_embeddings(
    g: &mut GraphBuilder<'_>,
    pixels: &Val,
    prefix: &str,
    hidden: usize,
    patch: usize,
) -> Result<Val, WeightsError> {
    let kernel = g.weight(&format!("{prefix}.weight"), &[hidden, 3, patch, patch])?;
    let bias = format!("{prefix}.bias");
    let bias = if g.has(&bias) {
        Some(g.weight(&bias, &[hidden])?)
    } else {
        None
    };
    let side = patch as i64;
    let mut inputs = vec![pixels, &kernel];
    inputs.extend(bias.as_ref());
    let attributes = vec![
        Attr::Ints("kernel_shape", vec![side, side]),
        Attr::Ints("strides", vec![side, side]),
        Attr::Ints("pads", vec![0, 0, 0, 0]),
    ];
    let grid = g.op("Conv", &inputs, attributes);
    let flat = g.ints(&[0, hidden as i64, -1]);
    let flat = g.op("Reshape", &[&grid, &flat], vec![]);
    Ok(g.op(
        "Transpose",
        &[&flat],
        vec![Attr::Ints("perm", vec![0, 2, 1])],
    ))
}
