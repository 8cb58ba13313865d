//! What a look-up costs in each tier, beside a bare Redis client, and how often it hits when keys are
//! asked for as people ask: `cargo bench --bench tiers`. Needs `scripts/redis.sh`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, dead_code)]

use std::{hint::black_box, time::Duration};

use mediamesh_mesh::{
    Identity, LocalAuthenticator, Policy, Registry, ServerBuilder, ServerDeps, ServiceName,
    identity,
};
use mediamesh_near::NearCache;
use mediamesh_proto::{
    cache::v1::{BatchGetEntriesRequest, GetEntryRequest, cache_service_server::CacheService},
    time::duration,
};
use mediamesh_telemetry::Metrics;
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

/// Times of single calls, sorted once they are printed.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, share: f64) -> Duration {
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }

    fn print(&mut self, what: &str) {
        self.0.sort_unstable();
        let mean = self.0.iter().sum::<Duration>() / u32::try_from(self.0.len()).unwrap();
        println!(
            "{what:46} p50 {:>9.2?}  p99 {:>9.2?}  mean {mean:>9.2?}",
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

    let mut one = Pair::default();
    let mut hundred = Pair::default();
    let mut random = fastrand::Rng::with_seed(42);
    for _ in 0..ROUNDS {
        // a new service each round has nothing in memory
        let fresh = Subject::connected(options.clone()).await;
        let cache = fresh.direct();
        for number in 0..KEYS / 2 {
            // who goes first is drawn: the second finds the machine as the first has left it
            let ours_first = random.bool();
            for ours in [ours_first, !ours_first] {
                let began = Instant::now();
                if ours {
                    assert!(get(&cache, number).await);
                } else {
                    let mut get = ::redis::cmd("GET");
                    let value: Vec<u8> = get.arg(key(number)).query_async(&mut raw).await.unwrap();
                    assert_eq!(value.len(), VALUE);
                }
                one.note(ours, began.elapsed());
            }
        }
        for first in (KEYS / 2..KEYS).step_by(BATCH) {
            let ours_first = random.bool();
            for ours in [ours_first, !ours_first] {
                let began = Instant::now();
                if ours {
                    assert_eq!(get_batch(&cache, first).await, BATCH);
                } else {
                    let keys: Vec<String> = (first..first + BATCH).map(key).collect();
                    let mut get = ::redis::cmd("MGET");
                    let values: Vec<Vec<u8>> = get.arg(keys).query_async(&mut raw).await.unwrap();
                    assert_eq!(values.len(), BATCH);
                }
                hundred.note(ours, began.elapsed());
            }
        }
    }
    one.print("a hit in Redis");
    hundred.print("100 hits in Redis");
    hit_rate().await;
}

/// The service and a bare client, asked for the same in one run.
#[derive(Default)]
struct Pair {
    ours: Times,
    bare: Times,
}

impl Pair {
    fn note(&mut self, ours: bool, took: Duration) {
        match ours {
            true => self.ours.0.push(took),
            false => self.bare.0.push(took),
        }
    }

    fn print(&mut self, what: &str) {
        self.ours.print(&format!("{what}, by the service"));
        self.bare.print(&format!("{what}, bare client"));
        let ratio = |share| self.ours.at(share).as_secs_f64() / self.bare.at(share).as_secs_f64();
        println!(
            "{what}: service / bare client  p50 {:.3}  p90 {:.3}  p99 {:.3}  (bar 1.150)",
            ratio(0.5),
            ratio(0.9),
            ratio(0.99)
        );
    }
}

async fn memory(subject: &Subject) {
    let cache = subject.direct();
    let mut times = Times::default();
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
    times.print("a hit in memory, by the handler (bar p99 2 us)");
    near(subject).await;
}

/// A hot hit of a caller of the service that keeps a memory of its own: no call at all.
async fn near(subject: &Subject) {
    let metrics = Metrics::new();
    let registry = Registry::new(Policy::default(), &metrics);
    let deps = ServerDeps {
        policy: Policy::default(),
        metrics: subject.metrics.clone(),
        health: subject.health.clone(),
        authenticator: std::sync::Arc::new(LocalAuthenticator),
    };
    let server = ServerBuilder::new(deps).add_service(subject.cache.server());
    registry.register_local(ServiceName::Cache, server.build().unwrap());
    let channel = registry.channel(ServiceName::Cache);
    let near = NearCache::new(channel, &mediamesh_near::Options::default(), &metrics);
    // until it watches, and the keys have rested, every look-up is a call
    tokio::time::sleep(Duration::from_secs(2)).await;
    let work = async {
        let mut times = Times::default();
        for round in 0..(ROUNDS + 1) * KEYS {
            let request = GetEntryRequest {
                key: key(round % KEYS),
                ..Default::default()
            };
            let began = Instant::now();
            let answer = near.get_entry(request).await.unwrap();
            if round >= KEYS {
                times.0.push(began.elapsed());
            }
            assert!(black_box(answer).outcome.is_some());
        }
        times.print("a hit in a caller's own memory (bar p99 2 us)");
    };
    // the tenant of the entries is that of a mesh without authentication
    identity::scope(Identity::local(), work).await;
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
        metrics: Metrics::new(),
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
