//! Vectors equal those of Hugging Face transformers to 1e-4, from raw text and raw image file.
//!
//! The references are made by `scripts/reference/make_reference.py`. The tiny CLIP and SigLIP have
//! random weights; MiniLM's are the real ones, fetched by `scripts/fetch_minilm.sh`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    missing_docs,
    reason = "tests"
)]

use std::path::{Path, PathBuf};

use mediamesh_imaging::{Limits, decode_rgb};
use mediamesh_inference::{
    EncodeError, EngineChoice, EngineOptions, Family, LoadError, LoadedModel, PadRule, Precision,
    RgbImage, load_dir,
};
use serde::Deserialize;

/// What we promise, per component of a unit vector.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Reference {
    dims: usize,
    texts: Vec<TextCase>,
    images: Vec<ImageCase>,
}

#[derive(Deserialize)]
struct TextCase {
    text: String,
    ids: Vec<u32>,
    vector: Vec<f32>,
}

#[derive(Deserialize)]
struct ImageCase {
    file: String,
    vector: Vec<f32>,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

fn reference(model: &str) -> Reference {
    serde_json::from_slice(&std::fs::read(data().join(model).join("reference.json")).unwrap())
        .unwrap()
}

/// rten always, ONNX Runtime where its library is given.
fn engines() -> Vec<EngineOptions> {
    let mut choices = vec![EngineChoice::Rten];
    if std::env::var_os("ORT_DYLIB_PATH").is_some() {
        choices.push(EngineChoice::Ort);
    }
    choices
        .into_iter()
        .map(|choice| EngineOptions {
            choice,
            ..Default::default()
        })
        .collect()
}

fn tiny(model: &str, options: &EngineOptions) -> LoadedModel {
    load_dir(&data().join(model), model, "", options).unwrap()
}

fn image(file: &str) -> RgbImage {
    decode_rgb(
        &std::fs::read(data().join("images").join(file)).unwrap(),
        &Limits::default(),
    )
    .unwrap()
}

fn worst(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    found
        .iter()
        .zip(wanted)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn check_texts(model: &LoadedModel, reference: &Reference) {
    let encoder = model.text.as_ref().unwrap();
    assert_eq!(model.spec.dims, reference.dims);
    let texts: Vec<&str> = reference
        .texts
        .iter()
        .map(|case| case.text.as_str())
        .collect();
    // One by one and all in one padded batch: padding must not reach a vector.
    let together = encoder.encode_texts(&texts).unwrap();
    let mut most = 0.0_f32;
    for (case, batched) in reference.texts.iter().zip(&together) {
        let alone = &encoder.encode_texts(&[&case.text]).unwrap()[0];
        for found in [alone, batched] {
            let difference = worst(found, &case.vector);
            assert!(
                difference < TOLERANCE,
                "{} {:?}: {difference}",
                model.spec.id,
                case.text
            );
            most = most.max(difference);
        }
        let tokens = encoder.count_tokens(&case.text).unwrap();
        assert_eq!(
            tokens.min(model.spec.max_len),
            case.ids.len(),
            "{:?}",
            case.text
        );
    }
    eprintln!(
        "{} text, {}: worst difference {most:.1e}",
        model.spec.id,
        model.report.engine.as_str()
    );
}

fn check_images(model: &LoadedModel, reference: &Reference) {
    let encoder = model.image.as_ref().unwrap();
    let images: Vec<RgbImage> = reference
        .images
        .iter()
        .map(|case| image(&case.file))
        .collect();
    let found = encoder.encode_images(&images).unwrap();
    assert_eq!(found.len(), reference.images.len());
    let mut most = 0.0_f32;
    for (case, found) in reference.images.iter().zip(&found) {
        let difference = worst(found, &case.vector);
        assert!(
            difference < TOLERANCE,
            "{} {}: {difference}",
            model.spec.id,
            case.file
        );
        most = most.max(difference);
    }
    eprintln!(
        "{} image, {}: worst difference {most:.1e}",
        model.spec.id,
        model.report.engine.as_str()
    );
}

#[test]
fn clip_with_quick_gelu_and_the_old_end_token_equals_transformers() {
    for options in engines() {
        let (model, reference) = (tiny("tiny-clip", &options), reference("tiny-clip"));
        assert_eq!(model.spec.family, Family::Clip);
        check_texts(&model, &reference);
        check_images(&model, &reference);
    }
}

#[test]
fn clip_with_gelu_and_its_own_end_token_equals_transformers() {
    for options in engines() {
        let (model, reference) = (
            tiny("tiny-clip-gelu", &options),
            reference("tiny-clip-gelu"),
        );
        check_texts(&model, &reference);
        check_images(&model, &reference);
    }
}

#[test]
fn siglip_equals_transformers() {
    for options in engines() {
        let (model, reference) = (tiny("tiny-siglip", &options), reference("tiny-siglip"));
        assert_eq!(
            (model.spec.family, model.spec.pad),
            (Family::Siglip, PadRule::Fixed(64))
        );
        check_texts(&model, &reference);
        check_images(&model, &reference);
    }
}

/// `MEDIAMESH_TEST_MINILM_DIR`, else where `scripts/fetch_minilm.sh` puts the weights by itself; none
/// on a machine without them, fails there if `MEDIAMESH_TEST_REQUIRE` has `minilm`.
fn minilm_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("MEDIAMESH_TEST_MINILM_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/minilm"),
        PathBuf::from,
    );
    if dir.join("model.safetensors").is_file() {
        return Some(dir);
    }
    let required = std::env::var("MEDIAMESH_TEST_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name.trim() == "minilm"),
        "{} has no model.safetensors: run scripts/fetch_minilm.sh",
        dir.display()
    );
    eprintln!("SKIPPED: needs MiniLM's weights: run scripts/fetch_minilm.sh");
    None
}

#[test]
fn minilm_with_its_real_weights_equals_transformers() {
    let Some(dir) = minilm_dir() else { return };
    for options in engines() {
        let model = load_dir(&dir, "sentence-transformers/all-MiniLM-L6-v2", "", &options).unwrap();
        assert_eq!(model.spec.max_len, 256);
        assert_eq!(
            model.spec.sha256,
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
        );
        check_texts(&model, &reference("minilm"));
        let vectors = model.text.as_ref().unwrap();
        let v = vectors
            .encode_texts(&[
                "a cat on a sofa",
                "a kitten resting on a couch",
                "stock market crash",
            ])
            .unwrap();
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert!(cosine(&v[0], &v[1]) > 0.7 && cosine(&v[0], &v[2]) < 0.1);
    }
}

#[test]
fn the_report_says_what_runs_and_a_missing_library_is_named() {
    let options = EngineOptions {
        choice: EngineChoice::Rten,
        ..Default::default()
    };
    let model = tiny("tiny-clip", &options);
    let report = &model.report;
    assert_eq!(
        (
            report.engine.as_str(),
            report.provider.as_str(),
            report.source.as_str()
        ),
        ("rten", "cpu", "safetensors")
    );
    assert_eq!(
        (report.precision, report.note.as_deref()),
        (Precision::F32, None)
    );
    assert!(
        model.spec.identity().starts_with("tiny-clip@") && model.spec.identity().ends_with("/f32")
    );

    // A test process with a working ONNX Runtime would answer with that one.
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        let missing = Some(PathBuf::from("/nonexistent/libonnxruntime.so"));
        let auto = EngineOptions {
            ort_dylib: missing.clone(),
            ..Default::default()
        };
        let note = tiny("tiny-clip", &auto).report.note.unwrap();
        assert!(note.contains("/nonexistent/libonnxruntime.so"), "{note}");
        let demanded = EngineOptions {
            choice: EngineChoice::Ort,
            ort_dylib: missing,
            ..Default::default()
        };
        let refused = load_dir(&data().join("tiny-clip"), "tiny-clip", "", &demanded);
        assert!(matches!(
            refused,
            Err(LoadError::Engine { engine: "ort", .. })
        ));
    }
}

#[test]
fn the_wrong_kind_of_input_and_broken_images_are_refused() {
    let model = tiny(
        "tiny-clip",
        &EngineOptions {
            choice: EngineChoice::Rten,
            ..Default::default()
        },
    );
    let (text, pictures) = (model.text.unwrap(), model.image.unwrap());
    assert!(matches!(
        pictures.encode_texts(&["x"]),
        Err(EncodeError::WrongTower { .. })
    ));
    assert!(matches!(
        text.encode_images(&[image("small.png")]),
        Err(EncodeError::WrongTower { .. })
    ));
    let short = RgbImage {
        width: 4,
        height: 4,
        data: vec![0; 47],
    };
    let error = pictures.encode_images(&[short]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "image is 4 x 4 pixels but holds 47 bytes"
    );
    assert!(
        pictures
            .encode_images(&[RgbImage {
                width: 0,
                height: 0,
                data: vec![]
            }])
            .is_err()
    );
    assert!(text.encode_texts(&[]).unwrap().is_empty());
}

#[test]
fn a_directory_that_is_no_model_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let load = || {
        load_dir(dir.path(), "x/y", "", &EngineOptions::default())
            .map(|_| ())
            .unwrap_err()
    };
    assert!(matches!(load(), LoadError::Missing { file, .. } if file == "config.json"));
    std::fs::write(dir.path().join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    assert_eq!(
        load().to_string(),
        "models of type llama are not supported; supported are bert, clip and siglip"
    );
    std::fs::copy(
        data().join("tiny-clip/config.json"),
        dir.path().join("config.json"),
    )
    .unwrap();
    assert!(matches!(load(), LoadError::Missing { .. }));
    // Weights that do not fit the config: SigLIP's under CLIP's config.
    std::fs::copy(
        data().join("tiny-siglip/model.safetensors"),
        dir.path().join("model.safetensors"),
    )
    .unwrap();
    assert!(matches!(load(), LoadError::Weights { .. }));
    // A file cut short.
    let bytes = std::fs::read(data().join("tiny-clip/model.safetensors")).unwrap();
    std::fs::write(
        dir.path().join("model.safetensors"),
        &bytes[..bytes.len() - 100],
    )
    .unwrap();
    assert!(matches!(load(), LoadError::Weights { .. }));
}
