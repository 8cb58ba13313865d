//! The four blocks of the descriptor, each of unit length.

use std::f32::consts::PI;

use crate::colors::Oklab;
use crate::frequency::low_frequencies;
use crate::pixels::Pixels;

/// Bins of lightness, a and b.
const HIST: [usize; 3] = [5, 5, 5];
const HIST_DIMS: usize = HIST[0] * HIST[1] * HIST[2];
/// Cells per side.
const GRID: usize = 4;
const MOMENT_DIMS: usize = GRID * GRID * 3;
const ORIENTATIONS: usize = 9;
const HOG_DIMS: usize = GRID * GRID * ORIENTATIONS;
/// Frequencies per direction.
const DCT: usize = 8;
const DCT_DIMS: usize = DCT * DCT - 1 + 4;
pub(super) const TOTAL: usize = HIST_DIMS + MOMENT_DIMS + HOG_DIMS + DCT_DIMS;

/// Length and weight of each block. Edges count most, for their 144 values share one unit of length.
const WEIGHTS: [(usize, f32); 4] = [
    (HIST_DIMS, 1.0),
    (MOMENT_DIMS, 0.5),
    (HOG_DIMS, 1.3),
    (DCT_DIMS, 0.35),
];

/// Weight of every value, in order.
pub(super) fn weights() -> impl Iterator<Item = f32> {
    WEIGHTS
        .into_iter()
        .flat_map(|(dims, weight)| std::iter::repeat_n(weight, dims))
}

/// The blocks of an image of equal sides: [`TOTAL`] values.
pub(super) fn all(small: &Pixels) -> Vec<f32> {
    let side = small.width as usize;
    let lab: Vec<Oklab> = small
        .data
        .as_chunks::<3>()
        .0
        .iter()
        .map(|&rgb| rgb.into())
        .collect();
    let mut out = Vec::with_capacity(TOTAL);
    block(&mut out, histogram(&lab), true);
    block(&mut out, moments(&lab, side), false);
    block(&mut out, gradients(&lab, side), true);
    block(&mut out, frequencies(&lab, side), false);
    out
}

fn block(out: &mut Vec<f32>, mut v: Vec<f32>, root: bool) {
    if root {
        for x in &mut v {
            *x = x.signum() * x.abs().sqrt();
        }
    }
    let norm = v.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-6);
    out.extend(v.iter().map(|x| x / norm));
}

/// The two bins a value lies between, and the part that falls to the second.
fn soft(value: f32, low: f32, high: f32, bins: usize) -> (usize, usize, f32) {
    let at = ((value - low) / (high - low) * bins as f32 - 0.5).clamp(0.0, (bins - 1) as f32);
    let first = (at as usize).min(bins - 2);
    (first, first + 1, at - first as f32)
}

fn histogram(lab: &[Oklab]) -> Vec<f32> {
    let mut out = vec![0.0; HIST_DIMS];
    let bend = |v: f32| v.signum() * v.abs().sqrt();
    for c in lab {
        let l = soft(c.l, 0.0, 1.0, HIST[0]);
        let a = soft(bend(c.a), -0.5, 0.5, HIST[1]);
        let b = soft(bend(c.b), -0.5, 0.5, HIST[2]);
        for (li, lw) in [(l.0, 1.0 - l.2), (l.1, l.2)] {
            for (ai, aw) in [(a.0, 1.0 - a.2), (a.1, a.2)] {
                for (bi, bw) in [(b.0, 1.0 - b.2), (b.1, b.2)] {
                    out[(li * HIST[1] + ai) * HIST[2] + bi] += lw * aw * bw;
                }
            }
        }
    }
    out
}

/// The two cells a row or column lies between, with its part in each.
fn cells(at: usize, side: usize) -> [(usize, f32); 2] {
    let (i, j, t) = soft(at as f32 + 0.5, 0.0, side as f32, GRID);
    [(i, 1.0 - t), (j, t)]
}

fn moments(lab: &[Oklab], side: usize) -> Vec<f32> {
    let mut sums = vec![[0.0f32; 4]; GRID * GRID];
    for y in 0..side {
        for x in 0..side {
            let c = lab[y * side + x];
            for (cy, wy) in cells(y, side) {
                for (cx, wx) in cells(x, side) {
                    let s = &mut sums[cy * GRID + cx];
                    let w = wx * wy;
                    s[0] += w * c.l;
                    s[1] += w * c.a;
                    s[2] += w * c.b;
                    s[3] += w;
                }
            }
        }
    }
    // Chroma spans a third of the range of lightness.
    let mut out: Vec<f32> = sums
        .iter()
        .flat_map(|s| [s[0] / s[3], 3.0 * s[1] / s[3], 3.0 * s[2] / s[3]])
        .collect();
    let mean_l = out.iter().step_by(3).sum::<f32>() / (GRID * GRID) as f32;
    out.iter_mut().step_by(3).for_each(|l| *l -= mean_l);
    out
}

fn gradients(lab: &[Oklab], side: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; HOG_DIMS];
    for y in 1..side - 1 {
        for x in 1..side - 1 {
            let dx = lab[y * side + x + 1].l - lab[y * side + x - 1].l;
            let dy = lab[(y + 1) * side + x].l - lab[(y - 1) * side + x].l;
            let strength = dx.hypot(dy);
            if strength < 1e-4 {
                continue;
            }
            let angle = dy.atan2(dx).rem_euclid(PI) / PI * ORIENTATIONS as f32;
            let first = angle as usize % ORIENTATIONS;
            let t = angle - angle.floor();
            for (o, wo) in [(first, 1.0 - t), ((first + 1) % ORIENTATIONS, t)] {
                for (cy, wy) in cells(y, side) {
                    for (cx, wx) in cells(x, side) {
                        out[(cy * GRID + cx) * ORIENTATIONS + o] += strength * wo * wy * wx;
                    }
                }
            }
        }
    }
    out
}

fn frequencies(lab: &[Oklab], side: usize) -> Vec<f32> {
    let light: Vec<f32> = lab.iter().map(|c| c.l).collect();
    let spectrum = low_frequencies(&light, side, DCT);
    let scale = 1.0 / side as f32;
    let mut out = Vec::with_capacity(DCT_DIMS);
    for y in 0..DCT {
        for x in 0..DCT {
            if (x, y) != (0, 0) {
                let v = spectrum[y * DCT + x] * scale;
                out.push(v.signum() * v.abs().sqrt());
            }
        }
    }
    let n = lab.len() as f32;
    let mean = |f: &dyn Fn(&Oklab) -> f32| lab.iter().map(f).sum::<f32>() / n;
    let l = mean(&|c| c.l);
    let dl = mean(&|c| (c.l - l).powi(2)).sqrt();
    let ch = mean(&|c| c.a.hypot(c.b));
    let dc = mean(&|c| (c.a.hypot(c.b) - ch).powi(2)).sqrt();
    out.extend([l, dl * 2.0, ch * 3.0, dc * 3.0]);
    out
}
