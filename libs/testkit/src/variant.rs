//! Copies of a picture as people make them: shrunk, re-encoded, turned, cropped, cut in quarters.

use anyhow::{Context, Result, ensure};
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images::Image, images::ImageRef,
};
use mediamesh_imaging::{Limits, RgbImage, decode_rgb};

use crate::fixture::encode_jpeg;

/// What was done to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Half the width and height, quality 85.
    Shrink,
    /// The same pixels at quality 40.
    Reencode,
    /// A quarter turn clockwise in the pixels, without an EXIF tag.
    Rotate,
    /// 5 % cut off each side: 81 % of the area is left.
    Crop,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Shrink, Self::Reencode, Self::Rotate, Self::Crop];

    /// Name for files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Shrink => "shrink",
            Self::Reencode => "reencode",
            Self::Rotate => "rotate",
            Self::Crop => "crop",
        }
    }

    /// Makes the copy as a JPEG.
    ///
    /// Errors: libraries refuse the size, which happens below 4 x 4 pixels only.
    /// Blocking: some ten milliseconds per megapixel.
    pub fn of(self, image: &RgbImage) -> Result<Vec<u8>> {
        let (made, quality) = match self {
            Self::Shrink => (
                resize(image, image.width.div_ceil(2), image.height.div_ceil(2))?,
                85,
            ),
            Self::Reencode => return Ok(encode_jpeg(&image.data, image.width, image.height, 40)),
            Self::Rotate => (rotate(image), 90),
            Self::Crop => {
                let (dx, dy) = (image.width / 20, image.height / 20);
                (
                    crop(image, dx, dy, image.width - 2 * dx, image.height - 2 * dy)?,
                    90,
                )
            }
        };
        Ok(encode_jpeg(&made.data, made.width, made.height, quality))
    }
}

/// Decodes a picture whole, upright.
///
/// Errors: it is damaged or of no known type.
pub fn decode(bytes: &[u8]) -> Result<RgbImage> {
    decode_rgb(bytes, &Limits::default()).context("cannot decode the original")
}

/// Cuts a picture into its four quarters, which do not overlap.
///
/// Errors: it is smaller than 2 x 2 pixels.
pub fn quarters(image: &RgbImage) -> Result<Vec<Vec<u8>>> {
    let (w, h) = (image.width / 2, image.height / 2);
    [(0, 0), (w, 0), (0, h), (w, h)]
        .into_iter()
        .map(|(x, y)| {
            crop(image, x, y, w, h).map(|tile| encode_jpeg(&tile.data, tile.width, tile.height, 92))
        })
        .collect()
}

fn resize(image: &RgbImage, width: u32, height: u32) -> Result<RgbImage> {
    let source = ImageRef::new(image.width, image.height, &image.data, PixelType::U8x3)?;
    let mut target = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new().resize(&source, &mut target, &options)?;
    Ok(RgbImage {
        width,
        height,
        data: target.into_vec(),
    })
}

fn rotate(image: &RgbImage) -> RgbImage {
    let (width, height) = (image.height, image.width);
    let mut data = Vec::with_capacity(image.data.len());
    for y in 0..height {
        for x in 0..width {
            // the top right corner of the result is the top left one of the source
            let at = ((image.height - 1 - x) * image.width + y) as usize * 3;
            data.extend_from_slice(&image.data[at..at + 3]);
        }
    }
    RgbImage {
        width,
        height,
        data,
    }
}

fn crop(image: &RgbImage, left: u32, top: u32, width: u32, height: u32) -> Result<RgbImage> {
    ensure!(
        width > 0 && height > 0,
        "image of {} x {} pixels is too small to crop",
        image.width,
        image.height
    );
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    for line in image
        .data
        .chunks_exact(image.width as usize * 3)
        .skip(top as usize)
        .take(height as usize)
    {
        data.extend_from_slice(&line[left as usize * 3..(left + width) as usize * 3]);
    }
    Ok(RgbImage {
        width,
        height,
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn picture() -> RgbImage {
        RgbImage {
            width: 64,
            height: 48,
            data: fixture::rgb(3, 64, 48),
        }
    }

    #[test]
    fn a_quarter_turn_moves_the_top_left_corner_to_the_top_right() {
        let (before, after) = (picture(), rotate(&picture()));
        assert_eq!((after.width, after.height), (48, 64));
        assert_eq!(after.data[47 * 3..48 * 3], before.data[..3]);
        // four turns are none
        assert_eq!(rotate(&rotate(&rotate(&after))).data, before.data);
    }

    #[test]
    fn a_crop_is_a_window_of_the_original() {
        let image = picture();
        let cut = crop(&image, 10, 20, 5, 4).unwrap();
        assert_eq!(cut.data.len(), 5 * 4 * 3);
        let at = (20 * 64 + 10) * 3;
        assert_eq!(cut.data[..15], image.data[at..at + 15]);
    }

    #[test]
    fn every_variant_decodes_to_the_size_it_promises() {
        for (variant, size) in
            Variant::ALL
                .into_iter()
                .zip([(32, 24), (64, 48), (48, 64), (58, 44)])
        {
            let made = decode(&variant.of(&picture()).unwrap()).unwrap();
            assert_eq!((made.width, made.height), size, "{}", variant.name());
        }
    }
}
