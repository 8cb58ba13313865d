//! Scenarios whose figures mean something only while the machine has time for them.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// One at a time: all share the machine's few cores.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How late a thread may be woken before the machine counts as too busy.
const LATE: Duration = Duration::from_millis(20);
const TURNS: u32 = 5;

/// Runs a scenario; once more if it failed while this process did not get the CPU it asked for.
pub(crate) async fn measured(scenario: impl AsyncFn()) {
    let _alone = ALONE.lock().await;
    for turn in 1.. {
        let lateness = Lateness::watch();
        let Err(failure) = AssertUnwindSafe(scenario()).catch_unwind().await else {
            return;
        };
        let worst = lateness.worst();
        if turn == TURNS || worst < LATE {
            resume_unwind(failure);
        }
        let said = format!("turn {turn} says nothing: a thread was woken {worst:?} late\n");
        let _ = std::io::stderr().write_all(said.as_bytes());
    }
}

/// How late a thread was woken at worst.
struct Lateness {
    worst_micros: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Lateness {
    fn watch() -> Self {
        let watch = Self {
            worst_micros: Arc::default(),
            over: Arc::default(),
        };
        let (worst, over) = (Arc::clone(&watch.worst_micros), Arc::clone(&watch.over));
        std::thread::spawn(move || {
            let nap = Duration::from_millis(5);
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(nap);
                let late = began.elapsed().saturating_sub(nap);
                worst.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            }
        });
        watch
    }

    fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_micros.load(Ordering::Relaxed))
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
