//! Exact answers: every candidate is scored.

use std::ops::Range;

use numkong::f16;
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::arena::Arena;
use crate::kernel::{Best, score};
use crate::types::Filter;

/// Candidates per parallel task: enough work to be worth handing out.
const TASK_CANDIDATES: usize = 4_096;

/// Scores every live slot of `slots` that passes the filter.
pub(crate) fn slots(
    pool: &ThreadPool,
    arena: &Arena,
    query: &[f16],
    k: usize,
    filter: Filter<'_>,
    slots: Range<usize>,
) -> Best {
    let part = |range: Range<usize>| {
        let mut best = Best::new(k);
        for slot in range {
            if let Some(key) = arena.live_key(slot)
                && allows(filter, key)
            {
                best.offer(key, score(query, arena.vector(slot)));
            }
        }
        best
    };
    if slots.len() <= TASK_CANDIDATES * 2 {
        return part(slots);
    }
    let tasks = slots.len().div_ceil(TASK_CANDIDATES);
    let (start, end) = (slots.start, slots.end);
    pool.install(|| {
        (0..tasks)
            .into_par_iter()
            .map(|task| {
                let first = start + task * TASK_CANDIDATES;
                part(first..(first + TASK_CANDIDATES).min(end))
            })
            .reduce(|| Best::new(k), Best::merge)
    })
}

/// Exact best `k` of all items that pass the filter; `matching` is how many those are.
pub(crate) fn exact(
    pool: &ThreadPool,
    arena: &Arena,
    query: &[f16],
    k: usize,
    filter: Filter<'_>,
    matching: u64,
) -> Best {
    let Filter::Only(allowed) = filter else {
        return slots(pool, arena, query, k, filter, 0..arena.slots());
    };
    // Above a quarter, walking memory in order and asking the filter is faster than jumping.
    if matching as usize > arena.slots() / 4 {
        return slots(pool, arena, query, k, filter, 0..arena.slots());
    }
    let part = |keys: &[u32]| {
        let mut best = Best::new(k);
        for &key in keys {
            if let Some(slot) = arena.slot(key) {
                best.offer(key, score(query, arena.vector(slot)));
            }
        }
        best
    };
    let keys: Vec<u32> = (arena.live_keys() & allowed).iter().collect();
    if keys.len() <= TASK_CANDIDATES * 2 {
        return part(&keys);
    }
    pool.install(|| {
        keys.par_chunks(TASK_CANDIDATES)
            .map(part)
            .reduce(|| Best::new(k), Best::merge)
    })
}

/// Whether the filter lets `key` through.
#[inline]
pub(crate) fn allows(filter: Filter<'_>, key: u32) -> bool {
    match filter {
        Filter::All => true,
        Filter::Only(allowed) => allowed.contains(key),
    }
}
