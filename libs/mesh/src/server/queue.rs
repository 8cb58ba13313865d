//! The calls that wait for a place: a short queue for each priority.
//!
//! A queue is there for bursts. One that is never empty serves nobody: everyone waits, and as many
//! are refused as without it. So:
//! - a call waits at most `max_wait`;
//! - a queue that has not been empty for `max_wait` *stands*: its calls then wait at most a quarter
//!   of that, and the newest is served first, because it is the one whose caller still listens;
//! - interactive calls go before background calls; while the interactive queue stands, background
//!   calls are refused at once, those that wait already included;
//! - if there is no room for an interactive call, the newest background call gives way.
//!
//! A queue that was empty once is a burst again (cold start: both are empty).
//!
//! Source: Maurer, "Fail at Scale", ACM Queue 2015 (controlled delay, adaptive LIFO), after
//! Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 2012.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::gate::Flow;
use super::limit::Started;
use crate::priority::Priority;

#[cfg(test)]
mod tests;

/// Why a call was refused; a label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many calls run or wait as may.
    Full,
    /// It waited as long as a call may.
    Late,
    /// It is a background call and interactive ones need the room.
    GaveWay,
    /// It has a stream, and as many are open as may be.
    Streams,
}

impl Refusal {
    pub(crate) const ALL: [Self; 4] = [Self::Full, Self::Late, Self::GaveWay, Self::Streams];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Late => "late",
            Self::GaveWay => "gave_way",
            Self::Streams => "streams",
        }
    }
}

/// What a waiting call is told.
pub(super) type Verdict = Result<Started, Refusal>;

/// A call that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) since: Instant,
    pub(super) flow: Flow,
    pub(super) tell: oneshot::Sender<Verdict>,
}

#[derive(Debug, Default)]
struct Line {
    waiters: VecDeque<Waiter>,
    /// Since when it was never empty.
    busy_since: Option<Instant>,
}

/// Both queues.
#[derive(Debug)]
pub(super) struct Queue {
    max_wait: Duration,
    lines: [Line; Priority::ALL.len()],
    /// Calls told to go since the last look.
    refused: Vec<(Priority, Refusal)>,
}

impl Queue {
    pub(super) fn new(max_wait: Duration) -> Self {
        Self {
            max_wait,
            lines: Default::default(),
            refused: vec![],
        }
    }

    pub(super) fn len(&self, priority: Priority) -> usize {
        self.lines[priority.index()].waiters.len()
    }

    pub(super) fn is_empty(&self, priority: Priority) -> bool {
        self.len(priority) == 0
    }

    /// Returns whether the queue of `priority` stands.
    pub(super) fn stands(&self, priority: Priority, now: Instant) -> bool {
        self.lines[priority.index()]
            .busy_since
            .is_some_and(|since| now >= since + self.max_wait)
    }

    pub(super) fn push(&mut self, priority: Priority, waiter: Waiter) {
        let line = &mut self.lines[priority.index()];
        line.busy_since.get_or_insert(waiter.since);
        line.waiters.push_back(waiter);
    }

    /// Takes the call whose turn it is.
    pub(super) fn pop(&mut self, priority: Priority, now: Instant) -> Option<Waiter> {
        let newest_first = self.stands(priority, now);
        let line = &mut self.lines[priority.index()];
        let waiter = if newest_first {
            line.waiters.pop_back()
        } else {
            line.waiters.pop_front()
        };
        line.note_empty();
        waiter
    }

    /// Refuses the newest background call; returns whether there was one.
    pub(super) fn evict(&mut self) -> bool {
        let line = &mut self.lines[Priority::Background.index()];
        let Some(waiter) = line.waiters.pop_back() else {
            return false;
        };
        line.note_empty();
        self.refuse(Priority::Background, waiter, Refusal::GaveWay);
        true
    }

    /// Forgets the calls whose callers went away.
    pub(super) fn forget_gone(&mut self) {
        for line in &mut self.lines {
            line.waiters.retain(|waiter| !waiter.tell.is_closed());
            line.note_empty();
        }
    }

    /// Refuses every call that has waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        for priority in Priority::ALL {
            let limit = if self.stands(priority, now) {
                self.max_wait / 4
            } else {
                self.max_wait
            };
            // In order of arrival, so the first ones have waited longest.
            while let Some(waiter) = self.lines[priority.index()]
                .waiters
                .pop_front_if(|waiter| now >= waiter.since + limit)
            {
                self.refuse(priority, waiter, Refusal::Late);
            }
            self.lines[priority.index()].note_empty();
        }
        if self.stands(Priority::Interactive, now) {
            while self.evict() {}
        }
    }

    /// Tells a call that was taken out that it may not go in.
    pub(super) fn refuse(&mut self, priority: Priority, waiter: Waiter, why: Refusal) {
        // One whose caller went away meanwhile was not refused.
        if waiter.tell.send(Err(why)).is_ok() {
            self.refused.push((priority, why));
        }
    }

    /// Returns the refusals since the last call, to be counted.
    pub(super) fn take_refused(&mut self) -> impl Iterator<Item = (Priority, Refusal)> {
        self.refused.drain(..)
    }
}

impl Line {
    fn note_empty(&mut self) {
        if self.waiters.is_empty() {
            self.busy_since = None;
        }
    }
}
