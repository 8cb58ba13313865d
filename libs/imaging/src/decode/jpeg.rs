//! JPEG through libjpeg-turbo, shrunk in the DCT.

use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

use super::{DECODE_SURPLUS, pixel_bytes};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::pixels::Pixels;
use crate::probe::Probe;
use crate::probe::jpeg::Header;

const TYPE: &str = "image/jpeg";

/// Most scans of a progressive image. Encoders write about ten; each further one costs a pass over all coefficients.
const MAX_SCANS: u32 = 64;

pub(super) fn decode(bytes: &[u8], probe: &Probe, limits: &Limits, scale: f64) -> Result<Pixels> {
    let header = Header::read(bytes)?;
    check_support(&header)?;
    let factor = if header.lossless {
        ScalingFactor::ONE
    } else {
        scaling(scale)
    };
    let (width, height) = (
        factor.scale(probe.stored_width as usize),
        factor.scale(probe.stored_height as usize),
    );
    let format = if header.components == 4 {
        PixelFormat::CMYK
    } else {
        PixelFormat::RGB
    };
    let pixels = width as u64 * height as u64;
    let mut needed = pixel_bytes(width as u32, height as u32, 3, probe);
    if format == PixelFormat::CMYK {
        // Inks and the colours made of them.
        needed = needed.max(pixels * (4 + 3));
    }
    if header.progressive {
        // All coefficients are held until the last scan, at full size whatever the factor.
        needed += header.coefficient_bytes();
    }
    limits.check_alloc(needed)?;

    let mut decoder = Decompressor::new().map_err(fault)?;
    decoder.set_scan_limit(MAX_SCANS).map_err(fault)?;
    decoder.set_scaling_factor(factor).map_err(fault)?;
    let pitch = width * format.size();
    let mut data = vec![0; pitch * height];
    let image = Image {
        pixels: data.as_mut_slice(),
        width,
        pitch,
        height,
        format,
    };
    if let Err(e) = decoder.decompress(bytes, image).map_err(fault)
        && !is_harmless(&e, &bytes[header.scan_start..])
    {
        return Err(e);
    }
    if format == PixelFormat::CMYK {
        data = cmyk_to_rgb(&data, header.adobe);
    }
    Ok(Pixels::new(width as u32, height as u32, 3, data))
}

fn check_support(header: &Header) -> Result<()> {
    let lacking = match header {
        Header { precision, .. } if *precision != 8 => format!("{precision} bits per sample"),
        Header { components, .. } if !matches!(components, 1 | 3 | 4) => {
            format!("{components} components")
        }
        _ => return Ok(()),
    };
    Err(Error::UnsupportedFeature {
        content_type: TYPE,
        feature: lacking,
    })
}

/// Returns the smallest factor of the decoder that keeps the surplus.
///
/// Eighths, quarters and halves have SIMD transforms in libjpeg-turbo; of the factors without, 3/8 alone is used, since
/// it leaves the resampler almost half the pixels of 1/2.
fn scaling(scale: f64) -> ScalingFactor {
    let wanted = scale * DECODE_SURPLUS;
    [
        ScalingFactor::ONE_EIGHTH,
        ScalingFactor::ONE_QUARTER,
        ScalingFactor::new(3, 8),
        ScalingFactor::ONE_HALF,
    ]
    .into_iter()
    .find(|f| f.num() as f64 / f.denom() as f64 >= wanted)
    .unwrap_or(ScalingFactor::ONE)
}

fn fault(error: turbojpeg::Error) -> Error {
    let detail = match error {
        turbojpeg::Error::TurboJpegError(text) => text,
        other => other.to_string(),
    };
    // Texts of jerror.h; the library has no codes for them.
    let truncated = detail.contains("Premature end of JPEG file")
        || detail.contains("premature end of data segment");
    if truncated {
        Error::Truncated { content_type: TYPE }
    } else {
        Error::Corrupt {
            content_type: TYPE,
            detail,
        }
    }
}

/// Tells warnings after which every pixel was still decoded from those with pixels missing or wrong.
///
/// Cameras write stray bytes before markers; all viewers accept them. As only the first warning is reported, the end
/// marker must be there as well, or a cut could hide behind a stray byte.
fn is_harmless(error: &Error, scan: &[u8]) -> bool {
    let Error::Corrupt { detail, .. } = error else {
        return false;
    };
    detail.contains("extraneous bytes before marker")
        && scan.array_windows().any(|w| w == &[0xff, 0xd9])
}

/// Converts by the plain formula, without ink profiles; Adobe's writers store inks inverted.
fn cmyk_to_rgb(cmyk: &[u8], inverted: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(cmyk.len() / 4 * 3);
    for quad in cmyk.as_chunks::<4>().0 {
        let [c, m, y, k] = quad.map(|v| u32::from(if inverted { v } else { 255 - v }));
        out.extend([c, m, y].map(|v| ((v * k + 127) / 255) as u8));
    }
    out
}
