//! WebP, GIF, TIFF and BMP through the `image` crate's decoders, all of them safe Rust.

use std::io::{Cursor, ErrorKind};

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, tiff::TiffDecoder, webp::WebPDecoder};
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageResult};

use super::pixel_bytes;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::pixels::Pixels;
use crate::probe::Probe;
use crate::sniff::Format;

/// Decodes the first frame or page.
pub(super) fn decode(bytes: &[u8], probe: &Probe, limits: &Limits) -> Result<Pixels> {
    open(bytes, probe, limits).map_err(|e| image_fault(e, probe.format))?
}

fn open(bytes: &[u8], probe: &Probe, limits: &Limits) -> ImageResult<Result<Pixels>> {
    let source = Cursor::new(bytes);
    match probe.format {
        Format::Gif => read(GifDecoder::new(source)?, probe, limits),
        Format::Tiff => read(TiffDecoder::new(source)?, probe, limits),
        Format::Bmp => read(BmpDecoder::new(source)?, probe, limits),
        Format::WebP | Format::Jpeg | Format::Png => read(WebPDecoder::new(source)?, probe, limits),
    }
}

fn read(
    mut decoder: impl ImageDecoder,
    probe: &Probe,
    limits: &Limits,
) -> ImageResult<Result<Pixels>> {
    let (width, height) = decoder.dimensions();
    let needed = needed_bytes(&decoder, probe);
    if let Err(e) = limits
        .check_size(width, height)
        .and_then(|()| limits.check_alloc(needed))
    {
        return Ok(Err(e));
    }
    let mut bounds = image::Limits::default();
    bounds.max_image_width = Some(limits.max_side);
    bounds.max_image_height = Some(limits.max_side);
    bounds.max_alloc = Some(limits.max_alloc_bytes);
    decoder.set_limits(bounds)?;
    let image = DynamicImage::from_decoder(decoder)?;
    Ok(Ok(if image.color().has_alpha() {
        Pixels::new(width, height, 4, image.into_rgba8().into_raw())
    } else {
        Pixels::new(width, height, 3, image.into_rgb8().into_raw())
    }))
}

/// Most memory at one time: while decoding, while reducing to 8 bits, or while turning.
fn needed_bytes(decoder: &impl ImageDecoder, probe: &Probe) -> u64 {
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let channels = if color.has_alpha() { 4 } else { 3 };
    let stored = decoder.total_bytes();
    let reduced = u64::from(width) * u64::from(height) * channels;
    let decoding = match probe.format {
        // Decodes into a buffer of its own and copies; so do animations whose frames are parts.
        Format::Tiff | Format::Gif => stored.saturating_mul(2),
        // Its own planes or RGBA, and what is made of them.
        Format::WebP => stored + u64::from(width) * u64::from(height) * 4,
        _ => stored,
    };
    let reducing = match color {
        ColorType::Rgb8 | ColorType::Rgba8 => stored,
        _ => stored.saturating_add(reduced),
    };
    let turning = pixel_bytes(width, height, channels, probe);
    decoding.max(reducing).max(turning)
}

/// Sorts a fault of the `image` crate into ours.
pub(crate) fn image_fault(error: ImageError, format: Format) -> Error {
    let content_type = format.content_type();
    if is_end_of_data(&error) {
        return Error::Truncated { content_type };
    }
    match error {
        ImageError::Unsupported(e) => Error::UnsupportedFeature {
            content_type,
            feature: e.to_string(),
        },
        other => Error::Corrupt {
            content_type,
            detail: other.to_string(),
        },
    }
}

/// Looks for an end of data anywhere in the chain of causes.
fn is_end_of_data(error: &ImageError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = cause {
        if e.downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == ErrorKind::UnexpectedEof)
        {
            return true;
        }
        // `image_webp` and `gif` have variants of their own for a cut.
        let text = e.to_string();
        if text.contains("nexpected end")
            || text.contains("nexpected EOF")
            || text.contains("Not enough")
        {
            return true;
        }
        cause = e.source();
    }
    false
}
