//! PNG of any depth and colour type, reduced to 8 bits, read row by row and shrunk on the way.

mod shrink;

use std::io::{BufRead, Cursor, Seek};

use png::{ColorType, Decoder, DecodingError, Reader, Transformations};

use self::shrink::Shrink;
use super::{DECODE_SURPLUS, pixel_bytes};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::pixels::Pixels;
use crate::probe::Probe;

const TYPE: &str = "image/png";

/// Most rows and columns that become one: sums of this many squared fit into 32 bits.
const MAX_FACTOR: u32 = 64;

/// Memory of the decoder itself: its window and the compressed bytes it holds.
const DECODER_BYTES: u64 = 256 << 10;

/// Decodes the image, or its still if it is animated.
///
/// Only the shrunk image is held: rows of the file, of whatever depth, are gone once they are added to it. Interlaced
/// files are the exception, as their rows do not come in order: these are held whole, at 8 bits.
pub(super) fn decode(bytes: &[u8], probe: &Probe, limits: &Limits, scale: f64) -> Result<Pixels> {
    let budget = usize::try_from(limits.max_alloc_bytes).unwrap_or(usize::MAX);
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: budget });
    decoder.set_transformations(Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let reader = decoder.read_info().map_err(fault)?;
    if reader.info().interlaced {
        whole(reader, probe, limits)
    } else {
        by_rows(reader, probe, limits, scale)
    }
}

/// Returns the largest factor that keeps the surplus.
fn factor(scale: f64) -> u32 {
    ((1.0 / (scale * DECODE_SURPLUS)) as u32).clamp(1, MAX_FACTOR)
}

fn by_rows<R: BufRead + Seek>(
    mut reader: Reader<R>,
    probe: &Probe,
    limits: &Limits,
    scale: f64,
) -> Result<Pixels> {
    let (width, height) = (reader.info().width, reader.info().height);
    let color = reader.output_color_type().0;
    let factor = factor(scale);
    let (out_width, out_height) = (width.div_ceil(factor), height.div_ceil(factor));
    let channels = channels(color)?;
    // The decoder holds two rows as they are stored, we one of 8 bits and one of sums.
    let rows = u64::from(width) * (2 * reader.info().bytes_per_pixel() as u64 + 4 + 16);
    limits.check_alloc(
        pixel_bytes(out_width, out_height, channels as u64, probe) + rows + DECODER_BYTES,
    )?;
    let mut out = Shrink::new(width, height, channels, factor);
    let mut line = vec![0; width as usize * channels];
    while let Some(row) = reader.next_row().map_err(fault)? {
        expand(row.data(), color, &mut line)?;
        out.add(&line);
    }
    let data = out.finish();
    if data.len() != out_width as usize * out_height as usize * channels {
        return Err(corrupt("frame has the wrong size"));
    }
    Ok(Pixels::new(out_width, out_height, channels, data))
}

fn whole<R: BufRead + Seek>(
    mut reader: Reader<R>,
    probe: &Probe,
    limits: &Limits,
) -> Result<Pixels> {
    let (width, height) = (reader.info().width, reader.info().height);
    let color = reader.output_color_type().0;
    let channels = channels(color)?;
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| corrupt("frame does not fit into memory"))?;
    let upright = u64::from(width) * u64::from(height) * channels as u64;
    let expanded = match color.samples() == channels {
        true => size as u64,
        false => size as u64 + upright,
    };
    let needed = expanded.max(pixel_bytes(width, height, channels as u64, probe)) + DECODER_BYTES;
    limits.check_alloc(needed)?;
    let mut data = vec![0; size];
    let info = reader.next_frame(&mut data).map_err(fault)?;
    data.truncate(info.buffer_size());
    if data.len() != width as usize * height as usize * color.samples() {
        return Err(corrupt("frame has the wrong size"));
    }
    if color.samples() != channels {
        let mut wide = vec![0; width as usize * height as usize * channels];
        expand(&data, color, &mut wide)?;
        data = wide;
    }
    Ok(Pixels::new(width, height, channels, data))
}

/// Channels that are kept: grey becomes RGB, so that everything later knows two shapes only.
fn channels(color: ColorType) -> Result<usize> {
    match color {
        ColorType::Grayscale | ColorType::Rgb => Ok(3),
        ColorType::GrayscaleAlpha | ColorType::Rgba => Ok(4),
        ColorType::Indexed => Err(corrupt("palette was not expanded")),
    }
}

/// Writes 8-bit samples as RGB or RGBA.
fn expand(row: &[u8], color: ColorType, out: &mut [u8]) -> Result<()> {
    let channels = channels(color)?;
    if row.len() / color.samples() != out.len() / channels {
        return Err(corrupt("row has the wrong size"));
    }
    match color {
        ColorType::Grayscale => {
            for (pixel, &v) in out.as_chunks_mut::<3>().0.iter_mut().zip(row) {
                *pixel = [v; 3];
            }
        }
        ColorType::GrayscaleAlpha => {
            let pixels = out.as_chunks_mut::<4>().0;
            for (pixel, &[v, a]) in pixels.iter_mut().zip(row.as_chunks::<2>().0) {
                *pixel = [v, v, v, a];
            }
        }
        _ => out.copy_from_slice(row),
    }
    Ok(())
}

fn corrupt(detail: &str) -> Error {
    Error::Corrupt {
        content_type: TYPE,
        detail: detail.to_owned(),
    }
}

fn fault(error: DecodingError) -> Error {
    match error {
        DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::Truncated { content_type: TYPE }
        }
        other => corrupt(&other.to_string()),
    }
}
