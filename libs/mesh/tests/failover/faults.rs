//! The fault table in a shortened form: 300 calls a second for a few seconds, most of them reads, and one of two or three
//! servers in trouble.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tonic::Code;

use crate::fleet::{Fleet, Kind, Outcome, p99};
use crate::measured::measured;

const RATE: u32 = 300;

/// Reads never fail. A write or an upload may, that was under way when its server died: nobody can tell
/// whether it was done.
fn none_failed(outcomes: &[Outcome]) {
    let reads = || outcomes.iter().filter(|outcome| outcome.kind == Kind::Read);
    let failed = || reads().filter(|outcome| outcome.result.is_err());
    let first = failed().next();
    let (failed, all) = (failed().count(), reads().count());
    assert!(failed == 0, "{failed} of {all}, the first: {first:?}");
}

/// Reads sent within a span of time that a server answered.
fn share(outcomes: &[Outcome], from: Duration, until: Duration, server: u64) -> f64 {
    let within = || {
        outcomes
            .iter()
            .filter(|outcome| (from..until).contains(&outcome.sent))
    };
    let own = within().filter(|outcome| outcome.result.as_ref().ok() == Some(&server));
    own.count() as f64 / within().count().max(1) as f64
}

/// Reads of the second before the trouble, and of the two in it: all but one in a hundred may take twice as
/// long, and the time in which it is found.
#[track_caller]
fn hardly_slower(outcomes: &[Outcome], detection: Duration) {
    let (before, during) = (p99(outcomes, Duration::ZERO, S), p99(outcomes, S, 3 * S));
    let most = before * 2 + detection;
    assert!(during <= most, "p99 was {before:?} and is {during:?}");
}

/// In which an error or the end of a connection is found, and the call repeated; a debug build shares the
/// machine with the servers.
const AT_ONCE: Duration = Duration::from_millis(50);
/// In which silence is: that of 250 ms, and the time of a health check.
const SILENCE: Duration = Duration::from_millis(800);

/// Part of its even share that says that a server shares the load again. On a machine that is busy with
/// other things latencies differ by chance, and shares with them; the fault table measures evenness.
const SHARED: f64 = 0.25;
const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_costs_no_read_and_shares_again_once_it_is_back() {
    measured(async || {
        for count in [2, 3] {
            let mut fleet = Fleet::start(count).await;
            fleet.warm_up().await;
            let load = fleet.load(RATE, 4 * S);
            tokio::time::sleep(S).await;
            fleet.replicas[0].kill();
            tokio::time::sleep(S).await;
            fleet.replicas[0].restart();
            let outcomes = load.await.unwrap();
            none_failed(&outcomes);
            hardly_slower(&outcomes, AT_ONCE);
            assert_eq!(share(&outcomes, 1200 * MS, 2 * S, 0), 0.0);
            // It has its share again within a second.
            let back = share(&outcomes, 3 * S, 4 * S, 0);
            assert!(back > SHARED / count as f64, "{back} of {count}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_costs_no_read_and_is_avoided_at_once() {
    measured(async || {
        for count in [2, 3] {
            let fleet = Fleet::start(count).await;
            fleet.warm_up().await;
            let load = fleet.load(RATE, 5 * S);
            tokio::time::sleep(S).await;
            fleet.replicas[0].freeze(2 * S);
            let outcomes = load.await.unwrap();
            none_failed(&outcomes);
            hardly_slower(&outcomes, SILENCE);
            // Few calls are caught, because silence makes a server dear; those are sent elsewhere in
            // under a second.
            let reads = || outcomes.iter().filter(|one| one.kind == Kind::Read);
            let slow = reads().filter(|one| one.took > 300 * MS).count();
            assert!(slow < reads().count() / 20, "{slow} reads were caught");
            let slowest = reads().map(|one| one.took).max().unwrap();
            assert!(slowest < 1250 * MS, "{slowest:?}");
            // Found in under a second, and then nobody is caught any more.
            let later = reads().filter(|one| one.sent > 2 * S && one.sent < 3 * S);
            let late = later.filter(|one| one.took > 300 * MS).count();
            assert_eq!(late, 0, "reads were caught after a second");
            let back = share(&outcomes, 4 * S, 5 * S, 0);
            assert!(back > SHARED / count as f64, "{back} of {count}");
        }
    })
    .await;
}

/// One that says so (UNAVAILABLE), and one that does not do its work though it seems well (INTERNAL).
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_is_ejected_and_tried_again() {
    measured(async || {
        for (code, percent, count) in [
            (Code::Unavailable, 100, 2),
            (Code::Unavailable, 50, 3),
            (Code::Internal, 100, 3),
            (Code::Internal, 50, 2),
        ] {
            let what = format!("{percent} % {code:?} of one of {count}");
            let fleet = Fleet::start(count).await;
            fleet.warm_up().await;
            let load = fleet.load(RATE, 5 * S);
            tokio::time::sleep(S).await;
            fleet.replicas[0].conduct.fail(code, percent);
            tokio::time::sleep(2 * S).await;
            fleet.replicas[0].conduct.fail(Code::Ok, 0);
            let outcomes = load.await.unwrap();
            none_failed(&outcomes);
            hardly_slower(&outcomes, AT_ONCE);
            let during = share(&outcomes, 2 * S, 3 * S, 0);
            assert!(during < 0.8 / count as f64, "{what}: {during}");
            let back = share(&outcomes, 4200 * MS, 5 * S, 0);
            assert!(back > SHARED / count as f64, "{what}: {back}");
        }
    })
    .await;
}

/// One of the sick is ejected; of the other two, one of which fails fast, the healthy one must seem the
/// cheaper.
#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_that_answer_with_errors_at_once_cost_hardly_a_read() {
    measured(async || {
        let fleet = Fleet::start(3).await;
        fleet.warm_up().await;
        // a healthy one takes longer than it takes to fail
        fleet.replicas[2]
            .conduct
            .delay_ms
            .store(5, Ordering::SeqCst);
        let load = fleet.load(RATE, 5 * S);
        tokio::time::sleep(S).await;
        for sick in &fleet.replicas[..2] {
            sick.conduct.fail(Code::Internal, 100);
        }
        tokio::time::sleep(2 * S).await;
        for sick in &fleet.replicas[..2] {
            sick.conduct.fail(Code::Ok, 0);
        }
        let outcomes = load.await.unwrap();
        let during = || {
            let span = S..3 * S;
            outcomes.iter().filter(move |one| span.contains(&one.sent))
        };
        let failed = |kind: Kind| {
            let all = during().filter(|one| one.kind == kind);
            let failed = all.clone().filter(|one| one.result.is_err()).count();
            failed as f64 / all.count() as f64
        };
        // Until both are known to be sick, 20 calls each, a read may meet the one after the other twice.
        let reads = failed(Kind::Read);
        assert!(reads < 0.02, "{reads} of the reads failed");
        // What may not be repeated is lost with its first attempt: the probes of both, and those calls.
        let writes = failed(Kind::Write);
        assert!(writes < 0.3, "{writes} of the writes failed");
        for well in 0..2 {
            let back = share(&outcomes, 4 * S, 5 * S, well);
            assert!(back > SHARED / 3.0, "{back}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_avoided() {
    measured(async || {
        for count in [2, 3] {
            let fleet = Fleet::start(count).await;
            fleet.warm_up().await;
            let load = fleet.load(RATE, 4 * S);
            tokio::time::sleep(S).await;
            let delay = &fleet.replicas[0].conduct.delay_ms;
            delay.store(2000, Ordering::SeqCst);
            tokio::time::sleep(2 * S).await;
            delay.store(0, Ordering::SeqCst);
            let outcomes = load.await.unwrap();
            none_failed(&outcomes);
            let reads = || outcomes.iter().filter(|one| one.kind == Kind::Read);
            let (slow, all) = (reads().filter(|one| one.took > S).count(), reads().count());
            assert!(slow * 50 < all, "{slow} of {all}");
            let back = share(&outcomes, 3200 * MS, 4 * S, 0);
            assert!(back > SHARED / count as f64, "{back} of {count}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_costs_no_call_of_any_kind() {
    measured(async || {
        for count in [2, 3] {
            let mut fleet = Fleet::start(count).await;
            fleet.warm_up().await;
            let load = fleet.load(RATE, Duration::from_millis(700) * count as u32 + S);
            for replica in &mut fleet.replicas {
                tokio::time::sleep(300 * MS).await;
                replica.drain().await;
                tokio::time::sleep(100 * MS).await;
                replica.restart();
                tokio::time::sleep(300 * MS).await;
            }
            let outcomes = load.await.unwrap();
            // A server that is told to go ends what it began, and takes nothing new on.
            let failed: Vec<_> = outcomes.iter().filter(|one| one.result.is_err()).collect();
            let (count, all) = (failed.len(), outcomes.len());
            assert!(count == 0, "{count} of {all}, the first: {:?}", failed[0]);
        }
    })
    .await;
}
