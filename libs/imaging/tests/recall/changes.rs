//! Altered copies of photos as people make them, for measuring search by example.

use std::path::{Path, PathBuf};

use mediamesh_imaging::RgbImage;

/// One change; gives a JPEG.
pub(crate) type Change = fn(&RgbImage) -> Vec<u8>;

/// Every change, by name.
pub(crate) const CHANGES: [(&str, Change); 13] = [
    ("jpeg q85", |i| jpeg(i, 85)),
    ("jpeg q60", |i| jpeg(i, 60)),
    ("jpeg q40", |i| jpeg(i, 40)),
    ("resize 50 %", |i| {
        jpeg(&sample(i, i.width / 2, i.height / 2, |x, y| (x, y)), 85)
    }),
    ("resize 25 %", |i| {
        jpeg(&sample(i, i.width / 4, i.height / 4, |x, y| (x, y)), 85)
    }),
    ("crop 5 % per side", |i| {
        jpeg(&window(i, 0.05, 0.05, 0.9, 0.9), 85)
    }),
    ("crop 10 % per side", |i| {
        jpeg(&window(i, 0.1, 0.1, 0.8, 0.8), 85)
    }),
    ("crop 10 % left and top", |i| {
        jpeg(&window(i, 0.1, 0.1, 0.9, 0.9), 85)
    }),
    ("crop 10 % right", |i| {
        jpeg(&window(i, 0.0, 0.0, 0.9, 1.0), 85)
    }),
    ("rotate 2 degrees", |i| jpeg(&rotate(i, 2.0), 85)),
    ("rotate 5 degrees", |i| jpeg(&rotate(i, 5.0), 85)),
    ("rotate -5 degrees", |i| jpeg(&rotate(i, -5.0), 85)),
    ("crop 10 %, 25 %, q40", |i| {
        let cut = window(i, 0.1, 0.1, 0.8, 0.8);
        jpeg(
            &sample(&cut, cut.width / 4, cut.height / 4, |x, y| (x, y)),
            40,
        )
    }),
];

/// Files below a folder, in path order.
pub(crate) fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            paths.extend(files(&path)?);
        } else {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Cosine of two vectors of unit length.
pub(crate) fn cosine(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// Index of the vector nearest to `query`.
pub(crate) fn nearest(index: &[Vec<f32>], query: &[f32]) -> usize {
    let score = |at: &usize| cosine(&index[*at], query);
    (0..index.len())
        .max_by(|x, y| score(x).total_cmp(&score(y)))
        .unwrap_or(0)
}

/// Encodes with 4:2:0.
pub(crate) fn jpeg(image: &RgbImage, quality: i32) -> Vec<u8> {
    let (width, height) = (image.width as usize, image.height as usize);
    let format = turbojpeg::PixelFormat::RGB;
    let view = turbojpeg::Image {
        pixels: image.data.as_slice(),
        width,
        pitch: 3 * width,
        height,
        format,
    };
    turbojpeg::compress(view, quality, turbojpeg::Subsamp::Sub2x2)
        .map(|b| b.to_vec())
        .unwrap_or_default()
}

/// Cuts out a window given as parts of the sides.
pub(crate) fn window(image: &RgbImage, left: f32, top: f32, width: f32, height: f32) -> RgbImage {
    let (w, h) = (image.width as f32, image.height as f32);
    let (x0, y0) = ((left * w) as u32, (top * h) as u32);
    let (width, height) = (
        ((width * w) as u32).min(image.width - x0).max(1),
        ((height * h) as u32).min(image.height - y0).max(1),
    );
    let row = |y: u32| {
        let start = ((y0 + y) * image.width + x0) as usize * 3;
        &image.data[start..start + width as usize * 3]
    };
    RgbImage {
        width,
        height,
        data: (0..height).flat_map(row).copied().collect(),
    }
}

/// Turns around the middle and keeps the largest upright window of the same aspect that has no blank corner.
fn rotate(image: &RgbImage, degrees: f32) -> RgbImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (w, h) = (image.width as f32, image.height as f32);
    let keep = 1.0 / (cos + sin.abs() * (w / h).max(h / w));
    let (width, height) = (((w * keep) as u32).max(1), ((h * keep) as u32).max(1));
    sample(image, width, height, |x, y| {
        let (x, y) = ((x - 0.5) * w * keep, (y - 0.5) * h * keep);
        ((x * cos - y * sin) / w + 0.5, (x * sin + y * cos) / h + 0.5)
    })
}

/// Box-samples `image` at places given as parts of its sides, 3 x 3 points per pixel: simple and not our own resampler.
fn sample(
    image: &RgbImage,
    width: u32,
    height: u32,
    place: impl Fn(f32, f32) -> (f32, f32),
) -> RgbImage {
    let (width, height) = (width.max(1), height.max(1));
    let mut data = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let mut sum = [0u32; 3];
            for part in 0..9 {
                let at_x = (x as f32 + (part % 3) as f32 / 3.0 + 1.0 / 6.0) / width as f32;
                let at_y = (y as f32 + (part / 3) as f32 / 3.0 + 1.0 / 6.0) / height as f32;
                let (from_x, from_y) = place(at_x, at_y);
                let from_x = ((from_x * image.width as f32) as u32).min(image.width - 1);
                let from_y = ((from_y * image.height as f32) as u32).min(image.height - 1);
                let at = (from_y * image.width + from_x) as usize * 3;
                sum.iter_mut()
                    .zip(&image.data[at..at + 3])
                    .for_each(|(sum, v)| *sum += u32::from(*v));
            }
            data.extend(sum.map(|v| (v / 9) as u8));
        }
    }
    RgbImage {
        width,
        height,
        data,
    }
}
