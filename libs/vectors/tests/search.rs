//! Answers compared with exact truth computed here in f32, never by counting rows.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mediamesh_vectors::{Answer, Change, Error, Filter, IndexOptions, ItemKey, Plan, VectorIndex};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use roaring::RoaringBitmap;

const DIMS: usize = 64;

/// Loose clusters: neighbours are meaningful, as with real embeddings.
fn clustered(count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut point = |spread: f32, around: Option<&Vec<f32>>| -> Vec<f32> {
        (0..DIMS)
            .map(|i| around.map_or(0.0, |c| c[i]) + rng.random_range(-spread..spread))
            .collect()
    };
    let centers: Vec<_> = (0..200).map(|_| point(1.0, None)).collect();
    (0..count)
        .map(|i| point(0.6, Some(&centers[i * 7919 % 200])))
        .collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn upserts(vectors: &[Vec<f32>]) -> Vec<Change<'_>> {
    let key = |i: usize| i as ItemKey;
    vectors
        .iter()
        .enumerate()
        .map(|(i, v)| Change::Upsert {
            key: key(i),
            vector: v,
        })
        .collect()
}

fn truth(vectors: &[Vec<f32>], query: &[f32], k: usize, filter: Filter<'_>) -> Vec<(u32, f32)> {
    let allowed = |key| match filter {
        Filter::All => true,
        Filter::Only(keys) => keys.contains(key),
    };
    let mut all: Vec<_> = (0..vectors.len() as u32)
        .filter(|&key| allowed(key))
        .map(|key| (key, cosine(query, &vectors[key as usize])))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(k);
    all
}

/// Share of the true results found; items within f16 rounding of the last true one count.
fn recall(answer: &Answer, truth: &[(u32, f32)]) -> f64 {
    let floor = truth.last().unwrap().1 - 0.001;
    let good = answer.neighbors.iter().filter(|n| n.score >= floor).count();
    good as f64 / truth.len() as f64
}

fn small_graph_options() -> IndexOptions {
    IndexOptions {
        exact_max_candidates: 300,
        graph_min_items: 2_000,
        ..IndexOptions::new(DIMS)
    }
}

#[test]
fn filtered_results_are_the_right_ones_at_every_selectivity_at_30k() {
    let mut vectors = clustered(30_060, 1);
    let own = vectors.split_off(30_000);
    // Queries from clusters the index does not hold are harder for a graph: text asking for
    // images is like that.
    let kinds = [(own, 0.99), (clustered(60, 2), 0.99)];
    let mut rng = StdRng::seed_from_u64(3);
    // The default plan, and one that walks the graph wherever it can.
    for eager in [false, true] {
        let mut options = IndexOptions::new(DIMS);
        if eager {
            options.exact_max_candidates = 100;
            options.graph_min_selectivity_percent = 1;
        }
        let index = VectorIndex::in_memory(options).unwrap();
        index.apply(1, &upserts(&vectors)).unwrap();
        assert!(index.wait_for_graph(Duration::from_secs(300)));
        for share in [0.001, 0.01, 0.1, 0.5, 1.0] {
            let keys: RoaringBitmap = (0..30_000u32).filter(|_| rng.random_bool(share)).collect();
            let filter = if share == 1.0 {
                Filter::All
            } else {
                Filter::Only(&keys)
            };
            for (queries, floor) in &kinds {
                let (mut total, mut plans) = (0.0, Vec::new());
                for query in queries {
                    let answer = index.search(query, 10, filter).unwrap();
                    let truth = truth(&vectors, query, 10, filter);
                    assert_eq!(answer.neighbors.len(), truth.len());
                    for n in &answer.neighbors {
                        assert!(
                            share == 1.0 || keys.contains(n.key),
                            "{} is filtered out",
                            n.key
                        );
                        assert!((n.score - cosine(query, &vectors[n.key as usize])).abs() < 0.001);
                    }
                    total += recall(&answer, &truth);
                    plans.push(answer.plan);
                }
                let mean = total / queries.len() as f64;
                println!(
                    "recall {mean:.4} of {floor} at {share}, eager {eager}, {:?}",
                    plans[0]
                );
                assert!(
                    mean >= *floor,
                    "recall {mean} of {floor} at {share}, {:?}",
                    plans[0]
                );
                if share == 1.0 {
                    assert!(plans.iter().all(|&plan| plan == Plan::Graph), "{plans:?}");
                }
                if eager && share == 0.5 {
                    assert!(
                        plans.iter().all(|&plan| plan == Plan::GraphFiltered),
                        "{plans:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn limit_k_returns_k_whenever_k_match_on_every_plan() {
    let vectors = clustered(4_000, 4);
    let index = VectorIndex::in_memory(small_graph_options()).unwrap();
    index.apply(1, &upserts(&vectors)).unwrap();
    assert!(index.wait_for_graph(Duration::from_secs(120)));
    for matching in [0, 1, 9, 299, 301, 2_000, 4_000] {
        // One stretch of keys, plus keys the index has never seen.
        let keys: RoaringBitmap = (0..matching).chain(900_000..900_100).collect();
        for k in [0, 1, 10, 250, 1_000, usize::MAX] {
            let answer = index.search(&vectors[77], k, Filter::Only(&keys)).unwrap();
            assert_eq!(answer.matching, u64::from(matching));
            assert_eq!(
                answer.neighbors.len(),
                k.min(matching as usize),
                "{k} of {matching}"
            );
            assert!(answer.neighbors.is_sorted_by(|a, b| a.score >= b.score));
        }
    }
}

#[test]
fn scores_are_identical_whichever_plan_found_the_item() {
    let vectors = clustered(4_000, 5);
    let graph = VectorIndex::in_memory(small_graph_options()).unwrap();
    let scan = VectorIndex::in_memory(IndexOptions::new(DIMS)).unwrap();
    for index in [&graph, &scan] {
        index.apply(1, &upserts(&vectors)).unwrap();
        assert!(index.wait_for_graph(Duration::from_secs(120)));
    }
    for query in clustered(20, 6) {
        let a = graph.search(&query, 10, Filter::All).unwrap();
        let b = scan.search(&query, 10, Filter::All).unwrap();
        assert_eq!((a.plan, b.plan), (Plan::Graph, Plan::ExactScan));
        assert_eq!(a.neighbors, b.neighbors);
    }
}

#[test]
fn updated_and_removed_items_are_never_returned_stale() {
    let mut vectors = clustered(4_000, 7);
    let index = VectorIndex::in_memory(small_graph_options()).unwrap();
    index.apply(1, &upserts(&vectors)).unwrap();
    assert!(index.wait_for_graph(Duration::from_secs(120)));
    let old = vectors[5].clone();
    vectors[5] = old.iter().map(|x| -x).collect();
    let changes = [
        Change::Upsert {
            key: 5,
            vector: &vectors[5],
        },
        Change::Remove { key: 6 },
        Change::Remove { key: 999_999 },
    ];
    index.apply(2, &changes).unwrap();
    // Both at once and after the graph has caught up.
    for settled in [false, true] {
        assert!(!settled || index.wait_for_graph(Duration::from_secs(60)));
        let near_old = index.search(&old, 250, Filter::All).unwrap();
        assert!(near_old.neighbors.iter().all(|n| n.key != 5));
        assert_eq!(
            index.search(&vectors[5], 1, Filter::All).unwrap().neighbors[0].key,
            5
        );
        let near_removed = index.search(&vectors[6], 250, Filter::All).unwrap();
        assert!(near_removed.neighbors.iter().all(|n| n.key != 6));
        assert!(index.get(6).is_none());
        assert_eq!(index.len(), 3_999);
    }
}

#[test]
fn heavy_churn_compacts_and_answers_stay_exact() {
    let index = VectorIndex::in_memory(small_graph_options()).unwrap();
    let first = clustered(3_000, 8);
    index.apply(1, &upserts(&first)).unwrap();
    let small = index.memory_bytes();
    let mut last = first;
    for round in 2..12 {
        last = clustered(3_000, 8 + round);
        index.apply(round, &upserts(&last)).unwrap();
    }
    assert!(
        index.memory_bytes() < small * 4,
        "ten rewrites must not keep ten copies"
    );
    assert!(index.wait_for_graph(Duration::from_secs(120)));
    let answer = index.search(&last[42], 10, Filter::All).unwrap();
    assert_eq!(answer.neighbors[0].key, 42);
    assert_eq!(
        recall(&answer, &truth(&last, &last[42], 10, Filter::All)),
        1.0
    );
}

#[test]
fn a_change_seen_before_is_ignored_and_a_bad_batch_changes_nothing() {
    let index = VectorIndex::in_memory(IndexOptions::new(2)).unwrap();
    index
        .apply(
            5,
            &[Change::Upsert {
                key: 1,
                vector: &[1.0, 0.0],
            }],
        )
        .unwrap();
    index.apply(5, &[Change::Remove { key: 1 }]).unwrap();
    index.apply(4, &[Change::Remove { key: 1 }]).unwrap();
    assert_eq!((index.len(), index.applied_seq()), (1, 5));

    let bad = [
        Change::Remove { key: 1 },
        Change::Upsert {
            key: 2,
            vector: &[f32::NAN, 0.0],
        },
    ];
    assert!(matches!(
        index.apply(6, &bad),
        Err(Error::VectorNotFinite { key: 2 })
    ));
    let short = [Change::Upsert {
        key: 2,
        vector: &[1.0],
    }];
    assert!(matches!(
        index.apply(6, &short),
        Err(Error::DimensionMismatch { .. })
    ));
    assert_eq!((index.len(), index.applied_seq()), (1, 5));
    assert!(matches!(
        index.search(&[f32::INFINITY, 0.0], 1, Filter::All),
        Err(Error::QueryNotFinite)
    ));
}

#[test]
fn zero_tiny_and_huge_vectors_have_finite_scores() {
    let index = VectorIndex::in_memory(IndexOptions::new(2)).unwrap();
    let changes = [
        Change::Upsert {
            key: 1,
            vector: &[0.0, 0.0],
        },
        Change::Upsert {
            key: 2,
            vector: &[1e-30, 0.0],
        },
        Change::Upsert {
            key: 3,
            vector: &[f32::MAX, 0.0],
        },
    ];
    index.apply(1, &changes).unwrap();
    let found = index.search(&[2.0, 0.0], 3, Filter::All).unwrap().neighbors;
    let scores: HashMap<_, _> = found.iter().map(|n| (n.key, n.score)).collect();
    assert_eq!((scores[&1], scores[&2], scores[&3]), (0.0, 1.0, 1.0));
}

#[test]
fn searches_beside_apply_see_whole_batches_only() {
    let index = VectorIndex::in_memory(small_graph_options()).unwrap();
    let vectors = clustered(3_000, 9);
    index.apply(1, &upserts(&vectors)).unwrap();
    let done = AtomicBool::new(false);
    let pair: RoaringBitmap = [10_001, 10_002].into_iter().collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Both of the pair are in or both are out.
                    let found = index.search(&vectors[0], 2, Filter::Only(&pair)).unwrap();
                    assert_ne!(found.neighbors.len(), 1);
                    let all = index.search(&vectors[0], 10, Filter::All).unwrap();
                    assert_eq!(all.neighbors.len(), 10);
                    assert_eq!(all.neighbors[0].key, 0);
                }
            });
        }
        for seq in 2..600 {
            let changes: Vec<_> = [10_001, 10_002]
                .map(|key| match seq % 2 {
                    0 => Change::Upsert {
                        key,
                        vector: &vectors[1 + seq as usize],
                    },
                    _ => Change::Remove { key },
                })
                .into();
            index.apply(seq, &changes).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}
