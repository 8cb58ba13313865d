//! Vectors that the database itself searches, where it can.

use async_trait::async_trait;
use mediamesh_proto::TenantId;
use roaring::RoaringBitmap;

use crate::error::Result;

/// How nearest vectors were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NearestPlan {
    /// Every matching vector was compared: the answer is exact.
    ExactScan,
    /// An approximate index over all vectors of the tenant and model.
    Index,
    /// The same, deep enough that what the filter lets through is enough.
    IndexFiltered,
}

/// Nearest vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Nearest {
    /// Item and cosine similarity in [-1, 1], best first: `min(k, matching)` of them.
    pub hits: Vec<(u32, f32)>,
    /// How they were found.
    pub plan: NearestPlan,
    /// Vectors the database answered or compared, as far as is known.
    pub scanned: u64,
}

/// The vectors of one tenant and model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceSize {
    /// Elements of a vector.
    pub dims: usize,
    /// Vectors, as of a while ago.
    pub vectors: u64,
}

/// Searches vectors in the database. Every method but [`Self::tend_indexes`] is scoped by tenant.
#[async_trait]
pub trait VectorStore: Send + Sync {
    /// How much there is to search; `None` if nothing.
    async fn space_size(&self, tenant: TenantId, model: &str) -> Result<Option<SpaceSize>>;

    /// Every model the tenant has vectors of, with how much there is to search.
    async fn spaces_of(&self, tenant: TenantId) -> Result<Vec<(String, SpaceSize)>>;

    /// Finds the `k` vectors nearest to `query` by cosine, among these items only if given: as many
    /// as there are, and the right ones.
    ///
    /// Shape: `query` is as long as the stored vectors, of any norm but 0.
    async fn nearest(
        &self,
        tenant: TenantId,
        model: &str,
        query: &[f32],
        k: usize,
        among: Option<&RoaringBitmap>,
    ) -> Result<Nearest>;

    /// Vectors of these items, f16 little endian; items without one are left out.
    async fn vectors_of(
        &self,
        tenant: TenantId,
        model: &str,
        keys: &[u32],
    ) -> Result<Vec<(u32, Vec<u8>)>>;

    /// Tenants and models that have rows of vectors, if only of removed ones.
    async fn all_spaces(&self) -> Result<Vec<(TenantId, String)>>;

    /// Builds the indexes that have become worth it; one process at a time does, others return at
    /// once. Answers how many were built.
    async fn tend_indexes(&self) -> Result<u64>;
}
