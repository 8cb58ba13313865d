//! Pixels to files, without any metadata.

use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use crate::error::{Error, Result};
use crate::pixels::Pixels;
use crate::plan::OutputFormat;

/// Encodes one image; JPEG lays alpha on white, PNG and WebP keep it.
///
/// `quality` is 1 to 100 and ignored by PNG, `progressive` matters to JPEG only.
pub(crate) fn encode(
    image: &Pixels,
    format: OutputFormat,
    quality: u8,
    progressive: bool,
) -> Result<Vec<u8>> {
    match format {
        OutputFormat::Jpeg => jpeg(image, quality, progressive),
        OutputFormat::Png => png(image),
        OutputFormat::WebP => webp(image, quality),
    }
}

fn fault(format: OutputFormat, error: impl std::fmt::Display) -> Error {
    Error::Encode {
        content_type: format.content_type(),
        detail: error.to_string(),
    }
}

fn jpeg(image: &Pixels, quality: u8, progressive: bool) -> Result<Vec<u8>> {
    let fault = |e| fault(OutputFormat::Jpeg, e);
    let rgb = image.rgb_bytes();
    let (width, height) = (image.width as usize, image.height as usize);
    let mut encoder = Compressor::new().map_err(fault)?;
    encoder.set_quality(i32::from(quality)).map_err(fault)?;
    encoder.set_subsamp(Subsamp::Sub2x2).map_err(fault)?;
    encoder.set_progressive(progressive).map_err(fault)?;
    encoder
        .compress_to_vec(Image {
            pixels: &rgb,
            width,
            pitch: 3 * width,
            height,
            format: PixelFormat::RGB,
        })
        .map_err(fault)
}

fn png(image: &Pixels) -> Result<Vec<u8>> {
    let fault = |e| fault(OutputFormat::Png, e);
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, image.width, image.height);
    encoder.set_color(if image.channels == 4 {
        png::ColorType::Rgba
    } else {
        png::ColorType::Rgb
    });
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(fault)?;
    writer.write_image_data(&image.data).map_err(fault)?;
    writer.finish().map_err(fault)?;
    Ok(out)
}

fn webp(image: &Pixels, quality: u8) -> Result<Vec<u8>> {
    let layout = if image.channels == 4 {
        webp::PixelLayout::Rgba
    } else {
        webp::PixelLayout::Rgb
    };
    webp::Encoder::new(&image.data, layout, image.width, image.height)
        .encode_simple(false, f32::from(quality))
        .map(|memory| memory.to_vec())
        .map_err(|e| fault(OutputFormat::WebP, format!("{e:?}")))
}
