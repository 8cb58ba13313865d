//! Sends a slow call a second time, elsewhere, and takes the first answer.
//!
//! Only for methods that the policy marks, which change nothing. The second attempt starts when the
//! first has taken longer than 95 of 100 calls of its method do; at most one call in twenty is
//! hedged, and none while the retry budget is short. The loser is cancelled.
//!
//! Source: Dean and Barroso, The Tail at Scale, 2013; gRFC A6, `hedgingPolicy`.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, select};
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::attempt::{half_way, held};
use super::breaker::Signal;
use super::call::{Call, Original};
use super::latency::Latency;
use super::pool::Pool;
use super::verdict::{Broken, Verdict};
use crate::Response;
use crate::method::PathMap;
use crate::policy::{HedgingPolicy, Policy};

/// Hedges that may be saved up, so that a burst of slow calls is covered.
const SAVED: i64 = 10;
/// A hedge as it is counted: a share of a thousandth of a percent is still something.
const PARTS: f64 = 1_000_000.0;

/// Layer of [`Hedge`].
#[derive(Clone)]
pub(crate) struct HedgeLayer {
    pool: Arc<Pool>,
    /// Of each method that is hedged.
    methods: Arc<PathMap<Arc<Observed>>>,
}

struct Observed {
    latency: Latency,
    /// Hedges left, in millionths.
    left: AtomicI64,
    /// Shows them.
    tokens: Gauge<f64, AtomicU64>,
}

impl HedgeLayer {
    pub(crate) fn new(pool: Arc<Pool>, policy: &Policy) -> Self {
        let hedged = policy.methods().filter(|(_, of)| of.hedging.is_some());
        let observed = hedged.map(|(path, _)| {
            let observed = Observed {
                latency: Latency::new(),
                left: AtomicI64::new(0),
                tokens: pool.shared.metrics.hedge_tokens(pool.shared.service, path),
            };
            (path.to_owned(), Arc::new(observed))
        });
        let methods = Arc::new(observed.collect());
        Self { pool, methods }
    }
}

impl<S> Layer<S> for HedgeLayer {
    type Service = Hedge<S>;

    fn layer(&self, inner: S) -> Hedge<S> {
        Hedge {
            inner,
            layer: self.clone(),
        }
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Hedge<S> {
    inner: S,
    layer: HedgeLayer,
}

impl<S> Service<Box<Call>> for Hedge<S>
where
    S: Service<Box<Call>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + Unpin + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Box<Call>) -> Self::Future {
        let original = &call.original;
        let known = original.policy.hedging.and_then(|policy| {
            let observed = self.layer.methods.get(call.path())?;
            observed.earn(policy);
            Some((Arc::clone(observed), observed.delay(policy)))
        });
        let Some((observed, delay)) = known else {
            return Either::Left(self.inner.call(call));
        };
        let started = Instant::now();
        let original = Arc::clone(original);
        let previous_attempts = call.previous_attempts;
        let first = self.inner.call(call);
        let (inner, pool) = (self.inner.clone(), Arc::clone(&self.layer.pool));
        let hedged = async move {
            let response = match delay {
                Some(delay) => {
                    let late = Late {
                        after: started + delay,
                        original,
                        previous_attempts,
                    };
                    race(inner, &pool, &observed, first, late).await?
                }
                None => patiently(first, &pool, &original, previous_attempts, 2).await?,
            };
            // How long failures take says nothing about when an answer is late.
            if Verdict::of(&response).signal == Signal::Success {
                observed.latency.observe(started.elapsed());
            }
            Ok(response)
        };
        Either::Right(hedged.boxed())
    }
}

/// When an answer is late, and of what the second attempt is made then.
struct Late {
    after: Instant,
    original: Arc<Original>,
    previous_attempts: u32,
}

async fn race<S>(
    mut inner: S,
    pool: &Pool,
    observed: &Observed,
    first: S::Future,
    late: Late,
) -> Result<Response, Infallible>
where
    S: Service<Box<Call>, Response = Response, Error = Infallible>,
    S::Future: Unpin,
{
    let first = match select(first, pin!(tokio::time::sleep_until(late.after))).await {
        Either::Left((response, _)) => return response,
        Either::Right(((), first)) => first,
    };
    // Without another endpoint a second attempt would only be more load.
    let original = &late.original;
    if !pool.has_untried(original) || !pool.throttle.allows() || !observed.spend() {
        return patiently(first, pool, original, late.previous_attempts, 1).await;
    }
    let Some(mut second) = original.again(late.previous_attempts) else {
        return first.await;
    };
    second.hedge = true;
    let (answer, winner, other) = match select(first, inner.call(second)).await {
        Either::Left((answer, other)) => (answer?, "first", other),
        Either::Right((answer, other)) => (answer?, "second", other),
    };
    // One failure does not end the race: the other may still answer.
    if Verdict::of(&answer).may_repeat(true, || true) {
        return other.await;
    }
    pool.shared.metrics.hedged(pool.shared.service, winner);
    Ok(answer)
}

/// Waits for a call that is not hedged, which is no reason to wait for a server that hangs.
async fn patiently<F>(
    first: F,
    pool: &Pool,
    original: &Original,
    previous_attempts: u32,
    untried: usize,
) -> F::Output
where
    F: Future<Output = Result<Response, Infallible>> + Unpin,
{
    let Some(limit) = half_way(original, pool, untried) else {
        return first.await;
    };
    let mut first = first;
    let answer = held(&mut first, limit, original.path()).await?;
    if answer.extensions().get() == Some(&Broken::TimedOut) {
        // Before it is dropped: it tells the breaker why.
        original.give_up(previous_attempts);
    }
    Ok(answer)
}

impl Observed {
    fn delay(&self, policy: HedgingPolicy) -> Option<Duration> {
        let delay = policy.hedging_delay.or_else(|| self.latency.p95())?;
        Some(delay.max(policy.min_delay))
    }

    fn earn(&self, policy: HedgingPolicy) {
        let share = (policy.max_share * PARTS) as i64;
        let most = SAVED * PARTS as i64;
        let left = self.left.load(Ordering::Acquire);
        if left < most {
            let earned = share.min(most - left);
            let before = self.left.fetch_add(earned, Ordering::AcqRel);
            self.tokens.set((before + earned) as f64 / PARTS);
        }
    }

    fn spend(&self) -> bool {
        let spent = self
            .left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                (left >= PARTS as i64).then_some(left - PARTS as i64)
            });
        if let Ok(before) = spent {
            self.tokens.set(before as f64 / PARTS - 1.0);
        }
        spent.is_ok()
    }
}

#[cfg(test)]
mod tests;
