//! Which files of a repository are needed.

use std::path::Path;

use crate::models::ModelsError;
use crate::spec::{Family, Precision};

/// Says what the model is, and so is fetched first.
pub(super) const CONFIG: &str = "config.json";

/// Small files that decide ids, pixels and pooling. The first two must be there.
const SMALL: [&str; 7] = [
    CONFIG,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
];

/// Chooses the files to fetch from the names a repository publishes.
///
/// Errors: `Incomplete` naming what is not published.
pub(super) fn wanted(
    id: &str,
    family: Family,
    precision: Precision,
    published: &[String],
) -> Result<Vec<String>, ModelsError> {
    let has = |name: &str| published.iter().any(|file| file == name);
    let missing = |what: String| ModelsError::Incomplete {
        id: id.to_owned(),
        what,
    };
    for name in &SMALL[..2] {
        if !has(name) {
            return Err(missing((*name).to_owned()));
        }
    }
    if family != Family::Bert && !has("preprocessor_config.json") {
        return Err(missing("preprocessor_config.json".to_owned()));
    }
    let mut files: Vec<String> = SMALL
        .iter()
        .filter(|name| has(name))
        .map(|name| (*name).to_owned())
        .collect();
    files.extend(weights(family, precision, &has).ok_or_else(|| {
        missing(match precision {
            Precision::F32 => "model.safetensors and no onnx graphs with f32 weights".to_owned(),
            Precision::Int8 => "onnx graphs with int8 weights".to_owned(),
        })
    })?);
    Ok(files)
}

/// Safetensors first: one file holds both towers.
fn weights(
    family: Family,
    precision: Precision,
    has: &dyn Fn(&str) -> bool,
) -> Option<Vec<String>> {
    let towers: &[&str] = if family == Family::Bert {
        &["model"]
    } else {
        &["text_model", "vision_model"]
    };
    let graphs = |suffix: &str| -> Option<Vec<String>> {
        let names: Vec<String> = towers
            .iter()
            .map(|tower| format!("onnx/{tower}{suffix}.onnx"))
            .collect();
        if !names.iter().all(|name| has(name)) {
            return None;
        }
        let data = names
            .iter()
            .map(|name| format!("{name}_data"))
            .filter(|name| has(name));
        Some(
            names
                .iter()
                .cloned()
                .chain(data.collect::<Vec<_>>())
                .collect(),
        )
    };
    match precision {
        Precision::F32 if has("model.safetensors") => Some(vec!["model.safetensors".to_owned()]),
        Precision::F32 => graphs(""),
        Precision::Int8 => graphs("_quantized").or_else(|| graphs("_int8")),
    }
}

/// Lists the files of a model that are in a folder.
pub(super) fn wanted_locally(dir: &Path) -> Vec<String> {
    let mut files: Vec<String> = SMALL
        .iter()
        .filter(|name| dir.join(name).is_file())
        .map(|name| (*name).to_owned())
        .collect();
    for path in crate::family::weight_files(dir) {
        let name = path
            .strip_prefix(dir)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        let data = format!("{name}_data");
        let with_data = dir.join(&data).is_file();
        files.push(name);
        files.extend(with_data.then_some(data));
    }
    files
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn published(files: &[&str]) -> Vec<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    #[test]
    fn only_one_copy_of_the_weights_is_chosen() {
        let repository = published(&[
            "README.md",
            "config.json",
            "tokenizer.json",
            "pytorch_model.bin",
            "model.safetensors",
            "onnx/model.onnx",
            "onnx/model_qint8_avx512.onnx",
            "tf_model.h5",
            "1_Pooling/config.json",
            "vocab.txt",
        ]);
        assert_eq!(
            wanted("a/b", Family::Bert, Precision::F32, &repository).unwrap(),
            [
                "config.json",
                "tokenizer.json",
                "1_Pooling/config.json",
                "model.safetensors"
            ]
        );
    }

    #[test]
    fn exported_towers_are_chosen_by_precision_with_their_data() {
        let repository = published(&[
            "config.json",
            "tokenizer.json",
            "preprocessor_config.json",
            "onnx/model.onnx",
            "onnx/text_model.onnx",
            "onnx/vision_model.onnx",
            "onnx/vision_model.onnx_data",
            "onnx/text_model_quantized.onnx",
            "onnx/vision_model_quantized.onnx",
        ]);
        let graphs =
            |precision| wanted("a/b", Family::Clip, precision, &repository).unwrap()[3..].to_vec();
        assert_eq!(
            graphs(Precision::F32),
            [
                "onnx/text_model.onnx",
                "onnx/vision_model.onnx",
                "onnx/vision_model.onnx_data"
            ]
        );
        assert_eq!(
            graphs(Precision::Int8),
            [
                "onnx/text_model_quantized.onnx",
                "onnx/vision_model_quantized.onnx"
            ]
        );
    }

    #[test]
    fn a_repository_without_usable_weights_is_named() {
        let repository = published(&["config.json", "tokenizer.json", "pytorch_model.bin"]);
        let error = wanted("a/b", Family::Bert, Precision::F32, &repository).unwrap_err();
        assert_eq!(
            error.to_string(),
            "model a/b publishes no model.safetensors and no onnx graphs with f32 weights"
        );
    }
}
