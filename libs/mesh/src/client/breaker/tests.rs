use std::time::Duration;

use super::*;

fn policy() -> BreakerPolicy {
    BreakerPolicy {
        consecutive_failures: 5,
        success_rate_floor: 0.5,
        minimum_calls: 20,
        base_open: Duration::from_secs(1),
        max_open: Duration::from_secs(4),
        jitter: 0.0,
        max_ejection_percent: 50,
    }
}

fn breaker() -> Arc<Breaker> {
    breakers(1).remove(0)
}

fn breakers(count: usize) -> Vec<Arc<Breaker>> {
    let ejections = Arc::new(Ejections::default());
    ejections.set_endpoints(count);
    (0..count)
        .map(|_| Arc::new(Breaker::new(policy(), Clock::new(), Arc::clone(&ejections))))
        .collect()
}

fn call(breaker: &Arc<Breaker>, signal: Signal) -> Option<Transition> {
    breaker.try_acquire().unwrap().0.record(signal)
}

fn trip(breaker: &Arc<Breaker>) {
    for _ in 0..5 {
        call(breaker, Signal::HardFailure);
    }
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn it_opens_after_failures_in_a_row_and_a_success_starts_the_count_again() {
    let breaker = breaker();
    for _ in 0..4 {
        call(&breaker, Signal::HardFailure);
    }
    call(&breaker, Signal::Success);
    for _ in 0..4 {
        assert_eq!(call(&breaker, Signal::HardFailure), None);
    }
    let transition = call(&breaker, Signal::HardFailure).unwrap();
    assert_eq!(transition.to, BreakerState::Open);
    assert!(breaker.try_acquire().is_none());
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_and_its_success_closes() {
    let breaker = breaker();
    trip(&breaker);
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(breaker.try_acquire().is_none() && !breaker.wants_probe());
    tokio::time::advance(Duration::from_millis(2)).await;
    assert!(breaker.wants_probe());
    let (probe, transition) = breaker.try_acquire().unwrap();
    assert_eq!(transition.unwrap().to, BreakerState::HalfOpen);
    assert!(probe.is_probe());
    assert!(breaker.try_acquire().is_none(), "a second probe");
    assert_eq!(
        probe.record(Signal::Success).unwrap().to,
        BreakerState::Closed
    );
    assert!(!breaker.try_acquire().unwrap().0.is_probe());
}

#[tokio::test(start_paused = true)]
async fn failed_probes_make_the_open_time_grow_to_its_limit() {
    let breaker = breaker();
    trip(&breaker);
    for expected in [1, 2, 4, 4] {
        let open = Duration::from_micros(breaker.open_for_micros());
        assert_eq!(open, Duration::from_secs(expected));
        tokio::time::advance(open).await;
        call(&breaker, Signal::HardFailure);
    }
    // Closed for long enough, it forgets.
    tokio::time::advance(Duration::from_secs(4)).await;
    call(&breaker, Signal::Success);
    tokio::time::advance(Duration::from_secs(5)).await;
    trip(&breaker);
    assert_eq!(breaker.open_for_micros(), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_probe_without_a_verdict_gives_its_turn_back() {
    let breaker = breaker();
    trip(&breaker);
    tokio::time::advance(Duration::from_secs(1)).await;
    drop(breaker.try_acquire().unwrap());
    assert!(breaker.try_acquire().unwrap().0.is_probe());
}

#[tokio::test(start_paused = true)]
async fn late_verdicts_do_not_move_an_open_breaker() {
    let breaker = breaker();
    let (early, _) = breaker.try_acquire().unwrap();
    trip(&breaker);
    assert_eq!(early.record(Signal::Success), None);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn the_success_rate_needs_a_sample_and_soft_failures_count_for_it_alone() {
    let breakers = breakers(2);
    let breaker = &breakers[0];
    for _ in 0..19 {
        assert_eq!(call(breaker, Signal::SoftFailure), None);
    }
    let transition = call(breaker, Signal::SoftFailure).unwrap();
    assert_eq!(transition.why, "success rate below its floor");
}

#[tokio::test(start_paused = true)]
async fn a_bad_rollout_cannot_eject_more_than_the_cap() {
    let breakers = breakers(4);
    let sick = |breaker: &Arc<Breaker>| {
        for turn in 0..40 {
            if let Some((permit, _)) = breaker.try_acquire() {
                // Six of ten fail, never five in a row.
                let fails = turn % 5 < 3;
                permit.record(match fails {
                    true => Signal::HardFailure,
                    false => Signal::Success,
                });
            }
        }
    };
    breakers.iter().for_each(sick);
    let open = |all: &[Arc<Breaker>]| all.iter().filter(|one| !one.is_closed()).count();
    assert_eq!(open(&breakers), 2);
    // An endpoint that goes away makes room, and so does one that recovers.
    let [first, ..] = &breakers[..] else { panic!() };
    assert_eq!(first.reset().unwrap().to, BreakerState::Closed);
    sick(&breakers[2]);
    assert_eq!(open(&breakers), 2);
}

#[tokio::test(start_paused = true)]
async fn neutral_calls_are_not_counted() {
    let breaker = breaker();
    for _ in 0..100 {
        call(&breaker, Signal::Neutral);
    }
    assert_eq!(breaker.success_rate.get(), None);
    assert!(breaker.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_says_nothing_loses_its_turn_to_another() {
    let breaker = breaker();
    trip(&breaker);
    tokio::time::advance(Duration::from_secs(1)).await;
    let (silent, _) = breaker.try_acquire().unwrap();
    assert!(silent.is_probe() && breaker.try_acquire().is_none());
    assert!(breaker.open_for_micros() > 0, "callers are told when");
    tokio::time::advance(Duration::from_secs(4)).await;
    let (second, transition) = breaker.try_acquire().unwrap();
    assert!(second.is_probe() && transition.is_none());
    assert_eq!(
        silent.record(Signal::HardFailure),
        None,
        "the first probe has nothing to say any more"
    );
    let transition = second.record(Signal::Success).unwrap();
    assert_eq!(transition.to, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn verdicts_of_calls_from_before_a_reset_do_not_count() {
    let breaker = breaker();
    let old: Vec<_> = (0..5).map(|_| breaker.try_acquire().unwrap().0).collect();
    tokio::time::advance(Duration::from_millis(1)).await;
    breaker.reset();
    for permit in old {
        assert_eq!(permit.record(Signal::HardFailure), None);
    }
    assert!(breaker.is_closed());
    call(&breaker, Signal::HardFailure);
    assert!(breaker.is_closed(), "one failure of the new process is one");
}

#[tokio::test(start_paused = true)]
async fn errors_that_are_answers_never_take_the_last_endpoint_away() {
    let two = breakers(2);
    for breaker in &two {
        for _ in 0..200 {
            if let Some((permit, _)) = breaker.try_acquire() {
                permit.record(Signal::SoftFailure);
            }
        }
    }
    let closed = two.iter().filter(|breaker| breaker.is_closed()).count();
    assert_eq!(closed, 1);
}
