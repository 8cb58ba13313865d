//! A simulated service: `servers` that work `time` each, and a queue inside that nobody sees.

use std::collections::BinaryHeap;

use super::*;
use crate::policy::defaults;

struct Simulation {
    limit: AdaptiveLimit,
    now: Instant,
    servers: usize,
    time: Duration,
    /// Ends of running calls, soonest last in reverse order.
    ends: BinaryHeap<std::cmp::Reverse<(Instant, usize, Ended)>>,
    /// When each server is free again.
    free: Vec<Instant>,
    done: usize,
    lowest: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ended {
    at: Instant,
    window: u64,
    failed: bool,
}

fn limits() -> Limits {
    Limits {
        max_running: 256,
        max_in_flight: 1024,
        max_streams: 256,
        min_running: 4,
        initial_running: 32,
        background_percent: 50,
        max_wait: defaults::MAX_WAIT,
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Simulation {
    fn new(limits: Limits, servers: usize, time: Duration) -> Self {
        let now = Instant::now();
        Self {
            limit: AdaptiveLimit::new(&limits, 2, now),
            now,
            servers,
            time,
            ends: BinaryHeap::new(),
            free: vec![now; servers],
            done: 0,
            lowest: usize::MAX,
        }
    }

    fn start(&mut self, method: usize, time: Duration, failed: bool) {
        let started = self.limit.start(self.now, self.ends.len() + 1);
        let server = (0..self.servers).min_by_key(|i| self.free[*i]).unwrap();
        let end = self.free[server].max(self.now) + time;
        self.free[server] = end;
        let ended = Ended {
            at: started.at,
            window: started.window,
            failed,
        };
        self.ends.push(std::cmp::Reverse((end, method, ended)));
    }

    fn end(&mut self) {
        let Some(std::cmp::Reverse((end, method, ended))) = self.ends.pop() else {
            return;
        };
        self.now = end;
        let started = Started {
            at: ended.at,
            window: ended.window,
        };
        let outcome = if ended.failed {
            Outcome::Failed
        } else {
            self.done += 1;
            Outcome::Answered
        };
        self.limit
            .end(self.now, started, method, outcome, self.ends.len());
        self.lowest = self.lowest.min(self.limit.current());
    }

    /// Keeps as many calls running as may, for `time`; calls of two methods, one ten times dearer.
    fn flood(&mut self, time: Duration) -> f64 {
        let (until, before) = (self.now + time, self.done);
        let mut count = 0;
        while self.now < until {
            while self.ends.len() < self.limit.current() {
                count += 1;
                let (method, factor) = if count % 10 == 0 { (1, 10) } else { (0, 1) };
                self.start(method, self.time * factor, false);
            }
            self.limit.reached();
            self.end();
        }
        (self.done - before) as f64 / time.as_secs_f64()
    }

    /// Keeps `count` calls running for `time`.
    fn hum(&mut self, count: usize, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            while self.ends.len() < count.min(self.limit.current()) {
                self.start(0, self.time, false);
            }
            self.end();
        }
    }

    /// The limit, also in the middle of a probe.
    fn found(&self) -> usize {
        self.limit.limit as usize
    }

    /// Calls a second if every server is always busy: nine cheap calls to one dear.
    fn capacity(&self) -> f64 {
        self.servers as f64 / (self.time.as_secs_f64() * 1.9)
    }
}

#[test]
fn under_overload_the_limit_settles_near_twice_the_servers() {
    for servers in [1, 4, 8, 32] {
        let mut simulation = Simulation::new(limits(), servers, millis(10));
        simulation.flood(Duration::from_secs(60));
        let limit = simulation.found();
        let expected = servers * 2;
        assert!(
            (expected * 3 / 4..=expected * 3 / 2 + 3).contains(&limit),
            "{servers} servers: limit is {limit}"
        );
        let rate = simulation.flood(Duration::from_secs(30));
        let part = rate / simulation.capacity();
        assert!(part >= 0.9, "{servers} servers: {part:.2} of the capacity");
    }
}

#[test]
fn the_limit_does_not_drift_in_an_hour_of_overload() {
    let mut simulation = Simulation::new(limits(), 8, millis(50));
    simulation.flood(Duration::from_secs(60));
    let after_a_minute = simulation.found();
    simulation.flood(Duration::from_secs(3600));
    let after_an_hour = simulation.found();
    assert!(
        after_an_hour <= after_a_minute + 8,
        "from {after_a_minute} to {after_an_hour}"
    );
}

#[test]
fn it_rises_when_there_is_more_capacity() {
    let mut simulation = Simulation::new(limits(), 4, millis(10));
    simulation.flood(Duration::from_secs(20));
    let before = simulation.found();
    simulation.servers = 64;
    simulation.free = vec![simulation.now; 64];
    simulation.flood(Duration::from_secs(10));
    let after = simulation.found();
    assert!(before < 30 && after > 90, "from {before} to {after}");
}

#[test]
fn slowness_that_is_not_load_does_not_keep_the_limit_low() {
    // A database behind it takes ten times as long; there is no queue anywhere.
    let mut simulation = Simulation::new(limits(), 200, millis(5));
    simulation.flood(Duration::from_secs(5));
    simulation.time = millis(50);
    simulation.flood(Duration::from_secs(40));
    let limit = simulation.found();
    assert!(limit > 150, "limit is {limit}");
}

#[test]
fn it_stays_as_it_is_while_little_of_it_is_used() {
    let mut simulation = Simulation::new(limits(), 100, millis(5));
    simulation.hum(3, Duration::from_secs(10));
    let before = simulation.found();
    simulation.time = millis(500);
    simulation.hum(3, Duration::from_secs(60));
    assert_eq!(simulation.found(), before);
    assert_eq!(simulation.lowest, 32, "no probe without pressure");
}

#[test]
fn the_bounds_hold_and_equal_ones_fix_it() {
    let mut simulation = Simulation::new(
        Limits {
            min_running: 16,
            ..limits()
        },
        1,
        millis(10),
    );
    simulation.flood(Duration::from_secs(60));
    assert_eq!(simulation.found(), 16);
    let fixed = Limits {
        min_running: 20,
        initial_running: 20,
        max_running: 20,
        ..limits()
    };
    let mut simulation = Simulation::new(fixed, 1, millis(10));
    simulation.flood(Duration::from_secs(20));
    assert_eq!((simulation.found(), simulation.lowest), (20, 20));
}

#[test]
fn quick_failures_are_no_sign_of_a_fast_service() {
    let mut simulation = Simulation::new(limits(), 200, millis(20));
    simulation.flood(Duration::from_secs(5));
    let before = simulation.found();
    for _ in 0..10_000 {
        simulation.start(0, Duration::from_micros(100), true);
        simulation.end();
    }
    simulation.free.fill(simulation.now);
    simulation.flood(Duration::from_secs(5));
    let after = simulation.found();
    assert!(after >= before, "from {before} to {after}");
}

#[test]
fn calls_that_never_answer_in_time_lower_it() {
    let mut simulation = Simulation::new(limits(), 200, millis(20));
    simulation.flood(Duration::from_secs(5));
    let before = simulation.found();
    // All are dropped at their deadline.
    let until = simulation.now + Duration::from_secs(30);
    let mut lowest = before;
    while simulation.now < until {
        while simulation.ends.len() < simulation.limit.current() {
            simulation.start(0, millis(2_000), true);
        }
        simulation.limit.reached();
        simulation.end();
        lowest = lowest.min(simulation.found());
    }
    assert!(lowest < before / 2, "from {before} to {lowest}");
}
