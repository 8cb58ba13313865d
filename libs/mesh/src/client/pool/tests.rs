use std::collections::HashMap;

use super::super::breaker::Signal;
use super::super::connector::Sign;
use super::super::script::{READ, WRITE, policy, pool, request};
use super::*;

const MS: Duration = Duration::from_millis(1);

async fn call(path: &str) -> Box<Call> {
    match Call::take(request(path), &policy()).await {
        Ok(call) => call,
        Err(_) => panic!("the body can be read"),
    }
}

fn ready(count: usize) -> Arc<Pool> {
    let pool = pool();
    pool.set_ready(count);
    pool
}

fn chosen(pick: Pick) -> u64 {
    match pick {
        Pick::Endpoint(endpoint, _) => endpoint.id,
        Pick::Wait => panic!("it waits"),
        Pick::Nowhere(why) => panic!("nowhere: {why:?}"),
    }
}

/// How often each endpoint is chosen in 300 picks.
async fn shares(pool: &Pool) -> HashMap<u64, usize> {
    let call = call(READ).await;
    let mut shares = HashMap::new();
    for _ in 0..300 {
        *shares
            .entry(chosen(pool.pick(&call, &[], &mut None)))
            .or_default() += 1;
    }
    shares
}

fn trip(endpoint: &Endpoint) {
    for _ in 0..5 {
        let (permit, _) = endpoint.breaker.try_acquire().unwrap();
        permit.record(Signal::HardFailure);
    }
    assert!(!endpoint.breaker.is_closed());
}

#[tokio::test(start_paused = true)]
async fn equal_endpoints_get_equal_shares() {
    fastrand::seed(1);
    let shares = shares(&ready(3)).await;
    assert!(
        shares.values().all(|share| (70..=130).contains(share)),
        "{shares:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_dearest_of_three_is_never_chosen() {
    let pool = ready(3);
    let endpoints = pool.endpoints();
    for endpoint in endpoints.iter() {
        endpoint.load.observe(5 * MS);
    }
    endpoints[1].load.observe(2000 * MS);
    let shares = shares(&pool).await;
    assert_eq!(shares.get(&1), None, "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_all_who_are_ready_have_had_wants_the_others_sooner() {
    for had in [false, true] {
        let pool = ready(2);
        let endpoints = pool.endpoints();
        let [sick, gone] = [&endpoints[0], &endpoints[1]];
        gone.failed("it was killed".to_owned());
        let call = call(READ).await;
        if had {
            call.original.tried.add(sick);
        }
        assert_eq!(chosen(pool.pick(&call, &[], &mut None)), sick.id);
        tokio::time::sleep(MS).await;
        let is_tried = gone.connectivity() == Connectivity::Connecting || gone.failures() > 1;
        assert_eq!(is_tried, had);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_count() {
    let pool = ready(2);
    let endpoints = pool.endpoints();
    for _ in 0..10 {
        endpoints[0].load.start();
    }
    let shares = shares(&pool).await;
    assert_eq!(shares.get(&0), None, "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_goes_where_the_call_was_not_if_it_can() {
    let pool = ready(2);
    let call = call(READ).await;
    call.original.tried.add(&pool.endpoints()[0]);
    assert_eq!(chosen(pool.pick(&call, &[], &mut None)), 1);
    // the other turned it away just now: better the first again than nothing
    assert_eq!(chosen(pool.pick(&call, &[1], &mut None)), 0);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_gets_no_calls_then_one_probe_that_may_be_repeated() {
    let pool = ready(2);
    let endpoints = pool.endpoints();
    trip(&endpoints[0]);
    assert_eq!(shares(&pool).await.get(&0), None);
    tokio::time::advance(Duration::from_millis(400)).await;
    let (write, read) = (call(WRITE).await, call(READ).await);
    assert_eq!(
        chosen(pool.pick(&write, &[], &mut None)),
        1,
        "a write is no probe while another endpoint works"
    );
    let Pick::Endpoint(probed, permit) = pool.pick(&read, &[], &mut None) else {
        panic!("a probe")
    };
    assert_eq!((probed.id, permit.is_probe()), (0, true));
    assert_eq!(
        chosen(pool.pick(&read, &[], &mut None)),
        1,
        "one probe at a time"
    );
    permit.record(Signal::Success);
    assert!(shares(&pool).await.contains_key(&0));
}

#[tokio::test(start_paused = true)]
async fn when_all_breakers_are_open_calls_fail_at_once_and_say_for_how_long() {
    let pool = ready(2);
    pool.endpoints().iter().for_each(|endpoint| trip(endpoint));
    let call = call(READ).await;
    let Pick::Nowhere(Nowhere::Open(left)) = pool.pick(&call, &[], &mut None) else {
        panic!("nowhere to go")
    };
    assert!(left > Duration::ZERO && left <= 250 * MS, "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn full_endpoints_are_said_to_be_full() {
    let pool = ready(1);
    let endpoints = pool.endpoints();
    for _ in 0..pool.shared.policy.connection.max_in_flight {
        endpoints[0].load.start();
    }
    let call = call(READ).await;
    assert!(matches!(
        pool.pick(&call, &[], &mut None),
        Pick::Nowhere(Nowhere::Full)
    ));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_left_the_set_is_not_chosen() {
    let pool = ready(3);
    let gone = pool.endpoints()[0].address.clone();
    let rest: Vec<_> = pool.endpoints()[1..]
        .iter()
        .map(|endpoint| endpoint.address.clone())
        .collect();
    pool.set(&rest);
    assert!(pool.endpoints().iter().all(|kept| kept.address != gone));
    assert_eq!(shares(&pool).await.get(&0), None);
}

#[tokio::test(start_paused = true)]
async fn an_empty_set_is_waited_for_until_it_is_known() {
    let pool = pool();
    let call = call(READ).await;
    assert!(matches!(pool.pick(&call, &[], &mut None), Pick::Wait));
    pool.set(&[]);
    assert!(matches!(
        pool.pick(&call, &[], &mut None),
        Pick::Nowhere(Nowhere::Unreachable)
    ));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_not_serve_is_the_last_resort() {
    let pool = ready(2);
    let endpoints = pool.endpoints();
    endpoints[0].signed(Sign::NotServing);
    assert_eq!(shares(&pool).await.get(&0), None);
    let call = call(READ).await;
    assert_eq!(chosen(pool.pick(&call, &[1], &mut None)), 0);
    endpoints[0].signed(Sign::Serving);
    assert!(shares(&pool).await.contains_key(&0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_no_probe_while_another_endpoint_works() {
    let pool = ready(2);
    trip(&pool.endpoints()[0]);
    tokio::time::advance(Duration::from_millis(400)).await;
    let download = call("/mediamesh.media.v1.MediaService/DownloadMedia").await;
    assert!(download.original.is_repeatable());
    assert_eq!(chosen(pool.pick(&download, &[], &mut None)), 1);
}

#[tokio::test]
async fn endpoints_that_come_and_go_are_never_taken_for_one_another() {
    let pool = pool();
    for turn in 0..200 {
        pool.set(&[Address::numbered(turn), Address::numbered(turn + 1)]);
        let call = call(READ).await;
        for endpoint in pool.endpoints().iter() {
            assert!(!call.original.tried.has(endpoint));
            call.original.tried.add(endpoint);
        }
    }
}
