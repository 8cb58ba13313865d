//! How often those who watch jobs look at them: all of them together no more often than the database
//! bears beside its work, so the more there are, the less often each looks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Shortest time between two looks at one job.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Time between two looks of all watchers of this process: a hundred statements a second.
const APART: Duration = Duration::from_millis(10);
/// Longest time between two looks, however many watch, and how long a watcher hears nothing: well below
/// the silence after which streams are given up.
pub(super) const SILENCE: Duration = Duration::from_secs(15);

/// Counts who watches; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watchers(Arc<AtomicUsize>);

/// One who watches, until it is dropped.
#[derive(Debug)]
pub(super) struct Watcher(Watchers);

impl Watchers {
    pub(super) fn join(&self) -> Watcher {
        self.0.fetch_add(1, Ordering::Relaxed);
        Watcher(self.clone())
    }
}

impl Watcher {
    /// Time until the next look.
    pub(super) fn pause(&self) -> Duration {
        let watchers = u32::try_from(self.0.0.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        APART.saturating_mul(watchers).clamp(LOOK_EVERY, SILENCE)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_watchers_look_no_more_often_together_than_a_few() {
        let all = Watchers::default();
        let first = all.join();
        assert_eq!(first.pause(), LOOK_EVERY);
        let others: Vec<Watcher> = (0..99).map(|_| all.join()).collect();
        assert_eq!(first.pause(), Duration::from_secs(1));
        let more: Vec<Watcher> = (0..9_900).map(|_| all.join()).collect();
        assert_eq!(first.pause(), SILENCE);
        drop((others, more));
        assert_eq!(first.pause(), LOOK_EVERY);
    }
}
