//! The background thread that brings the graph up to date.
//!
//! It copies a batch of vectors under the arena's read lock, lets go, then inserts. A first graph
//! is built aside and installed when complete; later batches go in under the graph's write lock,
//! which searches only ever *try* to take: meanwhile they scan.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use numkong::f16;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::arena::Arena;
use crate::graph::{Graph, GraphError};
use crate::options::IndexOptions;

/// Slots per step while building aside; bounds the copy and how long stopping takes.
const ASIDE_BATCH: usize = 1_024;
/// Slots per step while searches are held off the graph.
const INSTALLED_BATCH: usize = 128;

/// What the index, its searches and its builder share.
pub(crate) struct Shared {
    pub(crate) options: IndexOptions,
    pub(crate) state: RwLock<State>,
    pub(crate) graph: RwLock<Option<Graph>>,
    signal: Mutex<Signal>,
    changed: Condvar,
    stop: AtomicBool,
}

/// The vectors and the last change they contain, always read and written together.
pub(crate) struct State {
    pub(crate) arena: Arena,
    pub(crate) applied_seq: u64,
}

impl State {
    pub(crate) fn empty(dims: usize) -> Self {
        Self {
            arena: Arena::new(dims),
            applied_seq: 0,
        }
    }
}

struct Signal {
    /// Something was applied since the builder last looked.
    work: bool,
    /// The builder has nothing to do, or gave up.
    idle: bool,
}

enum Step {
    More,
    Done,
}

impl Shared {
    pub(crate) fn new(options: IndexOptions, state: State, graph: Option<Graph>) -> Self {
        Self {
            options,
            state: RwLock::new(state),
            graph: RwLock::new(graph),
            signal: Mutex::new(Signal {
                work: true,
                idle: false,
            }),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        }
    }

    /// Tells the builder that there may be something to do.
    pub(crate) fn wake(&self) {
        let mut signal = self.signal.lock();
        signal.work = true;
        signal.idle = false;
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Waits until the builder has nothing left to do; false if `timeout` passed first.
    pub(crate) fn wait_idle(&self, timeout: Duration) -> bool {
        let mut signal = self.signal.lock();
        self.changed
            .wait_while_for(&mut signal, |signal| !signal.idle, timeout);
        signal.idle
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Runs until [`Shared::stop`].
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut aside = None;
    loop {
        {
            let mut signal = shared.signal.lock();
            while !signal.work && !shared.stopping() {
                signal.idle = true;
                shared.changed.notify_all();
                shared.changed.wait(&mut signal);
            }
            signal.work = false;
        }
        loop {
            if shared.stopping() {
                return;
            }
            match step(shared, &mut aside) {
                Ok(Step::More) => {}
                Ok(Step::Done) => break,
                Err(error) => {
                    // Searches go on by scanning; the next change tries again from nothing.
                    tracing::warn!(%error, "vector graph dropped");
                    aside = None;
                    *shared.graph.write() = None;
                    break;
                }
            }
        }
    }
}

fn step(shared: &Shared, aside: &mut Option<Graph>) -> Result<Step, GraphError> {
    let options = &shared.options;
    let position = |graph: &Option<Graph>| graph.as_ref().map(|g| (g.epoch(), g.covered()));
    let installed = position(&shared.graph.read());

    let state = shared.state.read();
    let (epoch, slots, items) = (state.arena.epoch(), state.arena.slots(), state.arena.len());
    // Half, so that an index at the threshold does not build and drop in turns.
    let wanted = items >= options.graph_min_items
        || installed.is_some() && items >= options.graph_min_items / 2;
    let current = installed.filter(|&(of, _)| of == epoch);
    if !wanted || (installed.is_some() && current.is_none()) {
        drop(state);
        *aside = None;
        if installed.is_some() {
            *shared.graph.write() = None;
            return Ok(Step::More);
        }
        return Ok(Step::Done);
    }
    if let Some((_, covered)) = current {
        if covered == slots {
            return Ok(Step::Done);
        }
        let end = slots.min(covered + INSTALLED_BATCH);
        let rows = copy(&state.arena, covered, end);
        drop(state);
        if let Some(graph) = shared.graph.write().as_mut() {
            graph.extend(&rows, end, build_threads(options))?;
        }
        return Ok(Step::More);
    }

    let covered = position(aside)
        .filter(|&(of, _)| of == epoch)
        .map_or(0, |(_, covered)| covered);
    let end = slots.min(covered + ASIDE_BATCH);
    let rows = copy(&state.arena, covered, end);
    drop(state);
    let mut graph = match aside.take() {
        Some(graph) if graph.epoch() == epoch => graph,
        _ => Graph::new(options, epoch)?,
    };
    graph.extend(&rows, end, build_threads(options))?;
    if end == slots {
        tracing::debug!(slots, "vector graph is ready");
        *shared.graph.write() = Some(graph);
    } else {
        *aside = Some(graph);
    }
    Ok(Step::More)
}

fn copy(arena: &Arena, start: usize, end: usize) -> Vec<(usize, Vec<f16>)> {
    (start..end)
        .filter(|&slot| arena.live_key(slot).is_some())
        .map(|slot| (slot, arena.vector(slot).to_vec()))
        .collect()
}

/// Half of the threads, so that a rebuild leaves room for searches.
fn build_threads(options: &IndexOptions) -> usize {
    (options.threads / 2).max(1)
}
