//! Reciprocal rank fusion of ranked lists.
//!
//! Source: Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and
//! individual Rank Learning Methods", SIGIR 2009. An item's score is the sum of
//! `weight / (k + rank)` over the lists that hold it, here divided by the best possible sum, so
//! that 1 means first in every list.

use std::collections::HashMap;

/// One ranked list.
#[derive(Debug, Clone)]
pub(crate) struct RankedList {
    /// `full_text` or `vector:<model>`.
    pub(crate) name: String,
    /// Say of the list in the fusion.
    pub(crate) weight: f32,
    /// Whether its scores are similarities in [-1, 1], fit to be shown as they are.
    pub(crate) calibrated: bool,
    /// Best first: item and score.
    pub(crate) entries: Vec<(u32, f32)>,
}

/// Place of a hit in one list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// Index of the list.
    pub(crate) list: usize,
    /// From 1.
    pub(crate) rank: usize,
    /// Score in the list.
    pub(crate) score: f32,
    /// What it added.
    pub(crate) contribution: f32,
}

/// An item found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fused {
    /// Item.
    pub(crate) key: u32,
    /// In [0, 1].
    pub(crate) score: f32,
    /// Where it was found.
    pub(crate) parts: Vec<Part>,
}

/// Fuses lists, best first; equal scores by newer item first.
///
/// A single list keeps its own order, and its own scores where they are similarities; the scores
/// of a single full-text list are relative to its best hit.
pub(crate) fn fuse(lists: &[RankedList], rrf_k: f32) -> Vec<Fused> {
    let lists_in_use = lists.iter().filter(|list| !list.entries.is_empty()).count();
    let best: f32 = lists
        .iter()
        .filter(|list| !list.entries.is_empty())
        .map(|list| list.weight / (rrf_k + 1.0))
        .sum();
    let mut found: HashMap<u32, Fused> = HashMap::new();
    for (index, list) in lists.iter().enumerate() {
        let top = list.entries.first().map_or(1.0, |(_, score)| *score);
        for (place, (key, score)) in list.entries.iter().enumerate() {
            let rank = place + 1;
            let contribution = match lists_in_use {
                1 if list.calibrated => score.clamp(0.0, 1.0),
                1 if top > 0.0 => (score / top).clamp(0.0, 1.0),
                _ => list.weight / (rrf_k + rank_as_f32(rank)) / best,
            };
            let hit = found.entry(*key).or_insert_with(|| Fused {
                key: *key,
                score: 0.0,
                parts: Vec::new(),
            });
            hit.score += contribution;
            hit.parts.push(Part {
                list: index,
                rank,
                score: *score,
                contribution,
            });
        }
    }
    let mut hits: Vec<Fused> = found.into_values().collect();
    hits.sort_by(|a, b| {
        let by_rank = |hit: &Fused| hit.parts.first().map_or(usize::MAX, |part| part.rank);
        b.score.total_cmp(&a.score).then_with(|| {
            if lists_in_use == 1 {
                by_rank(a).cmp(&by_rank(b))
            } else {
                b.key.cmp(&a.key)
            }
        })
    });
    hits
}

fn rank_as_f32(rank: usize) -> f32 {
    // Ranks stay far below 2^16: lists are cut at a few thousand.
    u16::try_from(rank).map_or(f32::from(u16::MAX), f32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(calibrated: bool, entries: &[(u32, f32)]) -> RankedList {
        RankedList {
            name: String::new(),
            weight: 1.0,
            calibrated,
            entries: entries.to_vec(),
        }
    }

    #[test]
    fn item_in_both_lists_beats_items_in_one() {
        let hits = fuse(
            &[
                list(false, &[(1, 9.0), (2, 8.0)]),
                list(true, &[(3, 0.9), (2, 0.8)]),
            ],
            60.0,
        );
        assert_eq!(hits[0].key, 2);
        assert_eq!(hits[0].parts.len(), 2);
        assert!(hits.iter().all(|hit| hit.score > 0.0 && hit.score <= 1.0));
    }

    #[test]
    fn first_in_every_list_scores_one() {
        let hits = fuse(&[list(false, &[(7, 3.0)]), list(true, &[(7, 0.4)])], 60.0);
        assert!((hits[0].score - 1.0).abs() < 1e-6);
    }

    #[test]
    fn single_vector_list_keeps_similarities_and_order() {
        let hits = fuse(
            &[
                list(true, &[(5, 0.9), (4, 0.3), (3, -0.2)]),
                list(false, &[]),
            ],
            60.0,
        );
        let scores: Vec<(u32, f32)> = hits.iter().map(|hit| (hit.key, hit.score)).collect();
        assert_eq!(scores, vec![(5, 0.9), (4, 0.3), (3, 0.0)]);
    }
}
