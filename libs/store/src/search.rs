//! Full text, filters and embeddings: what the search service reads and writes.

use std::time::Duration;

use async_trait::async_trait;
use mediamesh_proto::{MediaItemId, TenantId};

use crate::{error::Result, media::MediaItem};

/// Leaves out items; every set field must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Any of these kinds, as numbers of the protocol.
    pub kinds: Vec<i16>,
    /// In this folder or below.
    pub folder: String,
    /// All of these.
    pub tags: Vec<String>,
    /// Date of the picture, microseconds since the epoch, inclusive.
    pub min_time: Option<i64>,
    /// Date of the picture, microseconds since the epoch, exclusive.
    pub max_time: Option<i64>,
    /// Bytes; 0 = any.
    pub min_size_bytes: i64,
    /// Bytes; 0 = any.
    pub max_size_bytes: i64,
    /// Upright pixels; 0 = any.
    pub min_width_pixels: i32,
    /// Upright pixels; 0 = any.
    pub min_height_pixels: i32,
    /// A dominant colour within this OKLab distance.
    pub color: Option<ColorFilter>,
    /// Any of these, as numbers of the protocol.
    pub orientations: Vec<i16>,
    /// Any of these MIME types.
    pub content_types: Vec<String>,
    /// None of these words or phrases, as the full text splits them.
    pub without: Vec<String>,
    /// No item stored after this one: keeps pages of one search stable under inserts.
    pub newest_key: Option<u32>,
}

impl Filter {
    /// No field is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A colour and how near is near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColorFilter {
    /// Where, in OKLab.
    pub oklab: [f32; 3],
    /// How near, Euclidean in OKLab.
    pub max_distance: f32,
    /// Least share of the picture in [0, 1].
    pub min_share: f32,
}

/// Splits the words of people into those wanted and those that must be absent.
///
/// `beach -dog -"red boat"` wants `beach` and no item with dog or the phrase. What is to be absent
/// is a condition like those of [`Filter`] and belongs to [`Filter::without`], so that it holds for
/// every way of finding, also when nothing else is asked for. A sign without a word stays.
#[must_use]
pub fn split_unwanted(query: &str) -> (String, Vec<String>) {
    crate::full_text::split_unwanted(query)
}

/// What a model reads of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reads {
    /// Its pixels; items without any are none of its business.
    Pixels,
    /// Its words.
    Text,
}

/// Where an item stands among those of all tenants, in the order in which they are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemPlace {
    tenant: TenantId,
    item_key: i64,
}

impl ItemPlace {
    /// Its tenant, and its key there.
    pub(crate) fn parts(self) -> (TenantId, i64) {
        (self.tenant, self.item_key)
    }
}

/// An item that a model has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Whose it is.
    pub tenant: TenantId,
    /// The item.
    pub id: MediaItemId,
    pub(crate) item_key: i64,
}

impl Missing {
    /// Where it stands: what comes later is read after this.
    #[must_use]
    pub fn place(&self) -> ItemPlace {
        ItemPlace {
            tenant: self.tenant,
            item_key: self.item_key,
        }
    }
}

/// How far full text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextDepth {
    /// Hits wanted.
    pub hits: usize,
    /// Items weighed against each other: where more match, the newest `block` of them are ranked
    /// first, then the next `block`.
    pub block: usize,
}

impl TextDepth {
    /// Items to look at: whole blocks.
    pub(crate) fn candidates(self) -> usize {
        let block = self.block.max(1);
        self.hits.div_ceil(block).saturating_mul(block)
    }
}

/// A hit of the full text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextHit {
    /// Item.
    pub item_key: u32,
    /// BM25, higher is better.
    pub score: f32,
}

/// One row of the change log of a vector index.
#[derive(Debug, Clone)]
pub struct VectorChange {
    /// Place in the log.
    pub seq: u64,
    /// Item.
    pub item_key: u32,
    /// f16 little endian; `None` = removed.
    pub vector: Option<Vec<u8>>,
}

/// A vector index that exists in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorSpace {
    /// Owner.
    pub tenant_id: TenantId,
    /// Model key.
    pub model: String,
    /// Dimensions.
    pub dims: usize,
}

/// How far a tenant's items have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Corpus {
    /// Grows with every change a search of the tenant could see.
    pub version: i64,
    /// Key of the newest item; 0 if there is none.
    pub newest_key: u32,
}

/// Changes of one vector index.
#[derive(Debug, Clone, Default)]
pub struct VectorChanges {
    /// In order.
    pub rows: Vec<VectorChange>,
    /// As [`Sequences::swept`], not older than the rows.
    pub swept: u64,
}

/// Where the change log of one vector index ends, and what is gone from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sequences {
    /// Highest that was given out and is of a row that is there, or was; 0 if none.
    pub last: u64,
    /// Newest row that is gone, of a removed vector: whoever has read some, and not as far, has vectors that
    /// nothing takes away any more. 0 if none is.
    pub swept: u64,
}

/// Reads and writes what search needs. Every method is scoped by tenant.
#[async_trait]
pub trait SearchStore: Send + Sync {
    /// How far the tenant's items have come, in one statement; what is read after it is no older.
    async fn corpus(&self, tenant: TenantId) -> Result<Corpus>;

    /// Best items for the words of `query` that match the filter, best first: those with all the
    /// words before those with some.
    ///
    /// Of items with common words only the newest are weighed against each other, see
    /// [`TextDepth`].
    ///
    /// Errors: `NoWords` if nothing in `query` is a word.
    async fn full_text(
        &self,
        tenant: TenantId,
        query: &str,
        filter: &Filter,
        depth: TextDepth,
    ) -> Result<Vec<TextHit>>;

    /// Keys of all items that match the filter, ascending.
    async fn matching_keys(&self, tenant: TenantId, filter: &Filter) -> Result<Vec<u32>>;

    /// Items that match the filter by date of the picture, a page of them.
    async fn newest_keys(
        &self,
        tenant: TenantId,
        filter: &Filter,
        ascending: bool,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<u32>>;

    /// Date of the picture of each of these items, microseconds since the epoch.
    async fn media_times(&self, tenant: TenantId, keys: &[u32]) -> Result<Vec<(u32, i64)>>;

    /// Reads items by key in one statement, in no order.
    async fn items_by_key(&self, tenant: TenantId, keys: &[u32]) -> Result<Vec<MediaItem>>;

    /// Keys of items by id; unknown ids are left out.
    async fn keys_of(
        &self,
        tenant: TenantId,
        ids: &[MediaItemId],
    ) -> Result<Vec<(MediaItemId, u32)>>;

    /// Stores vectors (model key, f16 little endian) of one item; an empty one says that the item
    /// has none and takes it out of the index. Answers the last sequence number, or `None` if there
    /// is no such item.
    async fn put_embeddings(
        &self,
        tenant: TenantId,
        id: MediaItemId,
        vectors: Vec<(String, Vec<u8>)>,
    ) -> Result<Option<u64>>;

    /// Changes of one index after `after`, in order, at most `limit`, and how far rows were gone when they had
    /// been read.
    async fn vector_changes(
        &self,
        tenant: TenantId,
        model: &str,
        after: u64,
        limit: i64,
    ) -> Result<VectorChanges>;

    /// Every index that holds a vector.
    async fn vector_spaces(&self) -> Result<Vec<VectorSpace>>;

    /// How far the log of one index goes.
    async fn sequences(&self, tenant: TenantId, model: &str) -> Result<Sequences>;

    /// Deletes the rows of vectors of one index that were removed at least `age` ago with their items, up to
    /// sequence number `through`; `None` = all. Answers how many.
    async fn sweep_removed(
        &self,
        tenant: TenantId,
        model: &str,
        through: Option<u64>,
        age: Duration,
    ) -> Result<u64>;

    /// Items ready that `model` has not seen, the first `limit` of those `after` a place, of all tenants. Words that a model saw
    /// before the item last changed, as when the model was not in use, count as not seen.
    async fn missing_embeddings(
        &self,
        model: &str,
        reads: Reads,
        after: Option<ItemPlace>,
        limit: i64,
    ) -> Result<Vec<Missing>>;

    /// Items in the full text.
    async fn document_count(&self, tenant: TenantId) -> Result<i64>;
}
