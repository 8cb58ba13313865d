//! What is asked, in domain terms.

use mediamesh_imaging::RgbImage;
use mediamesh_proto::{MediaItemId, TenantId};
use mediamesh_store::search::Filter;

/// A valid search.
#[derive(Debug, Clone)]
pub struct Query {
    /// Who asks.
    pub tenant: TenantId,
    /// Words that are wanted, trimmed; empty = none. Those that must be absent are in the filter.
    pub text: String,
    /// Stored items to be near to (positive weight) or far from (negative).
    pub examples: Vec<(MediaItemId, f32)>,
    /// An uploaded picture to be near to.
    pub image: Option<RgbImage>,
    /// What may be answered.
    pub filter: Filter,
    /// Lists to consult.
    pub lists: Lists,
    /// Order of the answer.
    pub order: Order,
    /// Hits wanted.
    pub limit: usize,
    /// Hits to skip.
    pub offset: usize,
    /// Newest item that the first page could see; later pages see no newer one.
    pub newest_key: Option<u32>,
    /// Least score of a hit.
    pub min_score: Option<f32>,
    /// Say how hits were found.
    pub explain: bool,
    /// Canonical bytes of everything above but the image; the same search has the same bytes.
    pub fingerprint: Vec<u8>,
}

impl Query {
    /// Nothing but a filter is set.
    #[must_use]
    pub fn is_filter_only(&self) -> bool {
        self.text.is_empty() && self.examples.is_empty() && self.image.is_none()
    }

    /// Depth down to which hits are needed.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.offset + self.limit
    }
}

/// Lists to consult.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lists {
    /// Full text.
    pub full_text: bool,
    /// Vectors.
    pub vectors: bool,
}

/// Order of the answer within the relevant set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Best first.
    Relevance,
    /// By date of the picture.
    Newest,
    /// By date of the picture.
    Oldest,
}
