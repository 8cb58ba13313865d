//! One tenant's vectors of one model, whoever searches them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64},
    },
};

use mediamesh_proto::{TenantId, search::v1::VectorIndexStats};
use mediamesh_store::{
    VectorStore,
    vectors::{NearestPlan, SpaceSize},
};
use mediamesh_vectors::{Filter, Plan, VectorIndex};
use roaring::RoaringBitmap;
use tokio::sync::Mutex;

use super::decode;
use crate::error::Error;

/// The vectors of one tenant and model.
pub(crate) struct Space {
    pub(super) tenant: TenantId,
    pub(crate) model: String,
    pub(super) engine: Engine,
}

/// What searches.
pub(super) enum Engine {
    /// An index in this process.
    Embedded(Embedded),
    /// The database.
    Database {
        vectors: Arc<dyn VectorStore>,
        size: SpaceSize,
    },
}

/// An index in this process and how far it has read.
pub(super) struct Embedded {
    pub(super) index: Arc<VectorIndex>,
    /// Corpus version up to which the log was read.
    pub(super) corpus_version: AtomicI64,
    /// Removed vectors up to this sequence number are not in the index, though it may not have read so far.
    /// One catches up at a time.
    pub(super) reading: Mutex<u64>,
    /// Whether rows of removed vectors were gone before it read them.
    pub(super) missed: AtomicBool,
}

/// What a search found.
pub(crate) struct Found {
    /// Items with their cosine similarity, best first.
    pub(crate) neighbors: Vec<(u32, f32)>,
    /// `exact_scan`, `graph` or `graph_filtered`.
    pub(crate) plan: &'static str,
    /// Vectors that were compared.
    pub(crate) scanned: u64,
}

impl Space {
    /// Finds the `depth` nearest among those allowed: all of them if fewer match.
    pub(crate) async fn search(
        &self,
        values: Vec<f32>,
        depth: usize,
        allowed: Option<Arc<RoaringBitmap>>,
    ) -> Result<Found, Error> {
        match &self.engine {
            Engine::Embedded(embedded) => {
                let index = Arc::clone(&embedded.index);
                let parent = tracing::Span::current();
                let answer = tokio::task::spawn_blocking(move || {
                    let _inside = parent.entered();
                    let _span = tracing::debug_span!("vector_index").entered();
                    let filter = allowed.as_deref().map_or(Filter::All, Filter::Only);
                    index.search(&values, depth, filter)
                })
                .await??;
                let neighbors = answer.neighbors.iter().map(|near| (near.key, near.score));
                Ok(Found {
                    neighbors: neighbors.collect(),
                    plan: match answer.plan {
                        Plan::ExactScan => "exact_scan",
                        Plan::Graph => "graph",
                        Plan::GraphFiltered => "graph_filtered",
                    },
                    scanned: answer.scanned,
                })
            }
            Engine::Database { vectors, size } => {
                check(*size, &values, || mediamesh_vectors::Error::QueryNotFinite)?;
                let nearest = vectors
                    .nearest(self.tenant, &self.model, &values, depth, allowed.as_deref())
                    .await?;
                Ok(Found {
                    neighbors: nearest.hits,
                    plan: match nearest.plan {
                        NearestPlan::ExactScan => "exact_scan",
                        NearestPlan::Index => "graph",
                        NearestPlan::IndexFiltered => "graph_filtered",
                    },
                    scanned: nearest.scanned,
                })
            }
        }
    }

    /// The stored vectors of these items, L2-normalised; items without one are left out.
    pub(crate) async fn vectors(&self, keys: &[u32]) -> Result<HashMap<u32, Vec<f32>>, Error> {
        match &self.engine {
            Engine::Embedded(Embedded { index, .. }) => {
                let vector = |key: &u32| Some((*key, index.get(*key)?));
                Ok(keys.iter().filter_map(vector).collect())
            }
            Engine::Database { vectors, .. } => {
                let rows = vectors.vectors_of(self.tenant, &self.model, keys).await?;
                Ok(rows
                    .into_iter()
                    .map(|(key, bytes)| (key, normalised(decode(&bytes))))
                    .collect())
            }
        }
    }

    /// Whether this vector may be stored.
    pub(crate) fn validate(&self, values: &[f32]) -> Result<(), Error> {
        match &self.engine {
            Engine::Embedded(Embedded { index, .. }) => Ok(index.validate(0, values)?),
            Engine::Database { size, .. } => check(*size, values, || {
                mediamesh_vectors::Error::VectorNotFinite { key: 0 }
            }),
        }
    }

    /// What there is to search.
    pub(crate) fn stats(&self) -> VectorIndexStats {
        let long = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let model = self.model.clone();
        match &self.engine {
            Engine::Embedded(Embedded { index, .. }) => VectorIndexStats {
                model,
                dims: i32::try_from(index.options().dims).unwrap_or(i32::MAX),
                vectors: long(index.len()),
                applied_sequence: index.applied_seq().cast_signed(),
                memory_bytes: long(index.memory_bytes()),
            },
            // nothing of it is in this process, and nothing is to be read into it
            Engine::Database { size, .. } => VectorIndexStats {
                model,
                dims: i32::try_from(size.dims).unwrap_or(i32::MAX),
                vectors: size.vectors.cast_signed(),
                applied_sequence: 0,
                memory_bytes: 0,
            },
        }
    }
}

fn check(
    size: SpaceSize,
    values: &[f32],
    unfit: impl FnOnce() -> mediamesh_vectors::Error,
) -> Result<(), Error> {
    if values.len() != size.dims {
        let mismatch = mediamesh_vectors::Error::DimensionMismatch {
            expected: size.dims,
            actual: values.len(),
        };
        return Err(mismatch.into());
    }
    let norm: f32 = values.iter().map(|value| value * value).sum();
    match norm.is_finite() && norm > 0.0 {
        true => Ok(()),
        false => Err(unfit().into()),
    }
}

fn normalised(mut values: Vec<f32>) -> Vec<f32> {
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|value| *value /= norm);
    }
    values
}
