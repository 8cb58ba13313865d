//! Placeholders and fingerprints of small size.

use rustdct::DctPlanner;

use crate::pixels::Pixels;
use crate::resize::Scaler;

/// ThumbHash: a placeholder with aspect and alpha. Source: Evan Wallace, 2023.
///
/// The image must not exceed 100 x 100.
pub(crate) fn thumb_hash(small: &Pixels) -> Vec<u8> {
    thumbhash::rgba_to_thumb_hash(
        small.width as usize,
        small.height as usize,
        &small.to_rgba(),
    )
}

/// BlurHash of 4 x 3 components, alpha laid on white. Source: Wolt, 2018.
pub(crate) fn blur_hash(small: &Pixels) -> String {
    let rgb = small.rgb_bytes();
    let rgba: Vec<u8> = rgb
        .as_chunks::<3>()
        .0
        .iter()
        .flat_map(|&[r, g, b]| [r, g, b, 255])
        .collect();
    blurhash::encode(4, 3, small.width, small.height, &rgba)
        .expect("4 x 3 components are within BlurHash's 1 to 9")
}

/// Side of the luminance image under the transform.
const SIDE: usize = 32;

/// 64-bit perceptual hash: signs of the low frequencies of the luminance against their median.
///
/// Frequencies 1 to 8 in both directions, leaving out the mean brightness and plain gradients along one axis.
/// Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", section 3.2.1 (DCT hash).
pub(crate) fn perceptual_hash(small: &Pixels) -> u64 {
    let tiny = Scaler::default().resample(small, SIDE as u32, SIDE as u32);
    let luma: Vec<f32> = tiny
        .rgb_bytes()
        .as_chunks::<3>()
        .0
        .iter()
        .map(|&[r, g, b]| 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b))
        .collect();
    let spectrum = dct_2d(luma);
    let low: Vec<f32> = (1..=8)
        .flat_map(|y| (1..=8).map(move |x| (y, x)))
        .map(|(y, x)| spectrum[y * SIDE + x])
        .collect();
    let mut sorted = low.clone();
    sorted.sort_by(f32::total_cmp);
    let median = (sorted[31] + sorted[32]) / 2.0;
    low.iter()
        .fold(0, |hash, &v| hash << 1 | u64::from(v > median))
}

/// Transforms rows, then columns, of a `SIDE` x `SIDE` image (DCT-II, not scaled).
fn dct_2d(mut data: Vec<f32>) -> Vec<f32> {
    let dct = DctPlanner::new().plan_dct2(SIDE);
    for _ in 0..2 {
        data.chunks_exact_mut(SIDE)
            .for_each(|row| dct.process_dct2(row));
        for y in 0..SIDE {
            for x in 0..y {
                data.swap(y * SIDE + x, x * SIDE + y);
            }
        }
    }
    data
}

/// Returns the number of differing bits of two perceptual hashes: below 10 is the same picture, around 32 is chance.
pub fn hamming(x: u64, y: u64) -> u32 {
    (x ^ y).count_ones()
}
