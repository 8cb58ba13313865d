//! A text or an image, its content hash, and decoding once when it is needed.

use std::sync::Arc;

use bytes::Bytes;
use mediamesh_imaging::{Limits, RgbImage, decode_rgb_within};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, Semaphore};

use crate::error::Error;

/// What identifies an input's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    /// SHA-256 of kind, size and bytes.
    pub(crate) sha256: [u8; 32],
    /// Length of the bytes.
    pub(crate) len: u64,
}

impl Content {
    /// `kind` keeps a text, a file and pixels of the same bytes apart.
    fn of(kind: &[u8], bytes: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update((kind.len() as u64).to_le_bytes());
        hash.update(kind);
        hash.update(bytes);
        Self {
            sha256: hash.finalize().into(),
            len: bytes.len() as u64,
        }
    }
}

/// What a model reads.
#[derive(Clone)]
pub(crate) enum Input {
    /// A text.
    Text(Arc<str>),
    /// An upright image.
    Image(Arc<RgbImage>),
}

/// Content of a text.
pub(crate) fn text_content(text: &str) -> Content {
    Content::of(b"text", text.as_bytes())
}

/// Pixels of an image, or how to get them.
pub(crate) enum Source {
    /// An image file, and the longest side to shrink it to.
    File {
        bytes: Bytes,
        limits: Limits,
        side: u32,
    },
    /// Pixels whose length fits their sides.
    Pixels { width: u32, height: u32, rgb: Bytes },
}

/// An image of a request.
pub(crate) struct ImageInput {
    pub(crate) content: Content,
    /// Which image of the request.
    field: String,
    source: Source,
    pixels: OnceCell<Arc<RgbImage>>,
}

impl ImageInput {
    pub(crate) fn new(field: String, source: Source) -> Self {
        let content = match &source {
            Source::File { bytes, side, .. } => {
                Content::of(format!("file/{side}").as_bytes(), bytes)
            }
            Source::Pixels { width, height, rgb } => {
                Content::of(format!("pixels/{width}x{height}").as_bytes(), rgb)
            }
        };
        Self {
            content,
            field,
            source,
            pixels: OnceCell::new(),
        }
    }

    /// The pixels; decoded at the first call, on the blocking pool, as many at once as `decoding`
    /// allows.
    ///
    /// Errors: `Image`, `CutOff`.
    pub(crate) async fn pixels(&self, decoding: &Semaphore) -> Result<Arc<RgbImage>, Error> {
        let pixels = self
            .pixels
            .get_or_try_init(|| self.decode(decoding))
            .await?;
        Ok(Arc::clone(pixels))
    }

    async fn decode(&self, decoding: &Semaphore) -> Result<Arc<RgbImage>, Error> {
        match &self.source {
            Source::Pixels { width, height, rgb } => Ok(Arc::new(RgbImage {
                width: *width,
                height: *height,
                data: rgb.to_vec(),
            })),
            Source::File {
                bytes,
                limits,
                side,
            } => {
                let _permit = decoding.acquire().await.map_err(|_| Error::CutOff)?;
                let (bytes, limits, side) = (bytes.clone(), *limits, *side);
                let decode = move || decode_rgb_within(&bytes, &limits, side);
                let image = tokio::task::spawn_blocking(decode)
                    .await
                    .map_err(|_| Error::CutOff)?;
                let image = image.map_err(|source| Error::Image {
                    field: self.field.clone(),
                    source: Arc::new(source),
                })?;
                Ok(Arc::new(image))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_of_another_kind_or_shape_are_another_content() {
        let pixels = |width, height| {
            let rgb = Bytes::from_static(&[7; 18]);
            ImageInput::new("i".to_owned(), Source::Pixels { width, height, rgb }).content
        };
        assert_eq!(pixels(2, 3), pixels(2, 3));
        assert_ne!(pixels(2, 3), pixels(3, 2));
        assert_ne!(Content::of(b"text", b"ab"), Content::of(b"texta", b"b"));
    }
}
