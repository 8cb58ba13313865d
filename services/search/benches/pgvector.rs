//! Nearest vectors on PostgreSQL: our search beside a statement that answers the same rows, prepared and sent
//! raw over one connection with the same settings, and beside the embedded index; without a filter and with filters
//! that let 50, 10 and 1 % of the items pass. `cargo bench --workspace --bench pgvector`; needs
//! `scripts/postgres.sh` and, for real embeddings, `scripts/fetch_minilm.sh`.
//!
//! Two sets: made-up vectors of 512 dims around 500 centres, and MiniLM's of real text, which are the
//! lines of prose (comments and documents) of this repository and, if those are too few, of the sources
//! of its dependencies; each at its own count, none twice. Queries are vectors of either set that are not
//! stored. Recall@10 is against comparing all vectors here, in f32 and without the database. The order is
//! drawn by lot for each query: who comes later finds warm what who came first has read. Of our statement the
//! filter is answered within its time; our search keeps the matching set until the next write, and the embedded
//! index is given it.
//!
//! `MEDIAMESH_BENCH_VECTORS` is the number of made-up vectors (100000), `MEDIAMESH_BENCH_TEXTS` the most
//! lines of text (30000; 0 leaves them out), `MEDIAMESH_BENCH_QUERIES` that of queries (300),
//! `MEDIAMESH_BENCH_INDEX` `hnsw` or `ivfflat`. Ends with 1 if our recall is below 0.99 or our search
//! takes over 1.3 times the raw statement's time anywhere.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::{process::ExitCode, sync::Arc, time::Duration};

use mediamesh_store::{
    SearchStore as _, VectorStore as _,
    postgres::{Database, DatabaseOptions, IndexKind, PostgresStore},
    search::Filter,
};
use mediamesh_testkit::{Postgres, postgres::TestDatabase};
use mediamesh_vectors::{Change, IndexOptions, VectorIndex};
use rand::seq::SliceRandom as _;
use roaring::RoaringBitmap;
use tokio::time::Instant;

#[path = "pgvector/data.rs"]
mod data;
#[path = "pgvector/load.rs"]
mod load;
#[path = "pgvector/raw.rs"]
mod raw;
#[path = "pgvector/service.rs"]
mod service;

use data::Set;
use raw::Answer;

const K: usize = 10;
/// What our recall must be, and how much longer a search of ours may take than the raw statement.
const RECALL: f64 = 0.99;
const RATIO: f64 = 1.3;
/// Percent of the items that a filter lets pass; 100 = no filter.
const SELECTIVITIES: [u32; 4] = [100, 50, 10, 1];
/// Rounds over some queries that are not counted.
const WARM_UP: usize = 30;

fn number(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

/// Times of one way, and what it found of what it should have.
#[derive(Default)]
struct Tally {
    micros: Vec<f64>,
    right: usize,
    wanted: usize,
}

impl Tally {
    fn note(&mut self, time: Duration, found: &[u32], truth: &[u32]) {
        self.micros.push(time.as_secs_f64() * 1e6);
        self.right += found.iter().filter(|key| truth.contains(key)).count();
        self.wanted += truth.len();
    }

    fn recall(&self) -> f64 {
        self.right as f64 / self.wanted.max(1) as f64
    }

    fn at(&mut self, share: f64) -> f64 {
        self.micros.sort_by(f64::total_cmp);
        let last = self.micros.len() - 1;
        self.micros[(last as f64 * share) as usize] / 1e3
    }
}

fn main() -> ExitCode {
    // `cargo test` runs every target once: this one has nothing to test
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match runtime.block_on(run()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn run() -> bool {
    let Some(programs) = mediamesh_testkit::postgres::programs() else {
        return true;
    };
    let queries = number("MEDIAMESH_BENCH_QUERIES", 300);
    let kind = match std::env::var("MEDIAMESH_BENCH_INDEX").as_deref() {
        Ok("ivfflat") => IndexKind::IvfFlat,
        _ => IndexKind::Hnsw,
    };
    let mut held = true;
    let made_up = number("MEDIAMESH_BENCH_VECTORS", 100_000);
    let texts = number("MEDIAMESH_BENCH_TEXTS", 30_000);
    let real = match texts {
        0 => None,
        texts => tokio::task::spawn_blocking(move || data::real(texts, queries))
            .await
            .unwrap(),
    };
    let made_up = data::made_up(made_up, queries);
    for set in [Some(made_up), real].into_iter().flatten() {
        held &= measure(&programs, set, kind).await;
    }
    held
}

async fn measure(programs: &std::path::Path, set: Set, kind: IndexKind) -> bool {
    // settings of a server with 4 GB or more; what is measured lies in memory
    let settings = [
        "shared_buffers=1GB",
        "maintenance_work_mem=1GB",
        "max_parallel_maintenance_workers=2",
        "autovacuum=off",
    ];
    let cluster = Postgres::start(programs, &settings).await.unwrap();
    let test = TestDatabase::create_in(&Arc::new(cluster)).await.unwrap();
    let database = Database::open(DatabaseOptions::at(test.url()))
        .await
        .unwrap();
    let store = PostgresStore::new(database).with_index_kind(kind);
    let begin = Instant::now();
    load::copy(&test, &set).await;
    let loaded = begin.elapsed();
    store.tend_indexes().await.unwrap();
    test.psql("VACUUM ANALYZE").await.unwrap();
    println!(
        "\n{}: {} vectors of {} dims, {kind:?}; COPY {:.0} s, index and vacuum {:.0} s",
        set.name,
        set.vectors.len(),
        set.dims,
        loaded.as_secs_f64(),
        (begin.elapsed() - loaded).as_secs_f64(),
    );
    let embedded = embed(&set);
    let raw = raw::Raw::connect(&test.url(), &set).await;
    let service = service::Rig::new(store.clone(), &set);
    println!("| passes | way | recall@10 | p50, ms | p95, ms | p99, ms | p50 beside raw rows |");
    println!("|---|---|---|---|---|---|---|");
    let mut held = true;
    for percent in SELECTIVITIES {
        held &= compare(&set, percent, &store, &raw, &service, &embedded).await;
    }
    held
}

fn embed(set: &Set) -> VectorIndex {
    let index = VectorIndex::in_memory(IndexOptions::new(set.dims)).unwrap();
    let keys = (1_u32..).zip(&set.vectors);
    let changes: Vec<_> = keys
        .map(|(key, vector)| Change::Upsert { key, vector })
        .collect();
    for (n, chunk) in (1_u64..).zip(changes.chunks(10_000)) {
        index.apply(n, chunk).unwrap();
    }
    assert!(index.wait_for_graph(Duration::from_secs(1_800)), "it hangs");
    index
}

/// Keys of the items that the filter lets pass.
async fn matching(store: &PostgresStore, percent: u32, least: i64) -> Option<RoaringBitmap> {
    if percent == 100 {
        return None;
    }
    let filter = Filter {
        min_size_bytes: least,
        ..Filter::default()
    };
    let keys = store.matching_keys(load::TENANT, &filter).await.unwrap();
    Some(keys.into_iter().collect())
}

async fn compare(
    set: &Set,
    percent: u32,
    store: &PostgresStore,
    raw: &raw::Raw,
    service: &service::Rig,
    embedded: &VectorIndex,
) -> bool {
    let least = set.least_size(percent);
    let among = matching(store, percent, least).await;
    let truths: Vec<Vec<u32>> = set.truths(among.as_ref());
    let [mut plain, mut rows, mut ours, mut whole, mut inside]: [Tally; 5] = Default::default();
    let mut spent: [Vec<f64>; 4] = Default::default();
    for n in 0..set.queries.len() + WARM_UP {
        let counted = n >= WARM_UP;
        let n = n.checked_sub(WARM_UP).unwrap_or(n) % set.queries.len();
        let (query, truth) = (&set.queries[n], &truths[n]);
        let mut order = [0, 1, 2, 3, 4];
        order.shuffle(&mut rand::rng());
        for way in order {
            let start = Instant::now();
            let (tally, found): (_, Vec<u32>) = match way {
                0 => {
                    let found = raw.nearest(Answer::Keys, query, percent, least);
                    (&mut plain, found.await)
                }
                1 => {
                    let found = raw.nearest(Answer::Rows, query, percent, least);
                    (&mut rows, found.await)
                }
                2 => {
                    let among = matching(store, percent, least).await;
                    let found = store
                        .nearest(load::TENANT, load::MODEL, query, K, among.as_ref())
                        .await
                        .unwrap();
                    let keys = found.hits.iter().map(|(key, _)| *key);
                    (&mut ours, keys.collect())
                }
                3 => {
                    let (found, micros) = service.search(n, percent, least).await;
                    for (spent, micros) in spent.iter_mut().zip(micros) {
                        spent.push(micros);
                    }
                    (&mut whole, found)
                }
                _ => {
                    use mediamesh_vectors::Filter;
                    let filter = among.as_ref().map_or(Filter::All, Filter::Only);
                    let found = embedded.search(query, K, filter).unwrap();
                    let keys = found.neighbors.iter().map(|near| near.key);
                    (&mut inside, keys.collect())
                }
            };
            if counted {
                tally.note(start.elapsed(), &found, truth);
            }
        }
    }
    let beside = rows.at(0.5);
    let mut held = true;
    for (way, tally, is_ours) in [
        ("raw statement, keys", &mut plain, false),
        ("raw statement, rows", &mut rows, false),
        ("our statement", &mut ours, true),
        ("our search", &mut whole, true),
        ("embedded index", &mut inside, true),
    ] {
        let recall = tally.recall();
        let ratio = tally.at(0.5) / beside;
        let is_late = way == "our search" && ratio > RATIO;
        held &= !is_ours || (recall >= RECALL && !is_late);
        println!(
            "| {percent} % | {way} | {recall:.3}{} | {:.2} | {:.2} | {:.2} | {ratio:.2}{} |",
            if is_ours && recall < RECALL {
                " MISSED"
            } else {
                ""
            },
            tally.at(0.5),
            tally.at(0.95),
            tally.at(0.99),
            match is_late {
                true => " MISSED",
                false => "",
            },
        );
    }
    let [total, embed, vector, rows] = spent.map(|mut micros| {
        micros.sort_by(f64::total_cmp);
        micros[micros.len() / 2] / 1e3
    });
    println!(
        "| {percent} % | p50 of our search: in the service {total:.2}, of which vector of the query \
         {embed:.2}, nearest {vector:.2}, rows {rows:.2} |"
    );
    held
}
