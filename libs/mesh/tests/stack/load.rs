//! Calls at a fixed rate, whether or not earlier ones were answered, to a service with a fixed number of
//! servers and a fixed time for each call: its capacity is known. For tests and for a bench.

use std::time::Duration;

use mediamesh_mesh::{Priority, priority};
use mediamesh_proto::ErrorReason;
use mediamesh_proto::status::reason_of;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::echo::{Ask, call};
use crate::mesh::Mesh;

pub(crate) const SERVERS: usize = 8;
pub(crate) const MILLIS: u64 = 10;
/// Calls a second that it can serve.
pub(crate) const CAPACITY: f64 = SERVERS as f64 * 1000.0 / MILLIS as f64;
/// Before this the limit is still being found.
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(4);

/// How calls of one priority fared after the warm-up.
#[derive(Debug, Default)]
pub(crate) struct Fared {
    pub(crate) served: usize,
    pub(crate) refused: usize,
    /// Latencies of those that were served, milliseconds.
    millis: Vec<u64>,
}

impl Fared {
    pub(crate) fn share_served(&self) -> f64 {
        self.served as f64 / (self.served + self.refused) as f64
    }

    pub(crate) fn p99(&mut self) -> u64 {
        self.millis.sort_unstable();
        self.millis[self.millis.len() * 99 / 100]
    }
}

/// A call's worth of work.
pub(crate) fn work() -> Ask {
    Ask {
        what: "work".into(),
        number: MILLIS,
    }
}

/// Calls at `interactive` and `background` times the capacity; returns how they fared, and the
/// goodput, calls answered in time, as a share of the capacity.
pub(crate) async fn overload(mesh: &Mesh, interactive: f64, background: f64) -> ([Fared; 2], f64) {
    let total = (interactive + background) * CAPACITY;
    let part = interactive / (interactive + background);
    let started = Instant::now();
    let mut calls = JoinSet::new();
    let mut people = 0.0;
    for count in 0.. {
        let due = Duration::from_secs_f64(f64::from(count) / total);
        if due >= WARM_UP + MEASURED {
            break;
        }
        tokio::time::sleep_until(started + due).await;
        // Spread evenly: one of these whenever its share is due.
        let is_interactive = (f64::from(count) + 1.0) * part - people >= 1.0;
        let priority = if is_interactive {
            people += 1.0;
            Priority::Interactive
        } else {
            Priority::Background
        };
        let ask = work();
        let channel = mesh.channel.clone();
        calls.spawn(async move {
            let begun = Instant::now();
            let result = priority::scope(priority, call(channel, ask, None)).await;
            (due, started.elapsed(), priority, begun.elapsed(), result)
        });
    }
    let mut fared: [Fared; 2] = Default::default();
    let mut answered = 0;
    while let Some(done) = calls.join_next().await {
        let (due, ended, priority, took, result) = done.unwrap();
        if result.is_ok() && (WARM_UP..WARM_UP + MEASURED).contains(&ended) {
            answered += 1;
        }
        if due < WARM_UP {
            continue;
        }
        let fared = &mut fared[priority as usize];
        match result {
            Ok(_) => {
                fared.served += 1;
                fared.millis.push(took.as_millis() as u64);
            }
            Err(status) => {
                assert_shed(&status);
                fared.refused += 1;
            }
        }
    }
    let goodput = f64::from(answered) / MEASURED.as_secs_f64() / CAPACITY;
    (fared, goodput)
}

/// Refused, not started, with advice when to come again.
pub(crate) fn assert_shed(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason_of(status), Some(ErrorReason::LoadShed), "{status:?}");
    let advice = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    assert!(
        advice.is_some_and(|delay| !delay.is_zero()),
        "{status:?} says not when to come again"
    );
}
