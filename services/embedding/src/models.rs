//! The models that are loaded, and what they read.

use std::sync::Arc;

use mediamesh_imaging::{
    RgbImage,
    descriptor::{DIMS, VERSION, visual_descriptor},
};
use mediamesh_inference::{Encoder, Family, LoadedModel, spec::Tower};
use mediamesh_proto::{
    embedding::v1::{ListModelsResponse, ModelInfo},
    model_key::model_key,
};

use crate::error::Error;

/// Id of the descriptor that needs no files.
pub(crate) const BUILTIN_ID: &str = "builtin/visual";

/// A loaded model.
pub(crate) struct Model {
    pub(crate) info: ModelInfo,
    /// Names its space.
    pub(crate) key: String,
    engine: Engine,
}

enum Engine {
    /// The built-in visual descriptor.
    Visual,
    /// Towers of a model on disk.
    Towers {
        text: Option<Arc<dyn Encoder>>,
        image: Option<Arc<dyn Encoder>>,
    },
}

impl Model {
    fn builtin() -> Self {
        Self::new(
            ModelInfo {
                id: BUILTIN_ID.to_owned(),
                version: format!("v{VERSION}"),
                precision: "f32".to_owned(),
                dims: i32::try_from(DIMS).unwrap_or(i32::MAX),
                text_input: false,
                image_input: true,
                engine: "builtin".to_owned(),
                default_min_score: 0.0,
            },
            Engine::Visual,
        )
    }

    fn loaded(model: LoadedModel) -> Self {
        let spec = &model.spec;
        // The part of the spec's identity between id and precision.
        let version = match spec.version.is_empty() {
            true => spec.sha256.get(..12).unwrap_or(&spec.sha256).to_owned(),
            false => spec.version.clone(),
        };
        let info = ModelInfo {
            id: spec.id.clone(),
            version,
            precision: spec.precision.as_str().to_owned(),
            dims: i32::try_from(spec.dims).unwrap_or(i32::MAX),
            text_input: model.text.is_some(),
            image_input: model.image.is_some(),
            engine: model.report.engine.as_str().to_owned(),
            default_min_score: min_score(spec.family),
        };
        Self::new(
            info,
            Engine::Towers {
                text: model.text,
                image: model.image,
            },
        )
    }

    fn new(info: ModelInfo, engine: Engine) -> Self {
        Self {
            key: model_key(&info),
            info,
            engine,
        }
    }

    fn tower(&self, tower: Tower) -> Option<&Arc<dyn Encoder>> {
        match &self.engine {
            Engine::Visual => None,
            Engine::Towers { text, image } => match tower {
                Tower::Text => text.as_ref(),
                Tower::Image => image.as_ref(),
            },
        }
    }

    /// How many inputs make the best use of one run.
    pub(crate) fn preferred_batch(&self, tower: Tower) -> usize {
        self.tower(tower)
            .map_or(1, |encoder| encoder.preferred_batch().max(1))
    }

    /// Runs the text tower: one vector per text, in order. Blocking.
    ///
    /// Errors: `Encode`, `InputUnsupported`, `Output`.
    pub(crate) fn run_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let encoder = self
            .tower(Tower::Text)
            .ok_or_else(|| self.unsupported(Tower::Text))?;
        self.checked(encoder.encode_texts(texts)?, texts.len())
    }

    /// Runs the image tower: one vector per image, in order. Blocking.
    ///
    /// Errors: `Encode`, `InputUnsupported`, `Output`.
    pub(crate) fn run_images(&self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>, Error> {
        if matches!(self.engine, Engine::Visual) {
            return Ok(images.iter().map(visual_descriptor).collect());
        }
        let encoder = self
            .tower(Tower::Image)
            .ok_or_else(|| self.unsupported(Tower::Image))?;
        self.checked(encoder.encode_images(images)?, images.len())
    }

    fn checked(&self, vectors: Vec<Vec<f32>>, inputs: usize) -> Result<Vec<Vec<f32>>, Error> {
        let dims = usize::try_from(self.info.dims).unwrap_or(0);
        match vectors.len() == inputs && vectors.iter().all(|vector| vector.len() == dims) {
            true => Ok(vectors),
            false => Err(Error::Output {
                model: self.info.id.clone(),
            }),
        }
    }

    fn unsupported(&self, input: Tower) -> Error {
        Error::InputUnsupported {
            model: self.info.id.clone(),
            input,
        }
    }
}

/// Similarity from which a text and an item count as related.
///
/// Starting values to be calibrated on real collections: the families spread their cosines very
/// differently, CLIP's matches lie around 0.25 to 0.35, SigLIP's around 0.1.
fn min_score(family: Family) -> f32 {
    match family {
        Family::Clip => 0.20,
        Family::Siglip => 0.05,
        Family::Bert => 0.3,
    }
}

/// All loaded models.
pub(crate) struct Models {
    all: Vec<Arc<Model>>,
    hint: String,
    text_only_hint: String,
}

impl Models {
    pub(crate) fn new(loaded: Option<LoadedModel>, hint: String, text_only_hint: String) -> Self {
        let loaded = loaded.map(Model::loaded);
        // The loaded one first: it is preferred wherever both would do.
        let all = loaded
            .into_iter()
            .chain([Model::builtin()])
            .map(Arc::new)
            .collect();
        Self {
            all,
            hint,
            text_only_hint,
        }
    }

    fn text(&self) -> Option<&Arc<Model>> {
        self.all.iter().find(|model| model.info.text_input)
    }

    /// The model `name` (its id or key; empty = the active one) for texts.
    ///
    /// Errors: `ModelNotFound`, `InputUnsupported`.
    pub(crate) fn for_texts(&self, name: &str) -> Result<Arc<Model>, Error> {
        if name.is_empty() {
            return self.text().cloned().ok_or_else(|| Error::NoTextModel {
                hint: self.hint.clone(),
            });
        }
        let model = self.named(name)?;
        match model.info.text_input {
            true => Ok(model),
            false => Err(model.unsupported(Tower::Text)),
        }
    }

    /// The models `names` (ids or keys; none = every one that reads images) for images.
    ///
    /// Errors: `ModelNotFound`, `InputUnsupported`.
    pub(crate) fn for_images(&self, names: &[String]) -> Result<Vec<Arc<Model>>, Error> {
        if names.is_empty() {
            return Ok(self
                .all
                .iter()
                .filter(|model| model.info.image_input)
                .cloned()
                .collect());
        }
        let mut models: Vec<Arc<Model>> = Vec::with_capacity(names.len());
        for name in names {
            let model = self.named(name)?;
            if !model.info.image_input {
                return Err(model.unsupported(Tower::Image));
            }
            if models.iter().all(|other| other.key != model.key) {
                models.push(model);
            }
        }
        Ok(models)
    }

    fn named(&self, name: &str) -> Result<Arc<Model>, Error> {
        let found = self
            .all
            .iter()
            .find(|model| model.info.id == name || model.key == name);
        found.cloned().ok_or_else(|| Error::ModelNotFound {
            model: name.to_owned(),
        })
    }

    /// The list as it is answered.
    pub(crate) fn list(&self) -> ListModelsResponse {
        let id = |model: &Arc<Model>| model.info.id.clone();
        let text_model = self.text().map(id).unwrap_or_default();
        let image_model = self.all.iter().find(|model| model.info.image_input).map(id);
        ListModelsResponse {
            models: self.all.iter().map(|model| model.info.clone()).collect(),
            hint: match self.text() {
                None => self.hint.clone(),
                Some(model) if !model.info.image_input => self.text_only_hint.clone(),
                Some(_) => String::new(),
            },
            text_model,
            image_model: image_model.unwrap_or_default(),
        }
    }
}
