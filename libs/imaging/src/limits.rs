//! What an input may cost, checked from its header before any allocation.

use crate::error::{Error, Result};

/// Upper bounds on one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels (stored width times height).
    pub max_pixels: u64,
    /// Longest side in pixels.
    pub max_side: u32,
    /// Most frames of an animation.
    pub max_frames: u32,
    /// Most bytes of decoded pixels and decoder state held at once, known from the header: pixels times channels times
    /// depth as the decoder holds them, after shrinking inside the decoder.
    pub max_alloc_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_pixels: 100_000_000,
            max_side: 32_768,
            max_frames: 1_000,
            // 64 megapixels of RGBA in every format, also where a decoder copies or the picture must be turned; JPEG and
            // PNG are shrunk while they are read and need a tenth of it.
            max_alloc_bytes: 512 << 20,
        }
    }
}

impl Limits {
    /// Checks the stored size of an image.
    ///
    /// Errors: `NoPixels`, `TooManyPixels` (before the sides, as it says more), `SideTooLong`.
    pub fn check_size(&self, width: u32, height: u32) -> Result<()> {
        if width == 0 || height == 0 {
            return Err(Error::NoPixels { width, height });
        }
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(Error::TooManyPixels {
                width,
                height,
                limit: self.max_pixels,
            });
        }
        if width > self.max_side || height > self.max_side {
            return Err(Error::SideTooLong {
                width,
                height,
                limit: self.max_side,
            });
        }
        Ok(())
    }

    /// Checks a number of frames.
    ///
    /// Errors: `TooManyFrames`.
    pub fn check_frames(&self, frames: u32) -> Result<()> {
        if frames > self.max_frames {
            return Err(Error::TooManyFrames {
                frames,
                limit: self.max_frames,
            });
        }
        Ok(())
    }

    /// Checks an estimate of memory.
    ///
    /// Errors: `TooMuchMemory`.
    pub fn check_alloc(&self, needed: u64) -> Result<()> {
        if needed > self.max_alloc_bytes {
            return Err(Error::TooMuchMemory {
                needed,
                limit: self.max_alloc_bytes,
            });
        }
        Ok(())
    }
}
