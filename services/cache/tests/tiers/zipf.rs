//! How often the cache hits when people search as people do (S0-54): by Zipf's law, at the seeds'
//! rates and times to live. The clock is simulated, the cache is not.

use std::time::Duration;

use mediamesh_proto::{
    cache::v1::{
        Entry, GetEntryRequest, SetEntryRequest, cache_service_server::CacheService,
        get_entry_response::Outcome,
    },
    time::duration,
};

use crate::subject::{Subject, by, tenant};

/// Wordings that people know.
const WORDINGS: usize = 10_000;
/// Bytes of an answer with 20 hits.
const ANSWER_BYTES: usize = 8 << 10;
/// Bytes of a vector of 512 numbers.
const VECTOR_BYTES: usize = 2 << 10;

/// Draws numbers from 0 up with Zipf's law at 1.0.
struct Zipf {
    cumulative: Vec<f64>,
    random: fastrand::Rng,
}

impl Zipf {
    fn new(count: usize) -> Self {
        let mut sum = 0.0;
        let weights = (1..=count).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self {
            cumulative: weights.collect(),
            random: fastrand::Rng::with_seed(42),
        }
    }

    fn draw(&mut self) -> usize {
        let draw = self.random.f64() * self.cumulative[self.cumulative.len() - 1];
        self.cumulative.partition_point(|weight| *weight < draw)
    }
}

/// Share of hits, with the first misses, of `lookups` that come `every` so long.
async fn hit_rate(lookups: u32, every: Duration, ttl: Duration, bytes: usize) -> f64 {
    let cache = Subject::memory().direct();
    let mut zipf = Zipf::new(WORDINGS);
    let mut hits = 0;
    for _ in 0..lookups {
        let key = format!("search:{}", zipf.draw());
        let request = GetEntryRequest {
            key: key.clone(),
            ..GetEntryRequest::default()
        };
        let answer = cache.get_entry(by(tenant(1), request)).await.unwrap();
        if let Some(Outcome::Entry(_)) = answer.into_inner().outcome {
            hits += 1;
        } else {
            let entry = Some(Entry {
                key,
                value: vec![7; bytes].into(),
                ttl: Some(duration(ttl)),
                ..Entry::default()
            });
            let request = SetEntryRequest {
                entry,
                lease_token: 0,
            };
            cache.set_entry(by(tenant(1), request)).await.unwrap();
        }
        tokio::time::advance(every).await;
    }
    f64::from(hits) / f64::from(lookups)
}

#[tokio::test(start_paused = true)]
async fn four_of_five_searches_hit_at_the_seeds_rate_and_times_to_live() {
    // 500 searches a minute, for three hours; answers live for one
    let every = Duration::from_secs(60) / 500;
    let answers = hit_rate(90_000, every, Duration::from_secs(3600), ANSWER_BYTES).await;
    // vectors live for a week
    let week = Duration::from_secs(7 * 24 * 3600);
    let vectors = hit_rate(90_000, every, week, VECTOR_BYTES).await;
    println!("hits of answers {answers:.3}, of vectors {vectors:.3}");
    assert!(answers > 0.8 && vectors > 0.8, "{answers:.3} {vectors:.3}");
}
