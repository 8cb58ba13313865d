//! Settings of an index and why each default is what it is.

use std::thread;

use crate::error::Error;

/// Settings of an index. Only `dims` is part of what is stored; the rest may change at any start.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// Dimensions of every vector, from the model.
    pub dims: usize,
    /// Links per graph node (HNSW `M`). 16 is the usual middle for 384 to 768 dimensions.
    pub connectivity: usize,
    /// Candidates kept while inserting (HNSW `ef_construction`). 128 is the library's own
    /// default; not tuned here.
    pub ef_construction: usize,
    /// Candidates kept while searching (HNSW `ef`). 512: at 256, queries from clusters the index
    /// does not hold fell to recall@10 0.980 among 30,000 items.
    pub ef_search: usize,
    /// Matching sets up to this size are always scanned, which is exact. An estimate from 30,000
    /// items, see `docs/performance/vectors.md`. Also the longest stretch of vectors not yet in the graph that is scanned beside
    /// it.
    pub exact_max_candidates: usize,
    /// Filters that match less than this share of the items, in percent, are always scanned: the
    /// graph walks through `1 / share` nodes for each match it keeps.
    pub graph_min_selectivity_percent: usize,
    /// No graph is built below this many items: scanning them all is a few
    /// milliseconds by estimate, and the graph would double the memory.
    pub graph_min_items: usize,
    /// Threads for large scans; the graph is built by half of them, at least one.
    pub threads: usize,
}

impl IndexOptions {
    /// Default settings for vectors of `dims` dimensions.
    pub fn new(dims: usize) -> Self {
        Self {
            dims,
            connectivity: 16,
            ef_construction: 128,
            ef_search: 512,
            exact_max_candidates: 10_000,
            graph_min_selectivity_percent: 20,
            graph_min_items: 20_000,
            threads: thread::available_parallelism()
                .map_or(2, usize::from)
                .min(8),
        }
    }

    /// Refuses settings the index cannot work with.
    ///
    /// Errors: `InvalidOption` for the first field out of range.
    pub fn validate(&self) -> Result<(), Error> {
        for (option, value, min, max) in [
            ("dims", self.dims, 1, 16_384),
            ("connectivity", self.connectivity, 2, 256),
            ("ef_construction", self.ef_construction, 8, 4_096),
            ("ef_search", self.ef_search, 8, 4_096),
            (
                "graph_min_selectivity_percent",
                self.graph_min_selectivity_percent,
                0,
                100,
            ),
            ("threads", self.threads, 1, 256),
        ] {
            if !(min..=max).contains(&value) {
                return Err(Error::InvalidOption {
                    option,
                    value,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}
