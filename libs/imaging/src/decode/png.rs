//! PNG of any depth and colour type, reduced to 8 bits.

use std::io::Cursor;

use png::{ColorType, Decoder, DecodingError, Transformations};

use super::pixel_bytes;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::pixels::Pixels;
use crate::probe::Probe;

const TYPE: &str = "image/png";

pub(super) fn decode(bytes: &[u8], probe: &Probe, limits: &Limits) -> Result<Pixels> {
    // The whole frame, plus the copy made when grey becomes RGB or pixels are turned.
    limits.check_alloc(2 * pixel_bytes(probe.stored_width, probe.stored_height, 4, probe))?;
    let budget = usize::try_from(limits.max_alloc_bytes).unwrap_or(usize::MAX);
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: budget });
    decoder.set_transformations(Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(fault)?;
    let size = reader
        .output_buffer_size()
        .ok_or_else(|| corrupt("frame does not fit into memory"))?;
    limits.check_alloc(size as u64)?;
    let mut data = vec![0; size];
    let info = reader.next_frame(&mut data).map_err(fault)?;
    data.truncate(info.buffer_size());
    let (channels, data) = match info.color_type {
        ColorType::Rgb => (3, data),
        ColorType::Rgba => (4, data),
        ColorType::Grayscale => (3, data.iter().flat_map(|&v| [v; 3]).collect()),
        ColorType::GrayscaleAlpha => (
            4,
            data.as_chunks::<2>()
                .0
                .iter()
                .flat_map(|&[v, a]| [v, v, v, a])
                .collect(),
        ),
        ColorType::Indexed => return Err(corrupt("palette was not expanded")),
    };
    if data.len() != info.width as usize * info.height as usize * channels {
        return Err(corrupt("frame has the wrong size"));
    }
    Ok(Pixels::new(info.width, info.height, channels, data))
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
