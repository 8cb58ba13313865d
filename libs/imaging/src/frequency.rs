//! The lowest frequencies of a square image.
//!
//! Summed directly: the hashes want 8 of 32 or 96 frequencies, for which a fast transform saves nothing and its
//! generic plans are a quarter of this crate's machine code.

use std::f32::consts::PI;

/// DCT-II of the `count` lowest frequencies in both directions, not scaled: `sum of v * cos(pi (x + 1/2) u / side)`.
///
/// Shape: `side * side` values in rows, `count * count` out, vertical frequency first.
pub(crate) fn low_frequencies(values: &[f32], side: usize, count: usize) -> Vec<f32> {
    let waves: Vec<f32> = (0..count)
        .flat_map(|u| {
            (0..side).map(move |x| (PI * (x as f32 + 0.5) * u as f32 / side as f32).cos())
        })
        .collect();
    let mut out = vec![0.0; count * count];
    let mut columns = vec![0.0; side];
    for (v, wave) in waves.chunks_exact(side).enumerate() {
        columns.fill(0.0);
        for (row, weight) in values.chunks_exact(side).zip(wave) {
            columns
                .iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += weight * value);
        }
        for (u, wave) in waves.chunks_exact(side).enumerate() {
            out[v * count + u] = wave.iter().zip(&columns).map(|(w, c)| w * c).sum();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_wave_is_found_at_its_frequency_only() {
        let side = 16;
        let wave = |at: usize, u: f32| (PI * (at as f32 + 0.5) * u / side as f32).cos();
        let values: Vec<f32> = (0..side * side)
            .map(|i| wave(i / side, 3.0) * wave(i % side, 1.0))
            .collect();
        for (at, found) in low_frequencies(&values, side, 5).into_iter().enumerate() {
            let expected = if at == 3 * 5 + 1 {
                (side * side) as f32 / 4.0
            } else {
                0.0
            };
            assert!((found - expected).abs() < 1e-3, "{at} is {found}");
        }
    }
}
