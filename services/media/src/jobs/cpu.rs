//! A bounded pool for decoding, resizing and encoding.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::{sync::oneshot, time::Instant};

use super::Failure;
use crate::metrics::MediaMetrics;

/// Runs CPU work off the runtime's threads, as much at once as there are cores.
///
/// The threads are few and always the same: each keeps the memory of the largest picture it
/// decoded, which on the runtime's many blocking threads added up to hundreds of megabytes.
/// Waiting for a core and working are measured apart: a long wait calls for workers, long work for
/// faster ones.
pub(crate) struct CpuPool {
    pool: ThreadPool,
    metrics: MediaMetrics,
}

impl CpuPool {
    pub(crate) fn new(threads: usize, metrics: MediaMetrics) -> Self {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|n| format!("media-cpu-{n}"))
            .build()
            .expect("a process that cannot start a thread cannot work");
        Self { pool, metrics }
    }

    /// Runs `work` when a core is free.
    ///
    /// Errors: `Transient` if it panics: the caps on attempts decide how often to try such a file.
    /// Cancel: work that waits is dropped; work that has begun ends, and holds its core until then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let queued = Instant::now();
        let span = tracing::Span::current();
        let metrics = self.metrics.clone();
        let (answer, done) = oneshot::channel();
        self.pool.spawn(move || {
            if answer.is_closed() {
                return;
            }
            metrics.stage("cpu_wait", queued.elapsed());
            let started = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| span.in_scope(work)));
            metrics.stage("cpu", started.elapsed());
            // Nobody waits any more: the attempt was cut short.
            let _ = answer.send(outcome);
        });
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) => Err(Failure::Transient("the work panicked".to_owned())),
            Err(_) => Err(Failure::Transient("the work was aborted".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use mediamesh_telemetry::Metrics;

    use super::*;

    fn pool(threads: usize) -> CpuPool {
        CpuPool::new(threads, MediaMetrics::register(&Metrics::new()))
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_and_frees_its_core() {
        let pool = pool(1);
        let failed = pool
            .run(|| panic!("a decoder's bug"))
            .await
            .map(|(): ()| ());
        assert!(matches!(failed, Err(Failure::Transient(_))), "{failed:?}");
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_runs_at_once_than_there_are_cores() {
        let (pool, now, most) = (
            pool(2),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        let work = (0..12).map(|_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            pool.run(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let started = Instant::now();
                while started.elapsed().as_millis() < 5 {}
                now.fetch_sub(1, Ordering::SeqCst);
            })
        });
        futures::future::try_join_all(work).await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}
