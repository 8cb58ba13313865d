//! Nearest vectors by pgvector, held against the exact truth, never against a count.

use std::fmt::Write as _;

use roaring::RoaringBitmap;

use super::*;
use crate::{
    VectorStore as _,
    postgres::IndexKind,
    vectors::{Nearest, NearestPlan},
};

const DIMS: usize = 32;
const COUNT: u32 = 24_000;
const K: usize = 10;

/// Vectors around centres, as those of pictures lie; the same at each run.
struct Corpus {
    vectors: Vec<[f32; DIMS]>,
    state: u64,
}

impl Corpus {
    fn new() -> Self {
        let mut corpus = Self {
            vectors: Vec::new(),
            state: 42,
        };
        let centres: Vec<[f32; DIMS]> = (0..200).map(|_| corpus.near(&[0.0; DIMS], 1.0)).collect();
        for _ in 0..COUNT {
            let centre = centres[corpus.next() as usize % centres.len()];
            let vector = corpus.near(&centre, 0.5);
            corpus.vectors.push(vector);
        }
        corpus
    }

    /// xorshift64*
    fn next(&mut self) -> u32 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    fn near(&mut self, centre: &[f32; DIMS], spread: f32) -> [f32; DIMS] {
        centre.map(|value| {
            let sum: f32 = (0..4)
                .map(|_| self.next() as f32 / u32::MAX as f32 - 0.5)
                .sum();
            value + spread * sum
        })
    }

    /// Keys of the nearest of those that pass, by comparing all; item keys begin at 1.
    fn truth(&self, query: &[f32], among: Option<&RoaringBitmap>) -> Vec<u32> {
        let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        let mut scored: Vec<(f32, u32)> = (1..)
            .zip(&self.vectors)
            .filter(|(key, _)| among.is_none_or(|among| among.contains(*key)))
            .map(|(key, vector)| {
                let dot: f32 = vector.iter().zip(query).map(|(a, b)| a * b).sum();
                (dot / norm(vector) / norm(query), key)
            })
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.into_iter().take(K).map(|(_, key)| key).collect()
    }
}

async fn fill(test: &TestDatabase, corpus: &Corpus) {
    for chunk in (0..COUNT).collect::<Vec<_>>().chunks(4_000) {
        let mut rows = String::new();
        for n in chunk {
            let values: Vec<String> = corpus.vectors[*n as usize]
                .iter()
                .map(|value| format!("{value:.4}"))
                .collect();
            let comma = if rows.is_empty() { "" } else { "," };
            let _ = write!(
                rows,
                "{comma}('{}','m',{},'[{}]',0)",
                TENANT.0,
                n + 1,
                values.join(",")
            );
        }
        let insert = format!(
            "INSERT INTO media_embeddings (tenant_id, model, item_key, vector, create_time) \
             VALUES {rows}"
        );
        test.psql_script(&insert).await.unwrap();
    }
}

fn recall(found: &Nearest, truth: &[u32]) -> f64 {
    let right = found.hits.iter().filter(|(key, _)| truth.contains(key));
    right.count() as f64 / truth.len() as f64
}

#[tokio::test]
async fn filtered_searches_find_the_right_rows_at_every_selectivity_with_either_index() {
    let Some((test, store)) = store().await else {
        return;
    };
    let mut corpus = Corpus::new();
    fill(&test, &corpus).await;
    test.psql("VACUUM ANALYZE media_embeddings").await.unwrap();
    for (kind, method) in [(IndexKind::Hnsw, "hnsw"), (IndexKind::IvfFlat, "ivfflat")] {
        // a store of its own keeps no word of the index before
        let store = PostgresStore::new(store.db.clone()).with_index_kind(kind);
        assert_eq!(store.tend_indexes().await.unwrap(), 1);
        assert_eq!(store.tend_indexes().await.unwrap(), 0, "it is there");
        let methods = "SELECT am.amname, c.reloptions::text FROM pg_class c \
             JOIN pg_am am ON am.oid = c.relam WHERE c.relname LIKE 'idx_vectors_%'";
        let built = test.psql(methods).await.unwrap();
        assert!(
            built.starts_with(method) && built.lines().count() == 1,
            "{built}"
        );
        finds_the_right_rows(&store, &mut corpus).await;
        uses_the_index(&test, &corpus).await;
    }
}

#[tokio::test]
async fn an_index_of_lists_is_built_anew_when_the_vectors_have_outgrown_it() {
    let Some((test, store)) = store().await else {
        return;
    };
    let store = store.with_index_kind(IndexKind::IvfFlat);
    let corpus = Corpus::new();
    fill(&test, &corpus).await;
    assert_eq!(store.tend_indexes().await.unwrap(), 1);
    assert!(
        store
            .nearest(TENANT, "m", &corpus.vectors[0], 3, None)
            .await
            .is_ok()
    );
    // as it would be with a twentieth of the vectors, and a process that was killed while it built
    let name = super::super::vector_index::name(TENANT, "m");
    let fewer = format!(
        "ALTER INDEX {name} SET (lists = 50); \
         CREATE INDEX {name}_n ON media_embeddings (create_time)"
    );
    test.psql(&fewer).await.unwrap();
    assert_eq!(store.tend_indexes().await.unwrap(), 1);
    assert_eq!(store.tend_indexes().await.unwrap(), 0);
    let left = "SELECT relname || array_to_string(reloptions, ' ') FROM pg_class \
         WHERE relname LIKE 'idx_vectors_%'";
    assert_eq!(test.psql(left).await.unwrap(), format!("{name}lists=100"));
}

#[tokio::test]
async fn an_index_that_was_built_and_not_put_in_place_is_not_built_again() {
    let Some((test, store)) = store().await else {
        return;
    };
    let corpus = Corpus::new();
    fill(&test, &corpus).await;
    assert_eq!(store.tend_indexes().await.unwrap(), 1);
    let name = super::super::vector_index::name(TENANT, "m");
    let oid = |index: String| format!("SELECT oid FROM pg_class WHERE relname = '{index}'");
    let other = PostgresStore::new(store.db.clone()).with_index_kind(IndexKind::IvfFlat);
    // a reader that does not end: the old index cannot be dropped
    let mut reader = store.db.dedicated().await.unwrap();
    use diesel_async::SimpleAsyncConnection as _;
    let read = "BEGIN; SELECT count(*) FROM media_embeddings";
    // built without waiting for the snapshot of this one, which is taken anew for each statement
    reader.batch_execute(read).await.unwrap();
    assert_eq!(other.tend_indexes().await.unwrap(), 0);
    let new = test.psql(&oid(format!("{name}_n"))).await.unwrap();
    assert!(!new.is_empty(), "it was built");
    assert_eq!(
        store.tend_indexes().await.unwrap(),
        0,
        "the old one is used"
    );
    reader.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(other.tend_indexes().await.unwrap(), 1);
    assert_eq!(test.psql(&oid(name)).await.unwrap(), new, "the same one");
}

async fn finds_the_right_rows(store: &Store, corpus: &mut Corpus) {
    let every = |nth: u32| {
        (1..=COUNT)
            .filter(|key| key % nth == 0)
            .collect::<RoaringBitmap>()
    };
    for (among, plan) in [
        (None, NearestPlan::Index),
        (Some(every(2)), NearestPlan::IndexFiltered),
        (Some(every(10)), NearestPlan::ExactScan),
        (Some(every(100)), NearestPlan::ExactScan),
        (Some((1..=5).collect()), NearestPlan::ExactScan),
    ] {
        let mut sum = 0.0;
        const QUERIES: usize = 40;
        for n in 0..QUERIES {
            let centre = corpus.vectors[n * 577];
            let query = corpus.near(&centre, 0.3);
            let found = store
                .nearest(TENANT, "m", &query, K, among.as_ref())
                .await
                .unwrap();
            let truth = corpus.truth(&query, among.as_ref());
            assert_eq!(found.hits.len(), truth.len(), "{plan:?}");
            assert_eq!(found.plan, plan);
            assert!(found.hits.is_sorted_by(|a, b| a.1 >= b.1));
            if let Some(among) = &among {
                assert!(found.hits.iter().all(|(key, _)| among.contains(*key)));
            }
            sum += recall(&found, &truth);
        }
        let recall = sum / QUERIES as f64;
        // the centres of lists are drawn anew at each build
        let least = match store.index_kind {
            IndexKind::Hnsw => 0.99,
            IndexKind::IvfFlat => 0.97,
        };
        assert!(
            recall >= least,
            "{:?} {plan:?}: recall {recall}",
            store.index_kind
        );
    }
}

async fn uses_the_index(test: &TestDatabase, corpus: &Corpus) {
    let explained = test
        .psql(&format!(
            "SET enable_seqscan = off; EXPLAIN SELECT item_key FROM media_embeddings WHERE {} \
             ORDER BY vector::halfvec({DIMS}) <=> '{:?}'::halfvec({DIMS}) LIMIT 10",
            super::super::vector_index::condition(TENANT, "m"),
            corpus.vectors[0]
        ))
        .await
        .unwrap();
    assert!(explained.contains("idx_vectors_"), "{explained}");
}

#[tokio::test]
async fn a_search_does_not_become_slow_when_its_plan_is_for_all_values() {
    let Some((test, store)) = store().await else {
        return;
    };
    // wide enough that reading the query for each row would be most of the work
    let rows = "INSERT INTO media_embeddings (tenant_id, model, item_key, vector, create_time) \
         SELECT '00000000-0000-0000-0000-000000000000', 'm', n, v.vector, 0 \
         FROM generate_series(1, 2000) n, (SELECT array_agg(sin(g))::real[]::vector::halfvec \
         AS vector FROM generate_series(1, 1024) g) AS v";
    let rows = rows.replace(
        "00000000-0000-0000-0000-000000000000",
        &TENANT.0.to_string(),
    );
    test.psql(&rows).await.unwrap();
    test.psql("VACUUM ANALYZE media_embeddings").await.unwrap();
    let query: Vec<f32> = (0..1024).map(|n| (n as f32).cos()).collect();
    let among: RoaringBitmap = (1..=1_000).collect();
    let mut first = std::time::Duration::MAX;
    let mut later = std::time::Duration::MAX;
    for n in 0..16 {
        let start = tokio::time::Instant::now();
        let found = store.nearest(TENANT, "m", &query, K, Some(&among)).await;
        assert_eq!(found.unwrap().hits.len(), K);
        let best = if n < 5 { &mut first } else { &mut later };
        *best = start.elapsed().min(*best);
    }
    assert!(later < first * 5, "{first:?}, and later {later:?}");
}

#[tokio::test]
async fn vectors_are_searched_as_soon_as_they_are_stored() {
    use crate::SearchStore as _;
    let Some((_test, store)) = store().await else {
        return;
    };
    assert_eq!(store.space_size(TENANT, "m").await.unwrap(), None);
    let nothing = store.nearest(TENANT, "m", &[1.0, 0.0], 5, None).await;
    assert_eq!(nothing.unwrap().hits, []);
    let bytes = |values: [f32; 2]| -> Vec<u8> {
        let values = values.map(|value| half::f16::from_f32(value).to_le_bytes());
        values.concat()
    };
    let mut keys = Vec::new();
    for (n, vector) in [(1, [1.0, 0.0]), (2, [0.6, 0.8]), (3, [0.0, 1.0])] {
        let item = insert(&store, new_item(n, "a.jpg")).await;
        let vectors = vec![("m".to_owned(), bytes(vector))];
        store
            .put_embeddings(TENANT, item.id, vectors)
            .await
            .unwrap();
        keys.push(u32::try_from(item.item_key).unwrap());
        let near = store
            .nearest(TENANT, "m", &[0.0, 2.0], 5, None)
            .await
            .unwrap();
        assert_eq!(near.hits.len(), usize::from(n), "each is found at once");
    }
    let near = store
        .nearest(TENANT, "m", &[0.0, 2.0], 2, None)
        .await
        .unwrap();
    let found: Vec<u32> = near.hits.iter().map(|(key, _)| *key).collect();
    assert_eq!(found, [keys[2], keys[1]]);
    assert!((near.hits[1].1 - 0.8).abs() < 0.001, "{:?}", near.hits);
    let strange = store.nearest(STRANGER, "m", &[0.0, 2.0], 2, None).await;
    assert_eq!(strange.unwrap().hits, []);
    let stored = store.vectors_of(TENANT, "m", &keys[..1]).await.unwrap();
    assert_eq!(stored, [(keys[0], bytes([1.0, 0.0]))]);
    let spaces = store.spaces_of(TENANT).await.unwrap();
    assert_eq!(spaces.len(), 1);
    assert_eq!((spaces[0].0.as_str(), spaces[0].1.dims), ("m", 2));
}
