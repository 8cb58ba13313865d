//! Pillow's resize of 8-bit images, to the bit.
//!
//! Faster crates (fast_image_resize among them) use 16-bit coefficients and differ by one level
//! here and there; through a vision tower that is more than the 1e-4 we promise.
//! Source: `src/libImaging/Resample.c` of Pillow 12 (`precompute_coeffs`, `normalize_coeffs_8bpc`).

use std::borrow::Cow;

use crate::spec::Filter;

/// Fraction bits of the integer coefficients: 32 less 8 for the pixel and 2 for the filter's
/// overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

const CHANNELS: usize = 3;

/// Resizes interleaved RGB.
pub(super) fn resample<'a>(
    data: &'a [u8],
    (width, height): (usize, usize),
    (to_width, to_height): (usize, usize),
    filter: Filter,
) -> Cow<'a, [u8]> {
    if (width, height) == (to_width, to_height) {
        return Cow::Borrowed(data);
    }
    if filter == Filter::Nearest {
        return Cow::Owned(nearest(data, (width, height), (to_width, to_height)));
    }
    let mut current = Cow::Borrowed(data);
    if width != to_width {
        current = Cow::Owned(horizontal(
            &current,
            width,
            &Kernel::new(filter, width, to_width),
        ));
    }
    if height != to_height {
        current = Cow::Owned(vertical(
            &current,
            to_width,
            &Kernel::new(filter, height, to_height),
        ));
    }
    current
}

/// For each output position the first input position and its coefficients.
struct Kernel {
    windows: Vec<(usize, Vec<i32>)>,
}

impl Kernel {
    fn new(filter: Filter, from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = radius(filter) * stretch;
        let windows = (0..to)
            .map(|position| {
                let center = (position as f64 + 0.5) * scale;
                // C's conversion truncates towards zero and so does `as`.
                let first = (center - support + 0.5).max(0.0) as usize;
                let last = ((center + support + 0.5) as usize).min(from);
                let weights: Vec<f64> = (first..last)
                    .map(|x| weight(filter, (x as f64 - center + 0.5) / stretch))
                    .collect();
                let sum: f64 = weights.iter().sum();
                let fixed = |w: f64| {
                    let w =
                        if sum == 0.0 { w } else { w / sum } * f64::from(1_u32 << PRECISION_BITS);
                    (w + 0.5_f64.copysign(w)) as i32
                };
                (first, weights.into_iter().map(fixed).collect())
            })
            .collect();
        Self { windows }
    }
}

fn radius(filter: Filter) -> f64 {
    match filter {
        Filter::Nearest => 0.0,
        Filter::Bilinear => 1.0,
        Filter::Bicubic => 2.0,
        Filter::Lanczos => 3.0,
    }
}

fn weight(filter: Filter, x: f64) -> f64 {
    const A: f64 = -0.5;
    let sinc = |x: f64| {
        if x == 0.0 {
            1.0
        } else {
            (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI)
        }
    };
    match (filter, x.abs()) {
        (Filter::Bilinear, x) if x < 1.0 => 1.0 - x,
        (Filter::Bicubic, x) if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        (Filter::Bicubic, x) if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        (Filter::Lanczos, x) if x < 3.0 => sinc(x) * sinc(x / 3.0),
        _ => 0.0,
    }
}

fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn horizontal(data: &[u8], width: usize, kernel: &Kernel) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() / width * kernel.windows.len());
    for row in data.chunks_exact(width * CHANNELS) {
        for (first, weights) in &kernel.windows {
            let mut sums = [HALF; CHANNELS];
            let window = &row[first * CHANNELS..(first + weights.len()) * CHANNELS];
            for (pixel, weight) in window.as_chunks::<CHANNELS>().0.iter().zip(weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*value) * weight;
                }
            }
            out.extend(sums.map(rounded));
        }
    }
    out
}

fn vertical(data: &[u8], width: usize, kernel: &Kernel) -> Vec<u8> {
    let stride = width * CHANNELS;
    let mut out = Vec::with_capacity(stride * kernel.windows.len());
    let mut sums = vec![HALF; stride];
    for (first, weights) in &kernel.windows {
        sums.fill(HALF);
        for (row, weight) in data[first * stride..].chunks_exact(stride).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| rounded(sum)));
    }
    out
}

fn nearest(
    data: &[u8],
    (width, height): (usize, usize),
    (to_width, to_height): (usize, usize),
) -> Vec<u8> {
    let pick = |position: usize, from: usize, to: usize| {
        (((position as f64 + 0.5) * (from as f64 / to as f64)) as usize).min(from - 1)
    };
    let mut out = Vec::with_capacity(to_width * to_height * CHANNELS);
    for y in 0..to_height {
        let row = pick(y, height, to_height) * width;
        for x in 0..to_width {
            let start = (row + pick(x, width, to_width)) * CHANNELS;
            out.extend_from_slice(&data[start..start + CHANNELS]);
        }
    }
    out
}
