//! Scan or graph? Decided by the size of the matching set, which is known before the search.

use crate::options::IndexOptions;
use crate::types::{Filter, Plan};

/// Results beyond this many are scanned for: the graph would have to keep as many candidates.
const GRAPH_MAX_K: usize = 256;

/// The sizes a plan depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Items that pass the filter.
    pub(crate) matching: usize,
    /// All items.
    pub(crate) items: usize,
    /// Slots the graph covers, or `None` if there is no usable graph.
    pub(crate) covered: Option<usize>,
    /// All slots.
    pub(crate) slots: usize,
}

/// Chooses the plan for one search.
pub(crate) fn choose(options: &IndexOptions, sizes: Sizes, k: usize, filter: Filter<'_>) -> Plan {
    let Some(covered) = sizes.covered else {
        return Plan::ExactScan;
    };
    let tail = sizes.slots.saturating_sub(covered);
    if sizes.matching <= options.exact_max_candidates
        || tail > options.exact_max_candidates
        || k > GRAPH_MAX_K
    {
        return Plan::ExactScan;
    }
    match filter {
        Filter::All => Plan::Graph,
        Filter::Only(_) if sizes.matching == sizes.items => Plan::Graph,
        Filter::Only(_)
            if sizes.matching * 100 >= sizes.items * options.graph_min_selectivity_percent =>
        {
            Plan::GraphFiltered
        }
        Filter::Only(_) => Plan::ExactScan,
    }
}

#[cfg(test)]
mod tests {
    use roaring::RoaringBitmap;

    use super::*;

    fn sizes(matching: usize, covered: Option<usize>) -> Sizes {
        Sizes {
            matching,
            items: 100_000,
            covered,
            slots: 100_000,
        }
    }

    #[test]
    fn small_sets_lagging_graphs_and_long_lists_are_scanned() {
        let options = IndexOptions::new(4);
        let all = Filter::All;
        assert_eq!(
            choose(&options, sizes(100_000, Some(100_000)), 10, all),
            Plan::Graph
        );
        assert_eq!(
            choose(&options, sizes(10_000, Some(100_000)), 10, all),
            Plan::ExactScan
        );
        assert_eq!(
            choose(&options, sizes(100_000, Some(50_000)), 10, all),
            Plan::ExactScan
        );
        assert_eq!(
            choose(&options, sizes(100_000, Some(100_000)), 257, all),
            Plan::ExactScan
        );
        assert_eq!(
            choose(&options, sizes(100_000, None), 10, all),
            Plan::ExactScan
        );
    }

    #[test]
    fn selective_filters_are_scanned_and_loose_ones_walk_the_graph() {
        let options = IndexOptions::new(4);
        let keys = RoaringBitmap::new();
        let only = Filter::Only(&keys);
        assert_eq!(
            choose(&options, sizes(15_000, Some(100_000)), 10, only),
            Plan::ExactScan
        );
        assert_eq!(
            choose(&options, sizes(50_000, Some(100_000)), 10, only),
            Plan::GraphFiltered
        );
        assert_eq!(
            choose(&options, sizes(100_000, Some(100_000)), 10, only),
            Plan::Graph
        );
    }
}
