//! Placeholders and fingerprints of small size.

use crate::frequency::low_frequencies;
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
pub(crate) fn perceptual_hash(small: &mut Pixels) -> u64 {
    let tiny = Scaler::default().resample(small, SIDE as u32, SIDE as u32);
    let luma: Vec<f32> = tiny
        .rgb_bytes()
        .as_chunks::<3>()
        .0
        .iter()
        .map(|&[r, g, b]| 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b))
        .collect();
    let spectrum = low_frequencies(&luma, SIDE, 9);
    let low: Vec<f32> = (1..=8)
        .flat_map(|y| (1..=8).map(move |x| (y, x)))
        .map(|(y, x)| spectrum[y * 9 + x])
        .collect();
    let mut sorted = low.clone();
    sorted.sort_by(f32::total_cmp);
    let median = (sorted[31] + sorted[32]) / 2.0;
    low.iter()
        .fold(0, |hash, &v| hash << 1 | u64::from(v > median))
}

/// Returns the number of differing bits of two perceptual hashes: below 10 is the same picture, around 32 is chance.
pub fn hamming(x: u64, y: u64) -> u32 {
    (x ^ y).count_ones()
}
