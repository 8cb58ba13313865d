//! The one error type of the crate.

/// Why an image could not be probed, decoded or encoded.
///
/// [`Error::reason`] is the stable name to branch on and to show to machines; the text is for people.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input has no bytes at all.
    #[error("image is empty (0 bytes)")]
    Empty,
    /// The first bytes are not those of any image or video format we know.
    #[error("content is not a known image format")]
    NotAnImage,
    /// A known format this library does not decode.
    #[error(
        "{content_type} images are not supported; convert to JPEG, PNG, WebP, GIF, TIFF or BMP"
    )]
    UnsupportedFormat {
        /// Media type found by magic bytes, such as `image/heic`.
        content_type: &'static str,
    },
    /// A supported format using a feature this library does not decode.
    #[error("{content_type} image uses an unsupported feature: {feature}")]
    UnsupportedFeature {
        /// Media type found by magic bytes.
        content_type: &'static str,
        /// What the decoder said it lacks.
        feature: String,
    },
    /// The header promises more pixels than [`crate::Limits::max_pixels`].
    #[error("image is {width} x {height} pixels; limit is {} megapixels", megapixels(*.limit))]
    TooManyPixels {
        /// Stored width in pixels.
        width: u32,
        /// Stored height in pixels.
        height: u32,
        /// The limit, in pixels.
        limit: u64,
    },
    /// One side is longer than [`crate::Limits::max_side`].
    #[error("image is {width} x {height} pixels; limit is {limit} pixels per side")]
    SideTooLong {
        /// Stored width in pixels.
        width: u32,
        /// Stored height in pixels.
        height: u32,
        /// The limit per side, in pixels.
        limit: u32,
    },
    /// The animation has more frames than [`crate::Limits::max_frames`].
    #[error("image has {frames} frames; limit is {limit}")]
    TooManyFrames {
        /// Frames found so far; counting stops past the limit.
        frames: u32,
        /// The limit.
        limit: u32,
    },
    /// Decoding would need more memory than [`crate::Limits::max_alloc_bytes`].
    #[error("decoding needs {needed} bytes; limit is {limit} bytes")]
    TooMuchMemory {
        /// Estimated bytes, from the header.
        needed: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The header says that a side is zero pixels long.
    #[error("image is {width} x {height} pixels")]
    NoPixels {
        /// Stored width in pixels.
        width: u32,
        /// Stored height in pixels.
        height: u32,
    },
    /// The data ends before the image does.
    #[error("{content_type} data is truncated")]
    Truncated {
        /// Media type found by magic bytes.
        content_type: &'static str,
    },
    /// The data contradicts its own format.
    #[error("{content_type} data is corrupt: {detail}")]
    Corrupt {
        /// Media type found by magic bytes.
        content_type: &'static str,
        /// What the decoder said.
        detail: String,
    },
    /// An output could not be encoded.
    #[error("cannot encode {content_type}: {detail}")]
    Encode {
        /// Media type of the output.
        content_type: &'static str,
        /// What the encoder said.
        detail: String,
    },
    /// A plan asks for something impossible, such as a thumbnail of 0 pixels.
    #[error("invalid plan: {detail}")]
    InvalidPlan {
        /// Which part, and the values allowed.
        detail: String,
    },
}

/// What is to be told of an [`Error`]: the one sorting of all of them, exhaustive so that callers name every kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// There is no image: no bytes.
    Empty,
    /// No image that is read here.
    Unsupported,
    /// More pixels, frames or memory than [`crate::Limits`] allow.
    TooCostly,
    /// The image is broken.
    Corrupt,
    /// The image is not to blame: an impossible plan, or an encoder that failed.
    Ours,
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns the stable snake_case name of the fault.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::Empty => "image_empty",
            Error::NotAnImage => "not_an_image",
            Error::UnsupportedFormat { .. } => "unsupported_format",
            Error::UnsupportedFeature { .. } => "unsupported_feature",
            Error::TooManyPixels { .. } => "too_many_pixels",
            Error::SideTooLong { .. } => "side_too_long",
            Error::TooManyFrames { .. } => "too_many_frames",
            Error::TooMuchMemory { .. } => "too_much_memory",
            Error::NoPixels { .. } => "no_pixels",
            Error::Truncated { .. } => "image_truncated",
            Error::Corrupt { .. } => "image_corrupt",
            Error::Encode { .. } => "encode_failed",
            Error::InvalidPlan { .. } => "invalid_plan",
        }
    }

    /// Sorts the fault by what is to be told of it.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Empty => Fault::Empty,
            Error::NotAnImage
            | Error::UnsupportedFormat { .. }
            | Error::UnsupportedFeature { .. } => Fault::Unsupported,
            Error::TooManyPixels { .. }
            | Error::SideTooLong { .. }
            | Error::TooManyFrames { .. }
            | Error::TooMuchMemory { .. } => Fault::TooCostly,
            Error::NoPixels { .. } | Error::Truncated { .. } | Error::Corrupt { .. } => {
                Fault::Corrupt
            }
            Error::Encode { .. } | Error::InvalidPlan { .. } => Fault::Ours,
        }
    }

    /// Returns what was too much and the limit it broke, by names for machines; empty for other faults.
    pub fn excess(&self) -> Vec<(&'static str, u64)> {
        let size = |width: &u32, height: &u32| {
            [
                ("widthPixels", u64::from(*width)),
                ("heightPixels", u64::from(*height)),
            ]
        };
        match self {
            Error::TooManyPixels {
                width,
                height,
                limit,
            } => [size(width, height).as_slice(), &[("maxPixels", *limit)]].concat(),
            Error::SideTooLong {
                width,
                height,
                limit,
            } => [
                size(width, height).as_slice(),
                &[("maxSidePixels", u64::from(*limit))],
            ]
            .concat(),
            Error::TooManyFrames { frames, limit } => vec![
                ("frames", u64::from(*frames)),
                ("maxFrames", u64::from(*limit)),
            ],
            Error::TooMuchMemory { needed, limit } => {
                vec![("decodedBytes", *needed), ("maxDecodedBytes", *limit)]
            }
            _ => Vec::new(),
        }
    }

    /// Tells whether the input is at fault; if not, the caller's plan or this library is.
    pub fn is_input_fault(&self) -> bool {
        self.fault() != Fault::Ours
    }
}

/// Writes pixels as megapixels without a needless fraction.
fn megapixels(pixels: u64) -> String {
    let mega = pixels as f64 / 1e6;
    if mega.fract() == 0.0 {
        format!("{mega:.0}")
    } else {
        format!("{mega}")
    }
}
