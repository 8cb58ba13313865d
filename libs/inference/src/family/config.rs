//! The configuration files of a Hugging Face directory, as far as they decide a vector.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::load::LoadError;
use crate::onnx::layers::{Activation, Dims};
use crate::spec::{Family, Filter, ImageSpec, ResizeRule};

/// `config.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelConfig {
    pub(crate) model_type: String,
    pub(crate) projection_dim: Option<usize>,
    #[serde(default)]
    pub(crate) text_config: TowerConfig,
    #[serde(default)]
    pub(crate) vision_config: TowerConfig,
    /// BERT keeps everything at the top.
    #[serde(flatten)]
    pub(crate) flat: TowerConfig,
    pub(crate) position_embedding_type: Option<String>,
}

/// One tower; what is absent has the family's default, as in transformers.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct TowerConfig {
    pub(crate) vocab_size: Option<usize>,
    pub(crate) hidden_size: Option<usize>,
    pub(crate) intermediate_size: Option<usize>,
    pub(crate) num_hidden_layers: Option<usize>,
    pub(crate) num_attention_heads: Option<usize>,
    pub(crate) max_position_embeddings: Option<usize>,
    pub(crate) type_vocab_size: Option<usize>,
    pub(crate) layer_norm_eps: Option<f32>,
    pub(crate) hidden_act: Option<String>,
    pub(crate) eos_token_id: Option<i64>,
    pub(crate) image_size: Option<usize>,
    pub(crate) patch_size: Option<usize>,
    pub(crate) projection_size: Option<usize>,
    pub(crate) vision_use_head: Option<bool>,
}

/// A family's defaults for one tower: hidden, intermediate, layers, heads, eps, activation.
pub(crate) struct Defaults(
    pub(crate) usize,
    pub(crate) usize,
    pub(crate) usize,
    pub(crate) usize,
    pub(crate) f32,
    pub(crate) &'static str,
);

impl TowerConfig {
    /// Completes and checks the sizes.
    pub(crate) fn dims(&self, dir: &Path, defaults: &Defaults) -> Result<Dims, LoadError> {
        let act = self.hidden_act.as_deref().unwrap_or(defaults.5);
        let unsupported = |what: String| LoadError::Unsupported {
            dir: dir.to_owned(),
            what,
        };
        let activation =
            Activation::parse(act).ok_or_else(|| unsupported(format!("activation {act}")))?;
        let dims = Dims {
            hidden: self.hidden_size.unwrap_or(defaults.0),
            intermediate: self.intermediate_size.unwrap_or(defaults.1),
            layers: self.num_hidden_layers.unwrap_or(defaults.2),
            heads: self.num_attention_heads.unwrap_or(defaults.3),
            eps: self.layer_norm_eps.unwrap_or(defaults.4),
            activation,
        };
        if dims.heads == 0 || dims.hidden == 0 || !dims.hidden.is_multiple_of(dims.heads) {
            return Err(unsupported(format!(
                "{} heads over a width of {}",
                dims.heads, dims.hidden
            )));
        }
        Ok(dims)
    }
}

impl ModelConfig {
    pub(crate) fn read(dir: &Path) -> Result<Self, LoadError> {
        required(dir, "config.json")
    }

    pub(crate) fn family(&self) -> Result<Family, LoadError> {
        let family = Family::from_model_type(&self.model_type);
        family.ok_or_else(|| LoadError::Family {
            model_type: self.model_type.clone(),
        })
    }
}

/// Reads a JSON file that must be there.
pub(crate) fn required<T: DeserializeOwned>(dir: &Path, file: &str) -> Result<T, LoadError> {
    let bytes =
        std::fs::read(dir.join(file)).map_err(|source| LoadError::read(dir, file, source))?;
    serde_json::from_slice(&bytes).map_err(|source| LoadError::Config {
        path: dir.join(file),
        source,
    })
}

/// Reads a JSON file that may be absent.
pub(crate) fn optional<T: DeserializeOwned>(
    dir: &Path,
    file: &str,
) -> Result<Option<T>, LoadError> {
    match required(dir, file) {
        Ok(value) => Ok(Some(value)),
        Err(LoadError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `preprocessor_config.json`; what is absent has the processor's default.
#[derive(Debug, Deserialize)]
struct PreprocessorConfig {
    do_resize: Option<bool>,
    do_center_crop: Option<bool>,
    do_rescale: Option<bool>,
    do_normalize: Option<bool>,
    size: Option<Value>,
    crop_size: Option<Value>,
    resample: Option<u32>,
    rescale_factor: Option<f64>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
}

/// Reads the image rules of a directory whose tower takes `side` x `side` pixels.
pub(crate) fn image_spec(dir: &Path, family: Family, side: usize) -> Result<ImageSpec, LoadError> {
    let file = "preprocessor_config.json";
    let config: PreprocessorConfig = required(dir, file)?;
    let unsupported = |what: String| LoadError::Unsupported {
        dir: dir.to_owned(),
        what,
    };
    let side = u32::try_from(side).map_err(|_| unsupported(format!("image side {side}")))?;
    let clip = family == Family::Clip;
    // A bare number is how files older than 2022 write the size: the shorter edge for CLIP.
    let number = |value: &Value| value.as_u64().and_then(|n| u32::try_from(n).ok());
    let pair = |value: &Value| Some((number(value.get("width")?)?, number(value.get("height")?)?));
    let resize = match &config.size {
        None if clip => ResizeRule::ShortestEdge(side),
        None => ResizeRule::Exact {
            width: side,
            height: side,
        },
        Some(value) => {
            let edge = value
                .get("shortest_edge")
                .and_then(number)
                .or_else(|| number(value).filter(|_| clip));
            let square = number(value).map(|n| (n, n));
            match (edge, pair(value).or(square)) {
                (Some(edge), _) => ResizeRule::ShortestEdge(edge),
                (None, Some((width, height))) => ResizeRule::Exact { width, height },
                (None, None) => return Err(unsupported(format!("image size {value} in {file}"))),
            }
        }
    };
    let crop = match &config.crop_size {
        _ if !config.do_center_crop.unwrap_or(clip) => None,
        None => Some((side, side)),
        Some(value) => Some(
            pair(value)
                .or_else(|| number(value).map(|n| (n, n)))
                .ok_or_else(|| unsupported(format!("crop size {value} in {file}")))?,
        ),
    };
    let resize = config.do_resize.unwrap_or(true).then_some(resize);
    let end = crop.or(match resize {
        Some(ResizeRule::Exact { width, height }) => Some((width, height)),
        _ => None,
    });
    if end != Some((side, side)) {
        return Err(unsupported(format!(
            "images prepared to {end:?} for a tower of {side} x {side} pixels"
        )));
    }
    let filter = match config.resample.unwrap_or(3) {
        0 => Filter::Nearest,
        1 => Filter::Lanczos,
        2 => Filter::Bilinear,
        3 => Filter::Bicubic,
        other => return Err(unsupported(format!("resampling filter {other} in {file}"))),
    };
    let normalize = config.do_normalize.unwrap_or(true);
    let (mean, std) = if clip {
        (
            [0.481_454_66, 0.457_827_5, 0.408_210_73],
            [0.268_629_55, 0.261_302_6, 0.275_777_1],
        )
    } else {
        ([0.5; 3], [0.5; 3])
    };
    Ok(ImageSpec {
        width: side,
        height: side,
        resize,
        filter,
        crop,
        rescale: if config.do_rescale.unwrap_or(true) {
            config.rescale_factor.unwrap_or(1.0 / 255.0)
        } else {
            1.0
        },
        mean: if normalize {
            config.image_mean.unwrap_or(mean)
        } else {
            [0.0; 3]
        },
        std: if normalize {
            config.image_std.unwrap_or(std)
        } else {
            [1.0; 3]
        },
    })
}
