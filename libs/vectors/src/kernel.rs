//! Arithmetic: normalise and encode, dot product, best-k.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use numkong::{Dot, f16};

use crate::types::{ItemKey, Neighbor};

/// Scales `vector` to length 1 and rounds it to f16; `None` if it is not finite.
///
/// A zero vector has no direction and stays zero: it scores 0 against everything.
pub(crate) fn encode(vector: &[f32]) -> Option<Vec<f16>> {
    // f64, since the square of a large f32 overflows f32.
    let norm = vector
        .iter()
        .map(|&x| f64::from(x) * f64::from(x))
        .sum::<f64>()
        .sqrt();
    if !norm.is_finite() {
        return None;
    }
    let scale = if norm > 0.0 { norm.recip() } else { 0.0 };
    // A subnormal length has no finite reciprocal; such a vector is zero for every purpose.
    let scale = if scale.is_finite() { scale } else { 0.0 };
    let unit: Vec<f32> = vector
        .iter()
        .map(|&x| (f64::from(x) * scale) as f32)
        .collect();
    let mut out = vec![f16::ZERO; unit.len()];
    numkong::cast(&unit, &mut out)?;
    Some(out)
}

/// Cosine similarity of two encoded vectors of the same length, in [-1, 1].
#[inline]
pub(crate) fn score(a: &[f16], b: &[f16]) -> f32 {
    // Rounding to f16 leaves lengths within 0.0005 of 1, hence the clamp.
    f16::dot(a, b).unwrap_or(0.0).clamp(-1.0, 1.0)
}

/// Order of results: worse is greater, so that a max-heap has the worst on top.
struct Ranked(Neighbor);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .0
            .score
            .total_cmp(&self.0.score)
            .then(self.0.key.cmp(&other.0.key))
    }
}
impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Ranked {}

/// Keeps the `k` best neighbours offered and counts all of them.
pub(crate) struct Best {
    k: usize,
    heap: BinaryHeap<Ranked>,
    /// Offers so far.
    pub(crate) scanned: u64,
}

impl Best {
    pub(crate) fn new(k: usize) -> Self {
        Self {
            k,
            heap: BinaryHeap::new(),
            scanned: 0,
        }
    }

    #[inline]
    pub(crate) fn offer(&mut self, key: ItemKey, score: f32) {
        self.scanned += 1;
        self.keep(Ranked(Neighbor { key, score }));
    }

    fn keep(&mut self, candidate: Ranked) {
        if self.heap.len() < self.k {
            self.heap.push(candidate);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    /// Joins the results of two disjoint candidate sets.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.scanned += other.scanned;
        for candidate in other.heap {
            self.keep(candidate);
        }
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Best first, ties by ascending key.
    pub(crate) fn into_sorted(self) -> Vec<Neighbor> {
        self.heap
            .into_sorted_vec()
            .into_iter()
            .map(|ranked| ranked.0)
            .collect()
    }
}
