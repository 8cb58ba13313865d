//! Prints build time, recall@10, latency by selectivity, memory and open time.
//!
//! `cargo run --release -p mediamesh-vectors --example vectors_bench -- 100000 384`
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_types,
    reason = "a measuring program: prints, stops at the first fault, and has no paused clock"
)]

use std::time::{Duration, Instant};

use mediamesh_vectors::{Answer, Change, Filter, IndexOptions, Plan, VectorIndex};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use roaring::RoaringBitmap;

const QUERIES: usize = 100;
const K: usize = 10;

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .map(|arg| arg.parse::<usize>().unwrap());
    let items = args.next().unwrap_or(100_000);
    let dims = args.next().unwrap_or(384);
    let dir = std::env::temp_dir().join(format!("vectors-bench-{}", std::process::id()));
    let options = IndexOptions::new(dims);
    println!(
        "{items} items x {dims} dims, {} threads, k = {K}",
        options.threads
    );

    let mut data = Data::new(dims);
    let queries: Vec<_> = (0..QUERIES).map(|i| data.next(i)).collect();
    let index = VectorIndex::open(&dir, options.clone()).unwrap();
    let mut applying = Duration::ZERO;
    for (seq, first) in (0..items).step_by(1_000).enumerate() {
        let vectors: Vec<_> = (first..items.min(first + 1_000))
            .map(|i| data.next(i))
            .collect();
        let changes: Vec<_> = vectors
            .iter()
            .enumerate()
            .map(|(i, vector)| Change::Upsert {
                key: (first + i) as u32,
                vector,
            })
            .collect();
        let start = Instant::now();
        index.apply(seq as u64 + 1, &changes).unwrap();
        applying += start.elapsed();
    }
    println!("apply: {applying:.2?}; rss {} MB", rss_mb());
    report(
        "while the graph is being built",
        &index,
        &queries,
        Filter::All,
        None,
    );
    let start = Instant::now();
    assert!(index.wait_for_graph(Duration::from_secs(3_600)));
    println!("graph: {:.2?} more; rss {} MB", start.elapsed(), rss_mb());
    println!("memory_bytes: {} MB", index.memory_bytes() >> 20);

    // The same vectors with no graph and with every plan forced to it: truth and crossover.
    let exact = IndexOptions {
        graph_min_items: usize::MAX,
        ..options.clone()
    };
    let eager = IndexOptions {
        exact_max_candidates: 0,
        graph_min_selectivity_percent: 0,
        ..options.clone()
    };
    let start = Instant::now();
    let info = index.snapshot().unwrap();
    println!(
        "snapshot: {:.2?}, {} MB vectors, {} MB graph",
        start.elapsed(),
        info.arena_bytes >> 20,
        info.graph_bytes >> 20
    );
    drop(index);
    let start = Instant::now();
    let index = VectorIndex::open(&dir, options).unwrap();
    println!("open: {:.2?}, {} items", start.elapsed(), index.len());
    assert!(index.wait_for_graph(Duration::from_secs(3_600)));
    let truth = VectorIndex::open(&dir, exact).unwrap();
    let graph = VectorIndex::open(&dir, eager).unwrap();
    assert!(truth.wait_for_graph(Duration::from_secs(60)));
    assert!(graph.wait_for_graph(Duration::from_secs(60)));

    let mut rng = StdRng::seed_from_u64(99);
    for share in [0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0] {
        let keys: RoaringBitmap = (0..items as u32)
            .filter(|_| share == 1.0 || rng.random_bool(share))
            .collect();
        let filter = if share == 1.0 {
            Filter::All
        } else {
            Filter::Only(&keys)
        };
        println!("-- {} % ({} items)", share * 100.0, keys.len());
        let expected = report("exact", &truth, &queries, filter, None);
        // Below that the graph visits nearly every node for each query.
        if share >= 0.1 {
            report("graph", &graph, &queries, filter, Some(&expected));
        }
        report("default", &index, &queries, filter, Some(&expected));
    }
    std::fs::remove_dir_all(dir).unwrap();
}

fn report(
    name: &str,
    index: &VectorIndex,
    queries: &[Vec<f32>],
    filter: Filter<'_>,
    truth: Option<&[Answer]>,
) -> Vec<Answer> {
    let mut times = Vec::new();
    let mut answers = Vec::new();
    for query in queries {
        let start = Instant::now();
        let answer = index.search(query, K, filter).unwrap();
        times.push(start.elapsed());
        answers.push(answer);
    }
    times.sort();
    let (p50, p95) = (times[times.len() / 2], times[times.len() * 95 / 100]);
    let graphs = answers
        .iter()
        .filter(|answer| answer.plan != Plan::ExactScan)
        .count();
    let recall = truth.map_or(1.0, |truth| {
        let hits: usize = answers
            .iter()
            .zip(truth)
            .map(|(a, t)| {
                a.neighbors
                    .iter()
                    .filter(|n| t.neighbors.contains(n))
                    .count()
            })
            .sum();
        let all: usize = truth.iter().map(|t| t.neighbors.len()).sum();
        hits as f64 / all as f64
    });
    println!(
        "{name:32} p50 {p50:>9.1?} p95 {p95:>9.1?} recall@{K} {recall:.4} graph {graphs}/{}",
        queries.len()
    );
    answers
}

/// Loose clusters, one for every 500 items or so of a library.
struct Data {
    rng: StdRng,
    centers: Vec<Vec<f32>>,
}

impl Data {
    fn new(dims: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let centers = (0..200)
            .map(|_| (0..dims).map(|_| rng.random_range(-1.0f32..1.0)).collect())
            .collect();
        Self { rng, centers }
    }

    fn next(&mut self, i: usize) -> Vec<f32> {
        let center = &self.centers[i * 7919 % self.centers.len()];
        center
            .iter()
            .map(|x| x + self.rng.random_range(-1.0f32..1.0))
            .collect()
    }
}

fn rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kb| kb.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}
