//! Any sequence of operations against a plain map.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use mediamesh_vectors::{Change, Filter, IndexOptions, VectorIndex};
use proptest::prelude::*;
use roaring::RoaringBitmap;

const DIMS: usize = 4;

#[derive(Debug, Clone)]
enum Op {
    Apply(Vec<(u32, Option<[i8; DIMS]>)>),
    Replay,
    Search {
        query: [i8; DIMS],
        k: usize,
        keys: Option<Vec<u32>>,
    },
    Reopen,
    CrashAndReplay,
}

fn op() -> impl Strategy<Value = Op> {
    let change = (
        0u32..40,
        proptest::option::weighted(0.7, any::<[i8; DIMS]>()),
    );
    prop_oneof![
        4 => proptest::collection::vec(change, 0..20).prop_map(Op::Apply),
        1 => Just(Op::Replay),
        4 => (
            any::<[i8; DIMS]>(),
            0usize..50,
            proptest::option::of(proptest::collection::vec(0u32..60, 0..40)),
        )
            .prop_map(|(query, k, keys)| Op::Search { query, k, keys }),
        1 => Just(Op::Reopen),
        1 => Just(Op::CrashAndReplay),
    ]
}

fn float(vector: &[i8; DIMS]) -> Vec<f32> {
    vector.iter().map(|&x| f32::from(x)).collect()
}

fn cosine(a: &[i8; DIMS], b: &[i8; DIMS]) -> f64 {
    let dot = |a: &[i8; DIMS], b: &[i8; DIMS]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(&x, &y)| f64::from(x) * f64::from(y))
            .sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths == 0.0 {
        0.0
    } else {
        dot(a, b) / lengths
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_index_agrees_with_a_map(ops in proptest::collection::vec(op(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        // Low thresholds, so that a graph takes part.
        let options = IndexOptions {
            exact_max_candidates: 4,
            graph_min_items: 8,
            threads: 1,
            ..IndexOptions::new(DIMS)
        };
        let mut index = VectorIndex::open(dir.path(), options.clone()).unwrap();
        let mut model = BTreeMap::new();
        let mut log = Vec::new();
        for op in ops {
            match op {
                Op::Apply(changes) => {
                    for (key, vector) in &changes {
                        match vector {
                            Some(vector) => model.insert(*key, *vector),
                            None => model.remove(key),
                        };
                    }
                    log.push(changes);
                    apply(&index, &log, log.len());
                }
                Op::Replay => (1..=log.len()).for_each(|seq| apply(&index, &log, seq)),
                Op::Reopen => {
                    index.snapshot().unwrap();
                    drop(index);
                    index = VectorIndex::open(dir.path(), options.clone()).unwrap();
                    prop_assert_eq!(index.applied_seq(), log.len() as u64);
                }
                Op::CrashAndReplay => {
                    drop(index);
                    index = VectorIndex::open(dir.path(), options.clone()).unwrap();
                    (index.applied_seq() as usize + 1..=log.len())
                        .for_each(|seq| apply(&index, &log, seq));
                }
                Op::Search { query, k, keys } => {
                    let keys: Option<RoaringBitmap> = keys.map(|keys| keys.into_iter().collect());
                    let filter = keys.as_ref().map_or(Filter::All, Filter::Only);
                    let mut expected: Vec<f64> = model
                        .iter()
                        .filter(|(key, _)| keys.as_ref().is_none_or(|keys| keys.contains(**key)))
                        .map(|(_, vector)| cosine(&query, vector))
                        .collect();
                    expected.sort_by(|a, b| b.total_cmp(a));
                    let answer = index.search(&float(&query), k, filter).unwrap();
                    prop_assert_eq!(answer.matching, expected.len() as u64);
                    prop_assert_eq!(answer.neighbors.len(), k.min(expected.len()));
                    for (found, expected) in answer.neighbors.iter().zip(expected) {
                        let own = cosine(&query, &model[&found.key]);
                        prop_assert!((f64::from(found.score) - own).abs() < 0.002);
                        prop_assert!((f64::from(found.score) - expected).abs() < 0.002);
                    }
                }
            }
            prop_assert_eq!(index.len(), model.len());
        }
    }
}

/// One step of a log: keys with their new vector, or none when removed.
type Step = Vec<(u32, Option<[i8; DIMS]>)>;

fn apply(index: &VectorIndex, log: &[Step], seq: usize) {
    let vectors: Vec<_> = log[seq - 1]
        .iter()
        .map(|(key, vector)| (*key, vector.as_ref().map(float)))
        .collect();
    let changes: Vec<_> = vectors
        .iter()
        .map(|(key, vector)| match vector {
            Some(vector) => Change::Upsert { key: *key, vector },
            None => Change::Remove { key: *key },
        })
        .collect();
    index.apply(seq as u64, &changes).unwrap();
}
