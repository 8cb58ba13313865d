//! How many calls of a service may work at once, found from their latency.
//!
//! # What is measured
//! A call *works* from its admission to the head of its response. Its latency is compared with the
//! *baseline* of its method, the latency under light load, as a quotient; the geometric mean over
//! all calls of a window is the window's *ratio*. 1 means no queue inside the service, 2 that a
//! call waits as long as it works. By method, because a ratio over a mix of cheap and dear methods
//! would follow the mix. Only calls admitted in the window count: others felt another limit. A call
//! that failed or was dropped says only that success would have taken longer than that, so it
//! counts if it was slower than the baseline. What happens after the head (streams) never counts.
//!
//! # States
//! - **Start** (cold start, from `initial_running`): each window in which the limit was reached (a
//!   call found no place) at a ratio up to `START_RATIO` doubles the limit. A greater ratio with at
//!   least half of it used ends it: Probe.
//! - **Steady**: each window sets `limit = limit * gradient + sqrt(limit)`, where
//!   `gradient = TOLERANCE / ratio`, held in [0.5, 1]. The root is room for a queue, and makes the
//!   limit grow while latency allows. It is raised only if it was reached, and lowered only if at
//!   least half of it was used: otherwise the latency is not of its making.
//! - **Probe**: is the baseline still true? The limit is a quarter until the calls admitted before
//!   have left and `PROBE_SAMPLES` later ones were measured; they are the baseline. Then the limit
//!   is what it was: Steady. It happens when the limit was reached and `PROBE_INTERVAL` has passed
//!   (`PROBE_AGAIN` if the last probe moved the baseline, or the limit fell twice by half: perhaps
//!   not load has made the calls slow); for at most a fiftieth of the time, or a fifth while probes
//!   move the baseline.
//!
//! Between probes the baseline follows windows of light load (at most a quarter of the limit in
//! use) both ways, and any other only downwards.
//!
//! With a service of `p` servers the limit settles near `TOLERANCE * p + sqrt(limit)`: all are
//! busy, and a call takes two to three times its time alone. A limit whose bounds are equal is
//! fixed, and measures nothing.
//!
//! Time is passed in and there is no task: states change when a call starts or ends.
//!
//! Source: Envoy, adaptive concurrency filter, gradient controller (gradient, headroom, periodic
//! measurement of the ideal latency under a low limit); Netflix, concurrency-limits, `GradientLimit`
//! (no change while less than half the limit is used).

use std::time::Duration;

use tokio::time::Instant;

use crate::policy::Limits;

#[cfg(test)]
mod tests;

/// Ratio up to which the limit is not lowered: half of the time may be waiting.
const TOLERANCE: f64 = 2.0;
/// Ratio that ends the doubling: a queue has begun to form.
const START_RATIO: f64 = 1.5;
/// Least time of a window: long enough to smooth a burst, short enough to react in a second.
const MIN_WINDOW: Duration = Duration::from_millis(100);
/// Longest time a window waits for slow calls to be in it.
const MAX_WINDOW: Duration = Duration::from_secs(2);
/// A window lasts this many mean latencies, so that slow calls are in it as well as fast ones.
const WINDOW_LATENCIES: f64 = 3.0;
/// Least calls of a window: below it the mean is noise.
const MIN_SAMPLES: u32 = 10;
/// Calls that a probe measures: their mean is within about a tenth for steady services.
const PROBE_SAMPLES: u32 = 16;
/// Time between probes: at less than 2 % of the time spent probing.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Time to the next probe when the last one moved the baseline: it may have further to go.
const PROBE_AGAIN: Duration = Duration::from_secs(1);
/// Probes may take this part of the time.
const PROBE_PART: u32 = 50;
/// Part of the time for probes while they move the baseline.
const PROBE_AGAIN_PART: u32 = 5;
/// A probe that moved the baseline by more than this factor is soon repeated.
const PROBE_MOVED: f64 = 1.2;
/// Calls that started before and do not end (long polls) hold a probe up no longer than this.
const MAX_DRAIN: Duration = Duration::from_secs(1);
/// A probe that was not given enough calls ends after this.
const MAX_MEASURE: Duration = Duration::from_secs(2);
/// What a baseline counts for, in calls, against those of a window.
const WINDOW_WEIGHT: f64 = 32.0;
/// What a baseline counts for, in calls, against those of a probe.
const PROBE_WEIGHT: f64 = 4.0;

/// What a call must bring back when it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    at: Instant,
    window: u64,
}

/// How a call came to its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It succeeded, or its response has begun.
    Answered,
    /// It failed or was dropped.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Start,
    Steady {
        /// Windows in a row that halved the limit.
        halved: u32,
    },
    Probe {
        since: Instant,
        /// When the calls from before had left.
        measuring: Option<Instant>,
    },
}

/// Logarithms of latencies in seconds: their mean is geometric, which one slow call cannot spoil.
#[derive(Debug, Clone, Copy, Default)]
struct Samples {
    sum: f64,
    count: u32,
}

impl Samples {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn mean(self) -> f64 {
        self.sum / f64::from(self.count)
    }
}

#[derive(Debug)]
struct Window {
    number: u64,
    since: Instant,
    /// Most calls that worked at once.
    peak: usize,
    /// Whether a call found no place.
    reached: bool,
    /// Latency over baseline, of methods that have one.
    ratios: Samples,
    /// Mean latency, seconds.
    latency: f64,
}

#[derive(Debug, Default)]
struct Method {
    /// Logarithm of the latency under light load; `None` before it was measured.
    baseline: Option<f64>,
    /// Of the current window.
    samples: Samples,
}

/// The state machine of this module's specification.
#[derive(Debug)]
pub(crate) struct AdaptiveLimit {
    min: f64,
    max: f64,
    limit: f64,
    state: State,
    window: Window,
    methods: Vec<Method>,
    next_probe: Instant,
    /// Earliest moment of the next probe, whatever asks for it.
    probe_allowed: Instant,
}

impl AdaptiveLimit {
    /// Returns a limit for a service of `methods` methods.
    pub(crate) fn new(limits: &Limits, methods: usize, now: Instant) -> Self {
        let window = Window {
            number: 0,
            since: now,
            peak: 0,
            reached: false,
            ratios: Samples::default(),
            latency: 0.0,
        };
        Self {
            min: limits.min_running as f64,
            max: limits.max_running as f64,
            limit: limits.initial_running as f64,
            state: State::Start,
            window,
            methods: std::iter::repeat_with(Method::default)
                .take(methods)
                .collect(),
            next_probe: now,
            probe_allowed: now,
        }
    }

    /// Returns how many calls may work now.
    pub(crate) fn current(&self) -> usize {
        let limit = match self.state {
            State::Probe { .. } => self.limit / 4.0,
            State::Start | State::Steady { .. } => self.limit,
        };
        (limit as usize).max(1)
    }

    fn is_fixed(&self) -> bool {
        self.min >= self.max
    }

    /// Notes that a call starts; `working` includes it.
    pub(crate) fn start(&mut self, now: Instant, working: usize) -> Started {
        self.window.peak = self.window.peak.max(working);
        Started {
            at: now,
            window: self.window.number,
        }
    }

    /// Notes that a call found no place.
    pub(crate) fn reached(&mut self) {
        self.window.reached = true;
    }

    /// Notes that a call ends; `working` no longer includes it.
    pub(crate) fn end(
        &mut self,
        now: Instant,
        started: Started,
        method: usize,
        outcome: Outcome,
        working: usize,
    ) {
        if self.is_fixed() {
            return;
        }
        if started.window == self.window.number {
            self.sample(now.saturating_duration_since(started.at), method, outcome);
        }
        match self.state {
            State::Start | State::Steady { .. } => {
                if self.window_is_full(now) {
                    self.adjust(now);
                }
            }
            State::Probe {
                since,
                measuring: None,
            } => {
                if working < self.current() || now >= since + MAX_DRAIN {
                    self.state = State::Probe {
                        since,
                        measuring: Some(now),
                    };
                    self.open_window(now);
                }
            }
            State::Probe {
                since,
                measuring: Some(measuring),
            } => {
                let enough = self.samples() >= PROBE_SAMPLES;
                if enough || now >= measuring + MAX_MEASURE {
                    self.end_probe(now, since);
                }
            }
        }
    }

    fn sample(&mut self, latency: Duration, method: usize, outcome: Outcome) {
        let Some(method) = self.methods.get_mut(method) else {
            return;
        };
        // A clock that stood still would make the logarithm infinite.
        let seconds = latency.as_secs_f64().max(1e-6);
        let value = seconds.ln();
        if outcome == Outcome::Failed && method.baseline.is_none_or(|baseline| value <= baseline) {
            return;
        }
        method.samples.add(value);
        if let Some(baseline) = method.baseline {
            self.window.ratios.add(value - baseline);
        }
        let count = f64::from(self.methods.iter().map(|m| m.samples.count).sum::<u32>());
        self.window.latency += (seconds - self.window.latency) / count;
    }

    fn samples(&self) -> u32 {
        self.methods.iter().map(|method| method.samples.count).sum()
    }

    fn window_is_full(&self, now: Instant) -> bool {
        let least = (self.window.latency * WINDOW_LATENCIES)
            .clamp(MIN_WINDOW.as_secs_f64(), MAX_WINDOW.as_secs_f64());
        let lasted = now.saturating_duration_since(self.window.since);
        lasted.as_secs_f64() >= least && self.samples() >= MIN_SAMPLES
    }

    fn open_window(&mut self, now: Instant) {
        for method in &mut self.methods {
            method.samples = Samples::default();
        }
        self.window = Window {
            number: self.window.number + 1,
            since: now,
            peak: 0,
            reached: false,
            ratios: Samples::default(),
            latency: 0.0,
        };
    }

    /// Ends a window outside of probes.
    fn adjust(&mut self, now: Instant) {
        let ratio = self.ratio();
        let used = self.window.peak as f64;
        let reached = self.window.reached || used >= self.limit.floor();
        let pressed = reached || used >= self.limit / 2.0;
        self.learn(WINDOW_WEIGHT, used <= self.limit / 4.0);
        match self.state {
            State::Start if pressed && ratio > START_RATIO => self.begin_probe(now),
            State::Start if reached => self.set(self.limit * 2.0),
            State::Start | State::Probe { .. } => {}
            State::Steady { halved } => {
                let gradient = (TOLERANCE / ratio).clamp(0.5, 1.0);
                let target = self.limit * gradient + self.limit.sqrt();
                let raise = target > self.limit;
                if (raise && reached) || (!raise && pressed) {
                    self.set(target);
                }
                let halved = if gradient <= 0.5 && reached {
                    halved + 1
                } else {
                    0
                };
                self.state = State::Steady { halved };
                let wanted = reached && (now >= self.next_probe || halved >= 2);
                if wanted && now >= self.probe_allowed {
                    self.begin_probe(now);
                }
            }
        }
        self.open_window(now);
    }

    /// Returns the window's ratio; 1 if no method had a baseline.
    fn ratio(&self) -> f64 {
        match self.window.ratios.count {
            0 => 1.0,
            _ => self.window.ratios.mean().exp(),
        }
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(self.min, self.max);
    }

    /// Moves the baselines towards the window's means; upwards only if `both_ways`.
    fn learn(&mut self, weight: f64, both_ways: bool) {
        for method in &mut self.methods {
            let count = f64::from(method.samples.count);
            if count < 1.0 {
                continue;
            }
            let mean = method.samples.mean();
            match &mut method.baseline {
                Some(baseline) if both_ways || mean < *baseline => {
                    *baseline += (mean - *baseline) * count / (count + weight);
                }
                Some(_) => {}
                unknown @ None => *unknown = Some(mean),
            }
        }
    }

    fn begin_probe(&mut self, now: Instant) {
        self.state = State::Probe {
            since: now,
            measuring: None,
        };
    }

    fn end_probe(&mut self, now: Instant, since: Instant) {
        let ratio = self.ratio();
        let (mut wait, mut part) = (PROBE_INTERVAL, PROBE_PART);
        if self.samples() >= MIN_SAMPLES {
            self.learn(PROBE_WEIGHT, true);
            if !(PROBE_MOVED.recip()..PROBE_MOVED).contains(&ratio) {
                (wait, part) = (PROBE_AGAIN, PROBE_AGAIN_PART);
            }
        }
        let took = now.saturating_duration_since(since);
        self.probe_allowed = now + PROBE_AGAIN.max(took * part);
        self.next_probe = self.probe_allowed.max(now + wait);
        self.state = State::Steady { halved: 0 };
        self.open_window(now);
    }
}
