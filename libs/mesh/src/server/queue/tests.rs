use super::*;

const MAX_WAIT: Duration = Duration::from_millis(400);

struct Waiting {
    queue: Queue,
    start: Instant,
    told: Vec<(u64, Priority, oneshot::Receiver<Verdict>)>,
}

impl Waiting {
    fn new() -> Self {
        Self {
            queue: Queue::new(MAX_WAIT),
            start: Instant::now(),
            told: vec![],
        }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn push(&mut self, millis: u64, priority: Priority) {
        let (tell, told) = oneshot::channel();
        let waiter = Waiter {
            since: self.at(millis),
            flow: Flow::Unary,
            tell,
        };
        self.queue.push(priority, waiter);
        self.told.push((millis, priority, told));
    }

    /// Returns since when the calls waited that are refused by `millis`, and why.
    fn refused_at(&mut self, millis: u64) -> Vec<(u64, Refusal)> {
        self.queue.expire(self.at(millis));
        self.told
            .iter_mut()
            .filter_map(|(since, _, told)| Some((*since, told.try_recv().ok()?.unwrap_err())))
            .collect()
    }

    fn pop(&mut self, millis: u64, priority: Priority) -> Option<u64> {
        let waiter = self.queue.pop(priority, self.at(millis))?;
        Some(waiter.since.duration_since(self.start).as_millis() as u64)
    }
}

use Priority::{Background, Interactive};
use Refusal::{GaveWay, Late};

#[test]
fn a_burst_is_served_in_order_and_waits_at_most_max_wait() {
    let mut waiting = Waiting::new();
    for millis in [0, 10, 20] {
        waiting.push(millis, Interactive);
    }
    assert_eq!(waiting.pop(30, Interactive), Some(0));
    assert_eq!(waiting.refused_at(399), []);
    // Not empty for all of max_wait: now it stands, and a quarter is the limit.
    assert_eq!(waiting.refused_at(410), [(10, Late), (20, Late)]);
}

#[test]
fn a_standing_queue_serves_the_newest_and_refuses_early() {
    let mut waiting = Waiting::new();
    for millis in (0..=500).step_by(50) {
        waiting.push(millis, Interactive);
        waiting.refused_at(millis);
    }
    assert!(waiting.queue.stands(Interactive, waiting.at(500)));
    assert_eq!(waiting.pop(510, Interactive), Some(500));
    assert_eq!(waiting.pop(510, Interactive), Some(450));
    // 400 has waited 110 ms of 100.
    waiting.refused_at(510);
    assert_eq!(waiting.pop(510, Interactive), None);
}

#[test]
fn a_queue_that_was_empty_once_is_a_burst_again() {
    let mut waiting = Waiting::new();
    waiting.push(0, Interactive);
    assert_eq!(waiting.pop(300, Interactive), Some(0));
    waiting.push(310, Interactive);
    assert!(!waiting.queue.stands(Interactive, waiting.at(500)));
    assert_eq!(waiting.refused_at(500), []);
}

#[test]
fn background_calls_leave_when_the_interactive_queue_stands() {
    let mut waiting = Waiting::new();
    waiting.push(0, Interactive);
    waiting.push(395, Interactive);
    waiting.push(395, Background);
    assert_eq!(waiting.refused_at(405), [(0, Late), (395, GaveWay)]);
    assert_eq!(waiting.queue.len(Interactive), 1);
}

#[test]
fn the_newest_background_call_gives_way() {
    let mut waiting = Waiting::new();
    assert!(!waiting.queue.evict());
    waiting.push(0, Background);
    waiting.push(5, Background);
    assert!(waiting.queue.evict());
    assert_eq!(waiting.refused_at(10), [(5, GaveWay)]);
    assert_eq!(waiting.queue.take_refused().count(), 1);
}

#[test]
fn callers_that_went_away_were_not_refused() {
    let mut waiting = Waiting::new();
    waiting.push(0, Interactive);
    waiting.push(0, Background);
    waiting.told.clear();
    waiting.queue.forget_gone();
    assert_eq!(waiting.queue.len(Interactive), 0);
    waiting.push(10, Interactive);
    waiting.told.clear();
    waiting.queue.expire(waiting.at(1_000));
    assert_eq!(waiting.queue.take_refused().count(), 0);
}
