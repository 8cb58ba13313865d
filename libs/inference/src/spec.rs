//! What a model is: everything that decides which vector a text or an image gets.

use serde::{Deserialize, Serialize};

/// Architecture family, which decides graph, pooling and input rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// BERT-like sentence encoders (MiniLM and its kin): text only.
    Bert,
    /// CLIP: causal text tower and a vision transformer in one space.
    Clip,
    /// SigLIP: bidirectional text tower and a vision transformer with an attention-pooling head.
    Siglip,
}

impl Family {
    /// Returns the lower-case name used in manifests and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Bert => "bert",
            Family::Clip => "clip",
            Family::Siglip => "siglip",
        }
    }

    /// Reads `model_type` of a `config.json`; `None` if no family here loads it.
    pub fn from_model_type(model_type: &str) -> Option<Self> {
        Some(match model_type {
            "bert" => Family::Bert,
            "clip" => Family::Clip,
            "siglip" => Family::Siglip,
            _ => return None,
        })
    }
}

/// One side of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tower {
    /// Takes text.
    Text,
    /// Takes images.
    Image,
}

impl std::fmt::Display for Tower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Tower::Text => "text",
            Tower::Image => "image",
        })
    }
}

/// Which towers a model has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Towers {
    /// Encodes text.
    pub text: bool,
    /// Encodes images, into the same space as text.
    pub image: bool,
}

/// Number format of the weights. Part of a vector's identity: an int8 index and an f32 one do not
/// mix, while two engines at f32 do (they agree to 1.4e-7 on unit vectors, measured 2026-11-20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats (16-bit weights on disk are widened on load and count as this).
    #[default]
    F32,
    /// 8-bit integer weights, dynamically quantised activations.
    Int8,
}

impl Precision {
    /// Returns the lower-case name stored beside every vector.
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Int8 => "int8",
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How token or patch states become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Mean of the token states the mask keeps.
    Mean,
    /// State of the first token.
    Cls,
    /// State of the first end-of-text token, then a projection.
    EndOfText,
    /// State of the last position, padding or not, then a linear head (SigLIP text).
    LastPosition,
}

/// How a batch of token sequences is made equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PadRule {
    /// To the longest of the batch, masked: padding never reaches the vector.
    Longest,
    /// Always to this many tokens, unmasked: the padding is part of the input (SigLIP).
    Fixed(usize),
}

/// Resampling filter of an image resize, with antialiasing, named as Pillow names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Nearest neighbour.
    Nearest,
    /// Triangle filter.
    Bilinear,
    /// Cubic convolution, a = -0.5.
    Bicubic,
    /// Windowed sinc with three lobes.
    Lanczos,
}

/// Target of an image resize, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeRule {
    /// The shorter edge becomes this long, the aspect ratio stays.
    ShortestEdge(u32),
    /// Exactly this width and height, the aspect ratio be what it may.
    Exact {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// How an image becomes the tower's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// Width of the tower's input, pixels.
    pub width: u32,
    /// Height of the tower's input, pixels.
    pub height: u32,
    /// Resize before the crop; `None` leaves the image as it is.
    pub resize: Option<ResizeRule>,
    /// Filter of that resize.
    pub filter: Filter,
    /// Centre crop `(width, height)` after the resize; pads with black where the image is smaller.
    pub crop: Option<(u32, u32)>,
    /// Factor on the 0..=255 value, usually 1/255.
    pub rescale: f64,
    /// Subtracted per channel after the rescale.
    pub mean: [f32; 3],
    /// Divided by per channel after the mean.
    pub std: [f32; 3],
}

/// Everything that decides a vector; stored (by `id`, `version`, `precision`) beside each one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Hub id, `owner/name`.
    pub id: String,
    /// Revision of the hub's repository, or empty for a directory installed by hand.
    pub version: String,
    /// SHA-256 over the weight files' own hashes: what vectors really depend on.
    pub sha256: String,
    /// Architecture family.
    pub family: Family,
    /// Length of a vector.
    pub dims: usize,
    /// Which inputs it takes.
    pub towers: Towers,
    /// Number format of the weights.
    pub precision: Precision,
    /// Text pooling.
    pub pooling: Pooling,
    /// Whether vectors leave with unit L2 norm. Always true for models loaded here.
    pub normalize: bool,
    /// Longest text in tokens, special tokens included; longer texts are truncated.
    pub max_len: usize,
    /// Text padding.
    pub pad: PadRule,
    /// Image rules, if it has an image tower.
    pub image: Option<ImageSpec>,
}

impl ModelSpec {
    /// Returns `id@version/precision`, the key under which vectors of this model are comparable.
    pub fn identity(&self) -> String {
        let version = if self.version.is_empty() {
            self.sha256.get(..12).unwrap_or(&self.sha256)
        } else {
            &self.version
        };
        format!("{}@{version}/{}", self.id, self.precision)
    }
}
