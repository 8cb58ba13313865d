//! Sizes, orientation, frames and flags of an image, from its headers alone.

pub(crate) mod jpeg;

mod gif;
mod png;
mod webp;

use std::io::Cursor;

use image::ImageDecoder as _;

use crate::decode::image_fault;
use crate::error::{Error, Result};
use crate::exif;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::sniff::{Format, Kind, sniff};

/// What the headers of an image say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Container and codec.
    pub format: Format,
    /// Columns as stored.
    pub stored_width: u32,
    /// Rows as stored.
    pub stored_height: u32,
    /// How to turn the stored pixels upright.
    pub orientation: Orientation,
    /// Columns once upright.
    pub width: u32,
    /// Rows once upright.
    pub height: u32,
    /// Frames of an animation; 1 for stills. Pages of a TIFF are not counted.
    pub frames: u32,
    /// Whether a viewer would show movement.
    pub animated: bool,
    /// Whether pixels may be transparent.
    pub has_alpha: bool,
    /// Whether an ICC profile is embedded (it is neither applied nor copied).
    pub has_icc: bool,
}

/// Header facts a format's own reader collects.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) frames: u32,
    pub(crate) has_alpha: bool,
    pub(crate) has_icc: bool,
    /// Set by formats that keep it outside EXIF.
    pub(crate) orientation: Option<Orientation>,
}

/// Names the decodable format of `bytes`.
///
/// Errors: `Empty`, `NotAnImage`, `UnsupportedFormat` (also for videos).
pub(crate) fn format_of(bytes: &[u8]) -> Result<Format> {
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    let media = sniff(bytes).ok_or(Error::NotAnImage)?;
    match Format::from_content_type(media.content_type) {
        Some(format) => Ok(format),
        None if media.kind == Kind::Image => Err(Error::UnsupportedFormat {
            content_type: media.content_type,
        }),
        None => Err(Error::NotAnImage),
    }
}

/// Reads the headers of an image and checks them against `limits`; no pixel is decoded.
///
/// Errors: `Empty`, `NotAnImage`, `UnsupportedFormat`, `Truncated` or `Corrupt` headers, and the limits' own.
/// Blocking: microseconds; an animation is walked block by block to count its frames.
pub fn probe(bytes: &[u8], limits: &Limits) -> Result<Probe> {
    let format = format_of(bytes)?;
    let facts = match format {
        Format::Jpeg => jpeg::Header::read(bytes)?.facts(),
        Format::Png => png::facts(bytes)?,
        Format::WebP => webp::facts(bytes, limits)?,
        Format::Gif => gif::facts(bytes, limits)?,
        Format::Tiff | Format::Bmp => by_decoder(bytes, format, limits)?,
    };
    limits.check_size(facts.width, facts.height)?;
    limits.check_frames(facts.frames)?;
    let orientation = match (facts.orientation, format) {
        (Some(orientation), _) => orientation,
        (None, Format::Gif | Format::Bmp) => Orientation::Upright,
        (None, _) => exif::orientation(bytes).unwrap_or_default(),
    };
    let (width, height) = orientation.upright_size(facts.width, facts.height);
    Ok(Probe {
        format,
        stored_width: facts.width,
        stored_height: facts.height,
        orientation,
        width,
        height,
        frames: facts.frames.max(1),
        animated: facts.frames > 1,
        has_alpha: facts.has_alpha,
        has_icc: facts.has_icc,
    })
}

/// TIFF and BMP headers come in so many shapes that the decoder itself reads them.
fn by_decoder(bytes: &[u8], format: Format, limits: &Limits) -> Result<Facts> {
    let fault = |e| image_fault(e, format);
    let mut decoder: Box<dyn image::ImageDecoder> = match format {
        Format::Tiff => {
            Box::new(image::codecs::tiff::TiffDecoder::new(Cursor::new(bytes)).map_err(fault)?)
        }
        _ => Box::new(image::codecs::bmp::BmpDecoder::new(Cursor::new(bytes)).map_err(fault)?),
    };
    let (width, height) = decoder.dimensions();
    // Before asking for more, as reading a profile may allocate.
    limits.check_size(width, height)?;
    let orientation = decoder.orientation().ok();
    Ok(Facts {
        width,
        height,
        frames: 1,
        has_alpha: decoder.color_type().has_alpha(),
        has_icc: decoder.icc_profile().ok().flatten().is_some(),
        orientation: orientation.map(|o| Orientation::from_exif(u32::from(o.to_exif()))),
    })
}

/// Reads a big-endian `u16` at `at`.
pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)
}

/// Reads a big-endian `u32` at `at`.
pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_be_bytes)
}

/// Reads a little-endian `u16` at `at`.
pub(crate) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_le_bytes)
}

/// Reads a little-endian `u32` at `at`.
pub(crate) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}
