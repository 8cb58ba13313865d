//! The one trait through which vectors are made.

use mediamesh_imaging::RgbImage;

use crate::spec::{ModelSpec, Tower};

/// A loaded tower of a model.
///
/// Blocking and CPU-bound (milliseconds for a text, tens of them for an image): call it from a
/// bounded pool of threads, never from an async worker. A tower takes one kind of input and
/// answers the other kind with [`EncodeError::WrongTower`].
pub trait Encoder: Send + Sync {
    /// Returns the model's description.
    fn spec(&self) -> &ModelSpec;

    /// Returns which input this tower takes.
    fn tower(&self) -> Tower;

    /// Returns how many inputs make the best use of one call; more work, but cost more memory.
    fn preferred_batch(&self) -> usize;

    /// Encodes texts, one vector each, in order.
    ///
    /// Shape: each vector is `[dims]` f32 with unit L2 norm. Texts longer than `max_len` tokens
    /// are truncated, as the reference does.
    /// Errors: `WrongTower` on an image tower; `Tokenize`, `Run`.
    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let _ = texts;
        Err(EncodeError::WrongTower {
            tower: self.tower(),
            input: Tower::Text,
        })
    }

    /// Encodes images (upright, 8-bit sRGB, any size), one vector each, in order.
    ///
    /// Shape: each vector is `[dims]` f32 with unit L2 norm, in the same space as the texts'.
    /// Errors: `WrongTower` on a text tower; `Image` if one is empty or inconsistent; `Run`.
    fn encode_images(&self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let _ = images;
        Err(EncodeError::WrongTower {
            tower: self.tower(),
            input: Tower::Image,
        })
    }

    /// Counts the tokens a text takes, special tokens included, before truncation.
    ///
    /// Errors: `WrongTower` on an image tower; `Tokenize`.
    fn count_tokens(&self, text: &str) -> Result<usize, EncodeError> {
        let _ = text;
        Err(EncodeError::WrongTower {
            tower: self.tower(),
            input: Tower::Text,
        })
    }
}

/// Why an input got no vector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// An image was given to a text tower or the reverse.
    #[error("the {tower} tower cannot encode {input} input")]
    WrongTower {
        /// The tower asked.
        tower: Tower,
        /// What it was given.
        input: Tower,
    },
    /// The tokenizer refused the text.
    #[error("cannot tokenize the text")]
    Tokenize(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An image has no pixels, or not as many as its size says.
    #[error("image is {width} x {height} pixels but holds {bytes} bytes")]
    Image {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Bytes held; should be `3 * width * height` and more than none.
        bytes: usize,
    },
    /// The image could not be resized to the tower's input.
    #[error("cannot resize a {width} x {height} pixel image")]
    Resize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// What the resizer said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine failed while running the graph.
    #[error("{engine} failed to run the {tower} tower")]
    Run {
        /// Engine name.
        engine: &'static str,
        /// Which tower.
        tower: Tower,
        /// What the engine said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The graph answered something that is not one finite vector of `dims` per input.
    #[error("the {tower} tower answered {what}")]
    Output {
        /// Which tower.
        tower: Tower,
        /// What was wrong with the answer.
        what: String,
    },
}
