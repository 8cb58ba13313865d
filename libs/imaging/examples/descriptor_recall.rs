//! Measures search by example with the built-in descriptor: `descriptor_recall DIR`.
//!
//! Every image of DIR is indexed; then altered copies of each are searched for. Printed per kind of change: how often
//! the original comes first, among all images. "Same scene" takes two windows of one photo that share 57 % of their
//! area, indexes one of each photo and searches for the other: no pixel lies at the same place.
#![allow(clippy::print_stdout, reason = "printing is what this program does")]

use std::error::Error;
use std::path::PathBuf;

use mediamesh_imaging::descriptor::visual_descriptor;
use mediamesh_imaging::{Limits, RgbImage, decode_rgb_within};

/// Side the media service hands to embedding, and so to the descriptor.
const INPUT_SIDE: u32 = 512;

type Change = fn(&RgbImage) -> Vec<u8>;

const CHANGES: [(&str, Change); 13] = [
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

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(
        std::env::args()
            .nth(1)
            .ok_or("usage: descriptor_recall DIR [NAME_PREFIX]")?,
    );
    let prefix = std::env::args().nth(2).unwrap_or_default();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    let limits = Limits::default();
    let mut images = Vec::new();
    for path in paths {
        match decode_rgb_within(&std::fs::read(&path)?, &limits, 1024) {
            Ok(image) => images.push((
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                image,
            )),
            Err(e) => println!("{}: {e}", path.display()),
        }
    }
    let describe = |bytes: &[u8]| -> Result<Vec<f32>, mediamesh_imaging::Error> {
        Ok(visual_descriptor(&decode_rgb_within(
            bytes, &limits, INPUT_SIDE,
        )?))
    };
    let index: Vec<Vec<f32>> = images
        .iter()
        .map(|(_, i)| describe(&jpeg(i, 92)))
        .collect::<Result<_, _>>()?;
    let queries: Vec<usize> = (0..images.len())
        .filter(|&i| images[i].0.starts_with(&prefix))
        .collect();
    println!(
        "{} images indexed, {} searched for\n",
        images.len(),
        queries.len()
    );

    let (mut hits, mut tries) = (0, 0);
    for (name, change) in CHANGES {
        let mut first = 0;
        for &at in &queries {
            let found = nearest(&index, &describe(&change(&images[at].1))?);
            first += usize::from(found == at);
            if found != at && std::env::var_os("SHOW_MISSES").is_some() {
                println!("  {name}: {} gave {}", images[at].0, images[found].0);
            }
        }
        println!("{name:24} {:6.2} %", percent(first, queries.len()));
        hits += first;
        tries += queries.len();
    }
    println!("{:24} {:6.2} %\n", "all", percent(hits, tries));

    let windows: Vec<Vec<f32>> = queries
        .iter()
        .map(|&at| describe(&jpeg(&window(&images[at].1, 0.0, 0.0, 0.8, 0.85), 85)))
        .collect::<Result<_, _>>()?;
    let (mut first, mut above, mut pairs, mut strange) = (0, 0, 0, Vec::new());
    for (row, &at) in queries.iter().enumerate() {
        let query = describe(&jpeg(&window(&images[at].1, 0.2, 0.15, 0.8, 0.85), 85))?;
        first += usize::from(nearest(&windows, &query) == row);
        let own = cosine(&windows[row], &query);
        for (_, other) in windows
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != row)
        {
            let score = cosine(other, &query);
            above += usize::from(own > score);
            pairs += 1;
            strange.push(score);
        }
    }
    strange.sort_by(f32::total_cmp);
    println!(
        "same scene first         {:6.2} %",
        percent(first, queries.len())
    );
    println!(
        "same scene above others  {:6.2} % of {pairs} pairs",
        percent(above, pairs)
    );
    let mean = strange.iter().sum::<f32>() / strange.len() as f32;
    println!(
        "unrelated cosine         mean {mean:.3}, 99 % below {:.3}",
        strange[strange.len() * 99 / 100]
    );
    Ok(())
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn cosine(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn nearest(index: &[Vec<f32>], query: &[f32]) -> usize {
    let score = |at: &usize| cosine(&index[*at], query);
    (0..index.len())
        .max_by(|x, y| score(x).total_cmp(&score(y)))
        .unwrap_or(0)
}

fn jpeg(image: &RgbImage, quality: i32) -> Vec<u8> {
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

fn window(image: &RgbImage, left: f32, top: f32, width: f32, height: f32) -> RgbImage {
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
