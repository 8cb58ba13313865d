//! Order of the items that full text found.
//!
//! Scoring every item that has a common word would take longer the more there are, so only the
//! newest candidates are scored: champion lists by static quality (Manning, Raghavan and Schütze
//! 2008, sections 7.1.3 and 7.1.4), with recency as the quality. A query that matches fewer items
//! than a block holds is ranked exactly.

use std::collections::HashMap;

use crate::search::{TextDepth, TextHit};

/// Ranks candidates, newest first, block by block: what is asked for deeper down never changes
/// the hits above it.
pub(crate) fn blocks(mut candidates: Vec<TextHit>, depth: TextDepth) -> Vec<TextHit> {
    let mut floor = f32::MAX;
    for block in candidates.chunks_mut(depth.block.max(1)) {
        best_first(block);
        for hit in block {
            floor = hit.score.min(floor);
            hit.score = floor;
        }
    }
    candidates.truncate(depth.hits);
    candidates
}

/// Adds up the scores of items found by several words: BM25 is a sum over words.
pub(crate) fn sum(found: Vec<TextHit>) -> Vec<TextHit> {
    let mut scores: HashMap<u32, f32> = HashMap::with_capacity(found.len());
    for hit in found {
        *scores.entry(hit.item_key).or_default() += hit.score;
    }
    let mut hits: Vec<TextHit> = scores
        .into_iter()
        .map(|(item_key, score)| TextHit { item_key, score })
        .collect();
    best_first(&mut hits);
    hits
}

/// Puts further hits after the present ones, none above them.
pub(crate) fn append(hits: &mut Vec<TextHit>, further: Vec<TextHit>, depth: TextDepth) {
    let floor = hits.last().map_or(f32::MAX, |hit| hit.score);
    let known: std::collections::HashSet<u32> = hits.iter().map(|hit| hit.item_key).collect();
    let further = further
        .into_iter()
        .filter(|hit| !known.contains(&hit.item_key))
        .map(|hit| TextHit {
            score: hit.score.min(floor),
            ..hit
        });
    hits.extend(further.take(depth.hits - hits.len()));
}

fn best_first(hits: &mut [TextHit]) {
    hits.sort_unstable_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then(b.item_key.cmp(&a.item_key))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(item_key: u32, score: f32) -> TextHit {
        TextHit { item_key, score }
    }

    fn keys(hits: &[TextHit]) -> Vec<u32> {
        hits.iter().map(|hit| hit.item_key).collect()
    }

    const NEWEST: [(u32, f32); 5] = [(9, 1.0), (8, 3.0), (7, 2.0), (6, 9.0), (5, 4.0)];

    fn found() -> Vec<TextHit> {
        NEWEST.map(|(key, score)| hit(key, score)).to_vec()
    }

    #[test]
    fn going_deeper_never_changes_the_hits_above() {
        let shallow = blocks(found(), TextDepth { hits: 2, block: 3 });
        let deep = blocks(found(), TextDepth { hits: 5, block: 3 });
        assert_eq!(keys(&shallow), [8, 7]);
        assert_eq!(keys(&deep), [8, 7, 9, 6, 5]);
        assert!(deep.is_sorted_by(|a, b| a.score >= b.score), "{deep:?}");
    }

    #[test]
    fn an_item_with_two_of_the_words_is_above_one_with_the_better_of_them() {
        let hits = sum(vec![hit(1, 2.0), hit(2, 3.0), hit(1, 2.0)]);
        assert_eq!(keys(&hits), [1, 2]);
    }

    #[test]
    fn further_hits_come_last_and_once() {
        let depth = TextDepth { hits: 3, block: 9 };
        let mut hits = vec![hit(4, 1.0)];
        append(
            &mut hits,
            vec![hit(1, 5.0), hit(4, 3.0), hit(2, 2.0), hit(3, 1.0)],
            depth,
        );
        assert_eq!(keys(&hits), [4, 1, 2]);
        assert!(hits[1].score <= hits[0].score);
    }
}
