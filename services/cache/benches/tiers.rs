//! What a look-up costs in each tier, beside a bare Redis client, and how often it hits when keys are
//! asked for as people ask: `cargo bench --bench tiers`. Needs `scripts/redis.sh`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, dead_code)]

use std::{hint::black_box, time::Duration};

use mediamesh_proto::{
    cache::v1::{BatchGetEntriesRequest, GetEntryRequest, cache_service_server::CacheService},
    time::duration,
};
use mediamesh_testkit::{Redis, redis::programs};
use tokio::time::Instant;

#[path = "../tests/tiers/subject.rs"]
mod subject;

use subject::{Subject, by, redis, tenant};

/// Bytes of a value: a vector of 512 numbers.
const VALUE: usize = 2048;
const KEYS: usize = 1000;
const ROUNDS: usize = 20;
const BATCH: usize = 100;

/// Times of single calls, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, share: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }

    fn print(&mut self, what: &str) {
        self.0.sort_unstable();
        let mean = self.0.iter().sum::<Duration>() / u32::try_from(self.0.len()).unwrap();
        println!(
            "{what:44} p50 {:>9.2?}  p99 {:>9.2?}  mean {mean:>9.2?}",
            self.at(0.5),
            self.at(0.99)
        );
    }
}

fn key(number: usize) -> String {
    format!("embedding:{number:08}")
}

async fn fill(cache: &impl CacheService, count: usize) {
    let entries: Vec<_> = (0..count)
        .map(|number| mediamesh_proto::cache::v1::Entry {
            key: key(number),
            value: vec![7; VALUE].into(),
            ttl: Some(duration(Duration::from_secs(3600))),
            ..Default::default()
        })
        .collect();
    for entries in entries.chunks(500) {
        let request = mediamesh_proto::cache::v1::BatchSetEntriesRequest {
            entries: entries.to_vec(),
        };
        cache
            .batch_set_entries(by(tenant(1), request))
            .await
            .unwrap();
    }
}

async fn get(cache: &impl CacheService, number: usize) -> bool {
    let request = GetEntryRequest {
        key: key(number),
        ..Default::default()
    };
    let answer = cache.get_entry(by(tenant(1), request)).await.unwrap();
    black_box(answer.into_inner()).outcome.is_some()
}

async fn get_batch(cache: &impl CacheService, first: usize) -> usize {
    let request = BatchGetEntriesRequest {
        keys: (first..first + BATCH).map(key).collect(),
    };
    let answer = cache
        .batch_get_entries(by(tenant(1), request))
        .await
        .unwrap();
    let lookups = black_box(answer.into_inner()).lookups;
    lookups
        .iter()
        .filter(|lookup| lookup.entry.is_some())
        .count()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let options = redis(vec![server.url()], false);
    let writer = Subject::connected(options.clone()).await;
    fill(&writer.direct(), KEYS).await;
    memory(&writer).await;

    let client = ::redis::Client::open(server.url()).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    let mut pipe = ::redis::pipe();
    for number in 0..KEYS {
        pipe.set(key(number), vec![7_u8; VALUE]).ignore();
    }
    pipe.exec_async(&mut raw).await.unwrap();

    let (mut ours, mut bare) = (Times(Vec::new()), Times(Vec::new()));
    let (mut ours_batch, mut bare_batch) = (Times(Vec::new()), Times(Vec::new()));
    for _ in 0..ROUNDS {
        // a new service each round has nothing in memory; the two take turns on a noisy machine
        let fresh = Subject::connected(options.clone()).await;
        let cache = fresh.direct();
        for number in 0..KEYS / 2 {
            let began = Instant::now();
            assert!(get(&cache, number).await);
            ours.0.push(began.elapsed());
            let began = Instant::now();
            let value: Vec<u8> = ::redis::cmd("GET")
                .arg(key(number))
                .query_async(&mut raw)
                .await
                .unwrap();
            bare.0.push(began.elapsed());
            assert_eq!(value.len(), VALUE);
        }
        for first in (KEYS / 2..KEYS).step_by(BATCH) {
            let began = Instant::now();
            assert_eq!(get_batch(&cache, first).await, BATCH);
            ours_batch.0.push(began.elapsed());
            let keys: Vec<String> = (first..first + BATCH).map(key).collect();
            let began = Instant::now();
            let values: Vec<Vec<u8>> = ::redis::cmd("MGET")
                .arg(keys)
                .query_async(&mut raw)
                .await
                .unwrap();
            bare_batch.0.push(began.elapsed());
            assert_eq!(values.len(), BATCH);
        }
    }
    ours.print("hit in Redis, by the service");
    bare.print("hit in Redis, bare client");
    ours_batch.print("100 hits in Redis, by the service");
    bare_batch.print("100 hits in Redis, bare client");
    hit_rate().await;
}

async fn memory(subject: &Subject) {
    let cache = subject.direct();
    let mut times = Times(Vec::new());
    for round in 0..ROUNDS * KEYS {
        let request = by(
            tenant(1),
            GetEntryRequest {
                key: key(round % KEYS),
                ..Default::default()
            },
        );
        let began = Instant::now();
        let answer = cache.get_entry(request).await.unwrap();
        times.0.push(began.elapsed());
        assert!(black_box(answer).into_inner().outcome.is_some());
    }
    times.print("hit in memory, by the handler");
}

/// 200 000 look-ups of 100 000 keys with Zipf's law at 1.0, each filled on its first miss; memory holds
/// a tenth of them, as of 2 KiB vectors in a cache of 20 MiB.
async fn hit_rate() {
    const POPULATION: usize = 100_000;
    const LOOKUPS: usize = 200_000;
    let options = mediamesh_cache::Options {
        max_bytes: 20 << 20,
        ..mediamesh_cache::Options::default()
    };
    let deps = mediamesh_cache::Deps {
        metrics: mediamesh_telemetry::Metrics::new(),
        health: mediamesh_telemetry::HealthRegistry::new(),
        session_dir: None,
        page_tokens: mediamesh_proto::page_token::PageTokens::new(b"test"),
    };
    let cache = mediamesh_cache::build(options, deps).unwrap().handler();
    let mut cumulative = Vec::with_capacity(POPULATION);
    let mut sum = 0.0;
    for rank in 1..=POPULATION {
        sum += 1.0 / rank as f64;
        cumulative.push(sum);
    }
    let mut random = fastrand::Rng::with_seed(42);
    let mut hits = 0;
    for _ in 0..LOOKUPS {
        let draw = random.f64() * sum;
        let number = cumulative.partition_point(|weight| *weight < draw);
        if get(&cache, number).await {
            hits += 1;
            continue;
        }
        let request = mediamesh_proto::cache::v1::SetEntryRequest {
            entry: Some(mediamesh_proto::cache::v1::Entry {
                key: key(number),
                value: vec![7; VALUE].into(),
                ttl: Some(duration(Duration::from_secs(3600))),
                ..Default::default()
            }),
            lease_token: 0,
        };
        cache.set_entry(by(tenant(1), request)).await.unwrap();
    }
    let rate = f64::from(hits) / LOOKUPS as f64;
    println!(
        "hit rate on Zipf 1.0, {POPULATION} keys, room for a tenth: {:.1} %",
        rate * 100.0
    );
}
