//! Requests to inputs with all validation, vectors to messages.

use mediamesh_proto::{
    Violations,
    embedding::v1::{Image, ModelInfo, ModelVectors, Priority, Vector, image::Source as Sent},
};

use crate::{
    error::Error,
    input::{ImageInput, Source},
    options::Options,
    pool::Lane,
    service::Made,
};

/// An unspecified priority is interactive, and so is one this version does not know.
pub(crate) fn lane(priority: i32) -> Lane {
    match Priority::try_from(priority) {
        Ok(Priority::Background) => Lane::Background,
        _ => Lane::Interactive,
    }
}

/// Checks the number and length of texts.
///
/// Errors: `InvalidField` with everything that is wrong.
pub(crate) fn check_texts(texts: &[String], options: &Options) -> Result<(), Error> {
    let mut violations = Violations::new();
    let (count, limit) = (texts.len(), options.max_texts);
    violations.check(count == 0 || count > limit, "texts", || {
        format!("holds {count}; must hold 1 to {limit}")
    });
    let limit = options.max_text_bytes;
    for (index, text) in texts.iter().enumerate() {
        violations.check(text.len() > limit, &format!("texts[{index}]"), || {
            format!("is {} bytes; limit is {limit}", text.len())
        });
    }
    Ok(violations.finish()?)
}

/// Reads images without decoding them.
///
/// Errors: `InvalidField` with everything that is wrong; `Image` for pixels over the limit.
pub(crate) fn images(images: Vec<Image>, options: &Options) -> Result<Vec<ImageInput>, Error> {
    let mut violations = Violations::new();
    let (count, limit) = (images.len(), options.max_images);
    violations.check(count == 0 || count > limit, "images", || {
        format!("holds {count}; must hold 1 to {limit}")
    });
    let limits = options.limits();
    let mut too_large = None;
    let mut inputs = Vec::with_capacity(count);
    for (index, image) in images.into_iter().enumerate() {
        let field = format!("images[{index}]");
        let source = match image.source {
            None => {
                violations.add(field, "must hold `encoded` or `pixels`");
                continue;
            }
            Some(Sent::Encoded(bytes)) => Source::File {
                bytes,
                limits,
                side: options.image_side,
            },
            Some(Sent::Pixels(pixels)) => {
                let sides = (
                    u32::try_from(pixels.width_pixels),
                    u32::try_from(pixels.height_pixels),
                );
                let (Ok(width @ 1..), Ok(height @ 1..)) = sides else {
                    violations.add(format!("{field}.pixels"), "must be at least 1 x 1 pixels");
                    continue;
                };
                if let Err(error) = limits.check_size(width, height) {
                    too_large.get_or_insert((field, error));
                    continue;
                }
                let expected = u64::from(width) * u64::from(height) * 3;
                if pixels.rgb.len() as u64 != expected {
                    violations.add(
                        format!("{field}.pixels.rgb"),
                        format!(
                            "is {} bytes; {width} x {height} pixels are {expected}",
                            pixels.rgb.len()
                        ),
                    );
                    continue;
                }
                Source::Pixels {
                    width,
                    height,
                    rgb: pixels.rgb,
                }
            }
        };
        inputs.push(ImageInput::new(field, source));
    }
    violations.finish()?;
    match too_large {
        Some((field, error)) => Err(Error::Image {
            field,
            source: error.into(),
        }),
        None => Ok(inputs),
    }
}

/// Vectors as they are answered.
pub(crate) fn vectors(made: Vec<Made>) -> Vec<Vector> {
    made.into_iter()
        .map(|made| Vector {
            values: made.values,
            from_cache: made.from_cache,
        })
        .collect()
}

/// One model's vectors as they are answered.
pub(crate) fn model_vectors(model: &ModelInfo, made: Vec<Made>) -> ModelVectors {
    ModelVectors {
        model: Some(model.clone()),
        vectors: vectors(made),
    }
}
