//! The way into one service: who may go in, who waits, who is refused.
//!
//! | a call | from | to | counts against |
//! |---|---|---|---|
//! | waits | arrival | admission | `max_in_flight` |
//! | works | admission | head of the response | the adaptive limit, `max_running`, `max_in_flight` |
//! | is read | head | end of the response | `max_running`, `max_in_flight` |
//! | streams | head | end of the response | `max_streams` |
//!
//! A call of a method with a stream streams, one whose request is a stream from its admission on: how
//! long it takes is up to its client. So streams have a bound of their own, which counts those too that
//! work and will stream: clients that read slowly may keep each other out, never the other calls. One that
//! is too many is refused, not kept in the way of others. Background calls work in at most their part of the limit, and go in only when no
//! interactive call waits.
//!
//! One mutex for each service, held for some tens of nanoseconds and never across an `await`.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::limit::{AdaptiveLimit, Outcome, Started};
use super::load::{LoadMetrics, ServiceLoad};
use super::queue::{Queue, Refusal, Verdict, Waiter};
use crate::method::MethodKind;
use crate::policy::Limits;
use crate::priority::Priority;

#[cfg(test)]
mod tests;

/// The gate of one service.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) name: &'static str,
    limits: Limits,
    state: Mutex<State>,
    metrics: LoadMetrics,
}

#[derive(Debug)]
struct State {
    limit: AdaptiveLimit,
    queue: Queue,
    /// Calls that work, by priority.
    working: [usize; Priority::ALL.len()],
    /// Unary calls whose answer is being read.
    read: usize,
    streaming: usize,
    /// Calls that work and whose answer will be a stream.
    opening: usize,
    refused: u64,
}

/// What of a call is a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Nothing.
    Unary,
    /// The answer.
    Answers,
    /// The request, and maybe the answer.
    Sends,
}

impl Flow {
    pub(crate) const fn of(kind: MethodKind) -> Self {
        match kind {
            MethodKind::Unary => Self::Unary,
            MethodKind::ServerStream => Self::Answers,
            MethodKind::ClientStream | MethodKind::Bidi => Self::Sends,
        }
    }
}

/// What a call says of itself at the gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) priority: Priority,
    /// Index of its method within its service.
    pub(crate) method: usize,
    pub(crate) flow: Flow,
}

impl Gate {
    pub(crate) fn new(
        name: &'static str,
        limits: Limits,
        methods: usize,
        metrics: LoadMetrics,
    ) -> Self {
        let state = State {
            limit: AdaptiveLimit::new(&limits, methods, Instant::now()),
            queue: Queue::new(limits.max_wait),
            working: Default::default(),
            read: 0,
            streaming: 0,
            opening: 0,
            refused: 0,
        };
        metrics.limit.set(state.limit.current() as i64);
        Self {
            name,
            limits,
            state: Mutex::new(state),
            metrics,
        }
    }

    /// Waits for a place, not for long.
    ///
    /// Errors: why there is none. Cancel: the place in the queue is given up.
    pub(crate) async fn enter(self: &Arc<Self>, call: Call) -> Result<Place, Refusal> {
        let now = Instant::now();
        let verdict = match self.arrive(call, now) {
            Arrival::Told(verdict) => verdict,
            Arrival::Waits(verdict) => {
                let mut waiting = Waiting {
                    gate: self,
                    call,
                    verdict,
                };
                waiting.wait(now + self.limits.max_wait).await
            }
        };
        verdict.map(|started| Place::new(self, call, started))
    }

    fn arrive(&self, call: Call, now: Instant) -> Arrival {
        let Call { priority, flow, .. } = call;
        let mut state = self.state.lock();
        state.queue.expire(now);
        state.admit_waiting(&self.limits, now);
        let too_many = !state.may_stream(&self.limits, flow);
        let arrival = if !too_many && self.may_enter(&state, priority) {
            Arrival::Told(Ok(state.admit(priority, flow, now)))
        } else if let Err(refusal) = match too_many {
            true => Err(Refusal::Streams),
            false => self.make_room(&mut state, priority, now),
        } {
            state.refused += 1;
            self.metrics.refused(priority, refusal);
            Arrival::Told(Err(refusal))
        } else {
            let (tell, verdict) = oneshot::channel();
            let waiter = Waiter {
                since: now,
                flow,
                tell,
            };
            state.queue.push(priority, waiter);
            Arrival::Waits(verdict)
        };
        self.publish(&mut state);
        arrival
    }

    /// Returns whether a call may go past the queue.
    fn may_enter(&self, state: &State, priority: Priority) -> bool {
        state.queue.is_empty(Priority::Interactive)
            && state.queue.is_empty(priority)
            && state.has_place(&self.limits, priority)
    }

    /// Makes room for a call to wait.
    fn make_room(
        &self,
        state: &mut State,
        priority: Priority,
        now: Instant,
    ) -> Result<(), Refusal> {
        if state.working() + state.read < self.limits.max_running {
            state.limit.reached();
        }
        let interactive = priority == Priority::Interactive;
        if !interactive && state.queue.stands(Priority::Interactive, now) {
            return Err(Refusal::GaveWay);
        }
        if state.in_flight() >= self.limits.max_in_flight {
            state.queue.forget_gone();
        }
        let full = state.in_flight() >= self.limits.max_in_flight;
        if full && !(interactive && state.queue.evict()) {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Notes that a call's response has begun, or that the call has ended before that.
    fn head(&self, call: Call, started: Started, outcome: Outcome, goes_on: bool) {
        let now = Instant::now();
        let mut state = self.state.lock();
        if call.flow != Flow::Sends {
            state.give_back(call.priority, call.flow);
            let working = state.working();
            state.limit.end(now, started, call.method, outcome, working);
            *state.after_head(call.flow) += usize::from(goes_on);
        } else if !goes_on {
            state.give_back(call.priority, call.flow);
        }
        self.advance(&mut state, now);
    }

    /// Notes that a response has ended that had begun.
    fn end(&self, call: Call) {
        let now = Instant::now();
        let mut state = self.state.lock();
        *state.after_head(call.flow) -= 1;
        self.advance(&mut state, now);
    }

    /// Gives free places to those who wait, and refuses those who have waited too long.
    fn advance(&self, state: &mut State, now: Instant) {
        state.queue.expire(now);
        state.admit_waiting(&self.limits, now);
        self.publish(state);
    }

    /// Counts what changed.
    fn publish(&self, state: &mut State) {
        for (priority, refusal) in state.queue.take_refused() {
            state.refused += 1;
            self.metrics.refused(priority, refusal);
        }
        self.metrics.limit.set(state.limit.current() as i64);
        let streaming = state.read + state.streaming;
        self.metrics.streaming.set(streaming as i64);
        for priority in Priority::ALL {
            let of = &self.metrics.of[priority.index()];
            of.working.set(state.working[priority.index()] as i64);
            of.waiting.set(state.queue.len(priority) as i64);
        }
    }

    /// Returns the state of now.
    pub(crate) fn load(&self) -> ServiceLoad {
        let state = self.state.lock();
        ServiceLoad {
            service: self.name,
            limit: state.limit.current(),
            min_limit: self.limits.min_running,
            max_limit: self.limits.max_running,
            max_in_flight: self.limits.max_in_flight,
            max_streams: self.limits.max_streams,
            working: state.working(),
            working_in_background: state.working[Priority::Background.index()],
            streaming: state.read + state.streaming,
            waiting: state.queue.len(Priority::Interactive),
            waiting_in_background: state.queue.len(Priority::Background),
            refused: state.refused,
        }
    }
}

impl State {
    fn working(&self) -> usize {
        self.working.iter().sum()
    }

    /// Where a call counts once its response has begun.
    fn after_head(&mut self, flow: Flow) -> &mut usize {
        match flow {
            Flow::Unary => &mut self.read,
            Flow::Answers | Flow::Sends => &mut self.streaming,
        }
    }

    fn in_flight(&self) -> usize {
        let waiting: usize = Priority::ALL
            .map(|priority| self.queue.len(priority))
            .iter()
            .sum();
        self.working() + self.read + waiting
    }

    /// Returns whether a call of this flow keeps to the bound of streams.
    fn may_stream(&self, limits: &Limits, flow: Flow) -> bool {
        flow == Flow::Unary || self.streaming + self.opening < limits.max_streams
    }

    fn has_place(&self, limits: &Limits, priority: Priority) -> bool {
        let limit = self.limit.current();
        let free = self.working() < limit && self.working() + self.read < limits.max_running;
        free && match priority {
            Priority::Interactive => true,
            Priority::Background => {
                let part = limit * usize::from(limits.background_percent) / 100;
                self.working[priority.index()] < part.max(1)
            }
        }
    }

    fn admit(&mut self, priority: Priority, flow: Flow, now: Instant) -> Started {
        if flow == Flow::Sends {
            self.streaming += 1;
        } else {
            self.working[priority.index()] += 1;
            self.opening += usize::from(flow == Flow::Answers);
        }
        self.limit.start(now, self.working())
    }

    fn admit_waiting(&mut self, limits: &Limits, now: Instant) {
        for priority in Priority::ALL {
            while self.has_place(limits, priority)
                && let Some(waiter) = self.queue.pop(priority, now)
            {
                if !self.may_stream(limits, waiter.flow) {
                    self.queue.refuse(priority, waiter, Refusal::Streams);
                    continue;
                }
                let started = self.admit(priority, waiter.flow, now);
                if waiter.tell.send(Ok(started)).is_err() {
                    // Its caller has gone: the place is free again.
                    self.give_back(priority, waiter.flow);
                }
            }
            if !self.queue.is_empty(priority) {
                return;
            }
        }
    }

    fn give_back(&mut self, priority: Priority, flow: Flow) {
        if flow == Flow::Sends {
            self.streaming -= 1;
        } else {
            self.working[priority.index()] -= 1;
            self.opening -= usize::from(flow == Flow::Answers);
        }
    }
}

enum Arrival {
    Told(Verdict),
    Waits(oneshot::Receiver<Verdict>),
}

/// A call in the queue.
struct Waiting<'a> {
    gate: &'a Gate,
    call: Call,
    verdict: oneshot::Receiver<Verdict>,
}

impl Waiting<'_> {
    async fn wait(&mut self, until: Instant) -> Verdict {
        if let Ok(told) = tokio::time::timeout_at(until, &mut self.verdict).await {
            return told.unwrap_or(Err(Refusal::Late));
        }
        // Nothing has ended for so long; the gate says so to everyone who is late.
        let now = Instant::now();
        self.gate.advance(&mut self.gate.state.lock(), now);
        self.verdict.try_recv().unwrap_or(Err(Refusal::Late))
    }
}

impl Drop for Waiting<'_> {
    /// A place given at the moment its caller went away is given back.
    fn drop(&mut self) {
        self.verdict.close();
        if let Ok(Ok(_)) = self.verdict.try_recv() {
            let mut state = self.gate.state.lock();
            state.give_back(self.call.priority, self.call.flow);
            self.gate.advance(&mut state, Instant::now());
        }
    }
}

/// The right to run; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    call: Call,
    /// `None` once the head of the response was seen.
    working: Option<Started>,
}

impl Place {
    fn new(gate: &Arc<Gate>, call: Call, started: Started) -> Self {
        Self {
            gate: Arc::clone(gate),
            call,
            working: Some(started),
        }
    }

    /// Notes that the response has begun: from now on it is up to its reader.
    pub(crate) fn head(&mut self) {
        if let Some(started) = self.working.take() {
            self.gate.head(self.call, started, Outcome::Answered, true);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.working.take() {
            // Dropped, panicked, or answered with an error and no body.
            Some(started) => self.gate.head(self.call, started, Outcome::Failed, false),
            None => self.gate.end(self.call),
        }
    }
}
