use super::super::script::{READ, Script, WRITE, ok, policy, pool, request};
use super::*;
use crate::Request;
use crate::deadline::Deadline;

const MS: Duration = Duration::from_millis(1);

async fn call<S>(hedge: &mut S, request: Request) -> Duration
where
    S: Service<Box<Call>, Response = Response, Error = Infallible>,
{
    let began = Instant::now();
    let Ok(call) = Call::take(request, &policy()).await else {
        panic!("the body can be read")
    };
    hedge.call(call).await.unwrap();
    began.elapsed()
}

/// A script of `fast` answers of 4 ms each, then of the times given.
fn script(fast: usize, then: &[Duration]) -> Script {
    let fast = std::iter::repeat_n(4 * MS, fast);
    Script::timed(fast.chain(then.iter().copied()).map(|after| (after, ok())))
}

/// Two endpoints, so that there is another to ask.
fn two() -> Arc<Pool> {
    let pool = pool();
    pool.set_ready(2);
    pool
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_sent_again_after_the_95th_percentile_and_the_loser_is_cancelled() {
    let script = script(64, &[500 * MS, 4 * MS]);
    let mut hedge = HedgeLayer::new(two(), &policy()).layer(script.clone());
    for _ in 0..64 {
        call(&mut hedge, request(READ)).await;
    }
    let took = call(&mut hedge, request(READ)).await;
    // p95 is 4 ms in a bucket that ends below 5.2 ms; the second answer takes 4 ms
    assert!(took >= 8 * MS && took <= 11 * MS, "{took:?}");
    assert_eq!(script.seen().len(), 64 + 2);
    assert_eq!(script.running(), 0, "the first attempt was cancelled");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_before_the_latency_is_known() {
    let script = script(10, &[500 * MS]);
    let mut hedge = HedgeLayer::new(two(), &policy()).layer(script.clone());
    for _ in 0..11 {
        call(&mut hedge, request(READ)).await;
    }
    assert_eq!(script.seen().len(), 11);
}

#[tokio::test(start_paused = true)]
async fn one_endpoint_or_a_write_is_never_hedged() {
    for (endpoints, path) in [(1, READ), (2, WRITE)] {
        let pool = pool();
        pool.set_ready(endpoints);
        // the call under way has gone to the first
        let script = script(64, &[500 * MS]);
        let mut hedge = HedgeLayer::new(Arc::clone(&pool), &policy()).layer(script.clone());
        for _ in 0..64 {
            call(&mut hedge, request(path)).await;
        }
        let Ok(slow) = Call::take(request(path), &policy()).await else {
            panic!("the body can be read")
        };
        slow.original.tried.add(&pool.endpoints()[0]);
        hedge.call(slow).await.unwrap();
        assert_eq!(script.seen().len(), 65, "{path} of {endpoints}");
    }
}

#[tokio::test(start_paused = true)]
async fn at_most_one_call_in_twenty_is_hedged() {
    let calls = 1000;
    let script = script(64, &vec![500 * MS; calls * 2]);
    let mut hedge = HedgeLayer::new(two(), &policy()).layer(script.clone());
    for _ in 0..64 {
        call(&mut hedge, request(READ)).await;
    }
    for _ in 0..calls {
        call(&mut hedge, request(READ)).await;
    }
    let hedges = script.seen().len() - 64 - calls;
    assert!(hedges > 0 && hedges <= (calls + 64) / 20, "{hedges} hedges");
}

#[tokio::test(start_paused = true)]
async fn an_empty_retry_budget_ends_hedging() {
    let pool = two();
    let script = script(64, &[500 * MS]);
    let mut hedge = HedgeLayer::new(Arc::clone(&pool), &policy()).layer(script.clone());
    for _ in 0..64 {
        call(&mut hedge, request(READ)).await;
    }
    for _ in 0..60 {
        pool.throttle.failed();
    }
    call(&mut hedge, request(READ)).await;
    assert_eq!(script.seen().len(), 65);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_hedged_is_given_up_half_way() {
    let pool = two();
    let hung = script(0, &[500_000 * MS; 3]);
    let mut hedge = HedgeLayer::new(Arc::clone(&pool), &policy()).layer(hung.clone());
    let mut read = request(READ);
    read.extensions_mut().insert(Deadline::after(4_000 * MS));
    // neither is the latency known nor a hedge earned
    assert_eq!(call(&mut hedge, read).await, 2_000 * MS);
    assert_eq!(hung.running(), 0);
    let mut short = request(READ);
    short.extensions_mut().insert(Deadline::after(400 * MS));
    let took = tokio::time::timeout(400 * MS, call(&mut hedge, short)).await;
    assert!(took.is_err(), "200 ms are no reason to give up a server");
    // nobody else to ask
    pool.set_ready(1);
    let mut read = request(READ);
    read.extensions_mut().insert(Deadline::after(4_000 * MS));
    let took = tokio::time::timeout(4_000 * MS, call(&mut hedge, read)).await;
    assert!(took.is_err(), "{took:?}");
}
