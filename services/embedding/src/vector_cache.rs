//! The cache service as this one sees it. Its errors are misses.

use std::time::Duration;

use bytes::Bytes;
use mediamesh_near::NearCache;
use mediamesh_proto::{
    cache::v1::{BatchGetEntriesRequest, BatchSetEntriesRequest, Entry},
    time::duration,
};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::{
    input::Content,
    metrics::{EmbeddingMetrics, LookupLabels},
    models::Model,
    options::Options,
    pool::Shared,
};

/// Entries of one call.
const BATCH: usize = 100;
/// First byte of every value; another one is another layout.
const LAYOUT: u8 = 1;
/// Layout, guard, length of the content.
const HEADER_BYTES: usize = 1 + 32 + 8;

/// Where a vector is kept.
#[derive(Clone)]
pub(crate) struct Place {
    key: String,
    header: [u8; HEADER_BYTES],
    dims: usize,
}

impl Place {
    pub(crate) fn new(model: &Model, content: &Content) -> Self {
        let space = hex::encode(&Sha256::digest(&model.key)[..8]);
        let key = format!("embedding:{space}:{}", hex::encode(content.sha256));
        // The value repeats in full what the key names: a key that collides is a miss.
        let mut guard = Sha256::new();
        guard.update(Sha256::digest(&model.key));
        guard.update(content.sha256);
        let mut header = [LAYOUT; HEADER_BYTES];
        header[1..33].copy_from_slice(&guard.finalize());
        header[33..].copy_from_slice(&content.len.to_le_bytes());
        Self {
            key,
            header,
            dims: usize::try_from(model.info.dims).unwrap_or(0),
        }
    }

    fn encode(&self, vector: &[f32]) -> Bytes {
        let numbers = vector.iter().flat_map(|value| value.to_le_bytes());
        self.header.iter().copied().chain(numbers).collect()
    }

    fn decode(&self, value: &[u8]) -> Option<Vec<f32>> {
        let (numbers, rest) = value.strip_prefix(&self.header[..])?.as_chunks::<4>();
        (rest.is_empty() && numbers.len() == self.dims).then(|| {
            numbers
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect()
        })
    }
}

/// The cache service as this one sees it.
pub(crate) struct VectorCache {
    client: NearCache,
    ttl: Duration,
    timeout: Duration,
    metrics: EmbeddingMetrics,
}

impl VectorCache {
    pub(crate) fn new(client: NearCache, options: &Options, metrics: EmbeddingMetrics) -> Self {
        Self {
            client,
            ttl: Duration::from_secs(options.cache_ttl_secs),
            timeout: Duration::from_millis(options.cache_timeout_millis),
            metrics,
        }
    }

    fn count(&self, outcome: &'static str, lookups: usize) {
        self.metrics
            .cache_lookups
            .get_or_create(&LookupLabels { outcome })
            .inc_by(lookups as u64);
    }

    /// Looks vectors up, in order.
    pub(crate) async fn get(&self, places: &[Place]) -> Vec<Option<Vec<f32>>> {
        let mut found = Vec::with_capacity(places.len());
        if !self.ttl.is_zero() {
            for batch in places.chunks(BATCH) {
                let keys = batch.iter().map(|place| place.key.clone()).collect();
                let call = self
                    .client
                    .batch_get_entries(BatchGetEntriesRequest { keys });
                let Ok(Ok(lookups)) = timeout(self.timeout, call).await else {
                    // What does not answer once is not asked again for this call.
                    self.count("error", places.len() - found.len());
                    break;
                };
                let vectors = std::iter::zip(batch, lookups)
                    .map(|(place, lookup)| place.decode(&lookup.entry?.value))
                    .chain(std::iter::repeat(None))
                    .take(batch.len());
                let before = found.len();
                found.extend(vectors);
                let hits = found[before..].iter().flatten().count();
                self.count("hit", hits);
                self.count("miss", batch.len() - hits);
            }
        }
        found.resize(places.len(), None);
        found
    }

    /// Stores vectors.
    pub(crate) async fn put(&self, vectors: &[(&Place, Shared)]) {
        if self.ttl.is_zero() {
            return;
        }
        let entries: Vec<Entry> = (vectors.iter())
            .map(|(place, vector)| Entry {
                key: place.key.clone(),
                value: place.encode(vector),
                negative: false,
                ttl: Some(duration(self.ttl)),
                tags: vec!["embedding".to_owned()],
                stale_ttl: None,
            })
            .collect();
        for batch in entries.chunks(BATCH) {
            let call = self.client.batch_set_entries(BatchSetEntriesRequest {
                entries: batch.to_vec(),
            });
            if !matches!(timeout(self.timeout, call).await, Ok(Ok(_))) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{input::text_content, models::Models};

    #[test]
    fn a_value_of_another_content_model_or_length_is_a_miss() {
        let models = Models::new(None, String::new(), String::new())
            .for_images(&[])
            .unwrap();
        let place = |text| Place::new(&models[0], &text_content(text));
        let vector = vec![0.5; place("a").dims];
        let value = place("a").encode(&vector);
        assert_eq!(place("a").decode(&value).unwrap(), vector);
        assert_eq!(place("b").decode(&value), None);
        assert_eq!(place("a").decode(&value[..value.len() - 4]), None);
        assert_eq!(place("a").decode(&[]), None);
        assert!(place("a").key.len() < 128);
    }
}
