//! Image to pixels, as Hugging Face's Pillow-based image processors do it, bit by bit.

use mediamesh_imaging::RgbImage;

use crate::encoder::EncodeError;
use crate::preprocess::resample::resample;
use crate::spec::{ImageSpec, ResizeRule};

mod resample;

/// Appends one image as `[3, height, width]` f32 to a batch.
///
/// Source: `PilBackend` and `image_transforms.py` of transformers 5.23.
pub(crate) fn append_pixels(
    image: &RgbImage,
    spec: &ImageSpec,
    batch: &mut Vec<f32>,
) -> Result<(), EncodeError> {
    let (width, height) = (image.width as usize, image.height as usize);
    if image.data.is_empty() || image.data.len() != 3 * width * height {
        return Err(EncodeError::Image {
            width: image.width,
            height: image.height,
            bytes: image.data.len(),
        });
    }
    let (to_width, to_height) = match spec.resize {
        None => (width, height),
        Some(ResizeRule::Exact { width, height }) => (width as usize, height as usize),
        Some(ResizeRule::ShortestEdge(edge)) => shortest_edge(width, height, edge as usize),
    };
    let resized = resample(
        &image.data,
        (width, height),
        (to_width, to_height),
        spec.filter,
    );
    let (crop_width, crop_height) = spec.crop.unwrap_or((spec.width, spec.height));
    let (crop_width, crop_height) = (crop_width as usize, crop_height as usize);
    let left = crop_start(to_width, crop_width);
    let top = crop_start(to_height, crop_height);

    // 256 values per channel: the arithmetic is done once per value, in the reference's types
    // (f64 for the rescale, f32 after it).
    let tables: [[f32; 256]; 3] = std::array::from_fn(|c| {
        std::array::from_fn(|v| ((v as f64 * spec.rescale) as f32 - spec.mean[c]) / spec.std[c])
    });
    batch.reserve(3 * crop_width * crop_height);
    for (c, table) in tables.iter().enumerate() {
        for y in 0..crop_height as isize {
            for x in 0..crop_width as isize {
                let (x, y) = (x + left, y + top);
                let inside =
                    x >= 0 && y >= 0 && (x as usize) < to_width && (y as usize) < to_height;
                // Outside of a too small image the reference pads with black before it normalises.
                let value = if inside {
                    resized[(y as usize * to_width + x as usize) * 3 + c]
                } else {
                    0
                };
                batch.push(table[usize::from(value)]);
            }
        }
    }
    Ok(())
}

/// The longer edge is truncated, not rounded.
fn shortest_edge(width: usize, height: usize, edge: usize) -> (usize, usize) {
    let long = |short: usize, long: usize| ((edge * long) as f64 / short as f64) as usize;
    if width <= height {
        (edge, long(width, height))
    } else {
        (long(height, width), edge)
    }
}

/// Where a centred window starts; negative where the image is smaller. Rounds as the reference's
/// floor division and `ceil` padding do together.
fn crop_start(size: usize, crop: usize) -> isize {
    (size as isize - crop as isize).div_euclid(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_edge_is_truncated() {
        assert_eq!(shortest_edge(211, 93, 48), (108, 48));
        assert_eq!(shortest_edge(29, 37, 224), (224, 285));
    }

    #[test]
    fn a_crop_larger_than_the_image_is_padded_more_at_the_start() {
        assert_eq!(crop_start(5, 8), -2);
        assert_eq!(crop_start(9, 4), 2);
    }
}
