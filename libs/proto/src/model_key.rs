//! The one name under which vectors of a model are stored and looked up.

use crate::embedding::v1::ModelInfo;

/// Names a model so exactly that vectors under equal names are comparable:
/// `id@version/precision`, e.g. `openai/clip-vit-base-patch32@3d74acf9/f32`.
#[must_use]
pub fn model_key(model: &ModelInfo) -> String {
    format!("{}@{}/{}", model.id, model.version, model.precision)
}

/// The id within a key, for people.
#[must_use]
pub fn model_id(key: &str) -> &str {
    key.rsplit_once('@').map_or(key, |(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_precision_are_part_of_the_name() {
        let model = ModelInfo {
            id: "a/b".into(),
            version: "1".into(),
            precision: "f32".into(),
            ..ModelInfo::default()
        };
        assert_eq!(model_key(&model), "a/b@1/f32");
        assert_eq!(model_id(&model_key(&model)), "a/b");
        let other = ModelInfo {
            precision: "int8".into(),
            ..model.clone()
        };
        assert_ne!(model_key(&model), model_key(&other));
    }
}
