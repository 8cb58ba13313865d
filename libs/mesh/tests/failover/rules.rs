//! What is sent again, what is not, and how much.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mediamesh_mesh::policy::options::OutlierDetectionOptions;
use mediamesh_mesh::policy::{MethodPolicyOptions, ServicePolicyOptions};
use mediamesh_mesh::{PolicyOptions, ServiceName};
use mediamesh_proto::ErrorReason;
use mediamesh_proto::status::reason_of;
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::fleet::{Conduct, Fleet};
use crate::measured::measured;

const MS: Duration = Duration::from_millis(1);

fn method(path: &str, options: MethodPolicyOptions) -> PolicyOptions {
    let mut policy = PolicyOptions::default();
    policy.methods.insert(path.into(), options);
    policy
}

/// Waits until no call works any more of those that a server got after `before`.
async fn all_given_up(conduct: &Conduct, before: u64) {
    let asked = conduct.calls() - before;
    assert!(asked > 0, "it was never asked");
    for _ in 0..400 {
        if conduct.cancelled.load(Ordering::SeqCst) == asked {
            return;
        }
        tokio::time::sleep(5 * MS).await;
    }
    panic!(
        "{} of {asked} ended",
        conduct.cancelled.load(Ordering::SeqCst)
    );
}

#[tokio::test]
async fn only_what_may_be_repeated_is() {
    let fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    let calls = || -> u64 { fleet.replicas.iter().map(|one| one.conduct.calls()).sum() };
    for replica in &fleet.replicas {
        replica.conduct.fail(Code::Unavailable, 100);
    }
    let before = calls();
    assert_eq!(fleet.write().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(calls() - before, 1, "a write that may have started");
    let before = calls();
    assert_eq!(fleet.read().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(calls() - before, 4, "a read, to the last attempt");
    for replica in &fleet.replicas {
        replica.conduct.fail(Code::InvalidArgument, 100);
    }
    let before = calls();
    fleet.read().await.unwrap_err();
    assert_eq!(calls() - before, 1, "a mistake of the caller");
}

#[tokio::test]
async fn a_write_goes_elsewhere_if_it_never_left() {
    let mut fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    fleet.replicas[0].kill();
    // Until the end of the connection is noticed a write might have left.
    tokio::time::sleep(50 * MS).await;
    for _ in 0..20 {
        assert_eq!(fleet.write().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn an_upload_goes_elsewhere_if_it_never_left() {
    let mut fleet = Fleet::start(2).await;
    fleet.replicas[0].kill();
    for _ in 0..20 {
        assert_eq!(fleet.upload(100).await.unwrap(), "4950");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_gets_hardly_more_calls_than_are_made() {
    let fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    let calls = || -> u64 { fleet.replicas.iter().map(|one| one.conduct.calls()).sum() };
    let before = calls();
    for replica in &fleet.replicas {
        replica.conduct.fail(Code::Unavailable, 100);
    }
    let outcomes = fleet.load(500, Duration::from_secs(3)).await.unwrap();
    let amplification = (calls() - before) as f64 / outcomes.len() as f64;
    assert!(amplification <= 1.1, "{amplification}");
    // Most are told at once, without a call, and when to come back.
    let open = outcomes
        .iter()
        .filter_map(|outcome| outcome.result.as_ref().err())
        .filter(|status| reason_of(status) == Some(ErrorReason::CircuitOpen))
        .inspect(|status| assert!(status.get_details_retry_info().is_some()))
        .count();
    assert!(open * 2 > outcomes.len(), "{open} of {}", outcomes.len());
}

/// A service that asks a service that is down: a storm would be the product of what both add.
///
/// Returns how many calls came to the service between and to that at the bottom, for each that was made.
async fn two_hops(options: PolicyOptions) -> (f64, f64) {
    // Servers that shed nothing: what is held back is so by clients.
    let mut servers = PolicyOptions::default();
    let fixed = ServicePolicyOptions {
        min_running: Some(4096),
        max_running: Some(4096),
        ..Default::default()
    };
    servers.services.insert(ServiceName::Media, fixed);
    let (top, bottom) = (
        Fleet::start_both(2, servers.clone(), options.clone()).await,
        Fleet::start_both(2, servers, options).await,
    );
    bottom.warm_up().await;
    top.warm_up().await;
    for replica in &top.replicas {
        replica.conduct.next.set(bottom.channel.clone()).unwrap();
    }
    top.read().await.unwrap();
    for replica in &bottom.replicas {
        replica.conduct.fail(Code::Unavailable, 100);
    }
    let calls = |of: &Fleet| -> u64 { of.replicas.iter().map(|one| one.conduct.calls()).sum() };
    let (before_top, before) = (calls(&top), calls(&bottom));
    let outcomes = top.load(500, Duration::from_secs(4)).await.unwrap();
    let made = outcomes.len() as f64;
    assert!(outcomes.iter().all(|one| one.result.is_err()), "it is down");
    let between = (calls(&top) - before_top) as f64 / made;
    let amplification = (calls(&bottom) - before) as f64 / made;
    assert!(
        amplification <= 1.1,
        "{amplification}, and {between} between the two"
    );
    (between, amplification)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hops_that_both_retry_make_no_storm() {
    two_hops(PolicyOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_do_they_where_no_breaker_ever_opens() {
    let (between, bottom) = two_hops(no_breaker()).await;
    // it was the budgets, not a call that was never sent
    assert!(between >= 1.0 && bottom >= 1.0, "{between} and {bottom}");
}

/// Options of clients whose breakers stay closed whatever happens.
fn no_breaker() -> PolicyOptions {
    let never = ServicePolicyOptions {
        outlier_detection: OutlierDetectionOptions {
            consecutive_failures: Some(u32::MAX),
            minimum_calls: Some(u32::MAX),
            ..Default::default()
        },
        ..Default::default()
    };
    let mut options = PolicyOptions::default();
    options.services.insert(ServiceName::Media, never);
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn the_retry_budget_alone_holds_back_a_storm() {
    let fleet = Fleet::start_with(2, no_breaker()).await;
    fleet.warm_up().await;
    let calls = || -> u64 { fleet.replicas.iter().map(|one| one.conduct.calls()).sum() };
    let before = calls();
    for replica in &fleet.replicas {
        replica.conduct.fail(Code::Unavailable, 100);
    }
    let outcomes = fleet.load(500, Duration::from_secs(3)).await.unwrap();
    let came = calls() - before;
    assert!(came >= outcomes.len() as u64, "every call was sent: {came}");
    let amplification = came as f64 / outcomes.len() as f64;
    assert!(amplification <= 1.1, "{amplification}");
}

#[tokio::test]
async fn a_retry_never_passes_the_deadline() {
    let fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    for replica in &fleet.replicas {
        replica.conduct.delay_ms.store(150, Ordering::SeqCst);
        replica.conduct.fail(Code::Unavailable, 100);
    }
    let began = Instant::now();
    let status = fleet.read_within(400 * MS).await.unwrap_err();
    assert!(began.elapsed() < 450 * MS, "{:?}", began.elapsed());
    assert!(
        matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded),
        "{status:?}"
    );
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_made_elsewhere() {
    let fleet = Fleet::start_with(
        2,
        method(
            "mediamesh.media.v1.Fleet/Read",
            MethodPolicyOptions {
                attempt_timeout_ms: Some(100),
                ..Default::default()
            },
        ),
    )
    .await;
    fleet.warm_up().await;
    let slow = &fleet.replicas[0].conduct;
    let before = slow.calls();
    slow.delay_ms.store(5_000, Ordering::SeqCst);
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(fleet.read().await.unwrap(), 1);
        assert!(began.elapsed() < 300 * MS);
    }
    // Given up, the work ends too.
    all_given_up(slow, before).await;
}

#[tokio::test]
async fn a_slow_read_is_hedged_and_the_loser_is_cancelled() {
    let mut options = method(
        "mediamesh.media.v1.Fleet/Read",
        MethodPolicyOptions::default(),
    );
    let hedging = &mut options
        .methods
        .get_mut("mediamesh.media.v1.Fleet/Read")
        .unwrap()
        .hedging_policy;
    hedging.max_attempts = Some(2);
    hedging.hedging_delay_ms = Some(20);
    let fleet = Fleet::start_with(2, options).await;
    fleet.warm_up().await;
    // Hedges are earned: one in twenty calls.
    for _ in 0..60 {
        fleet.read().await.unwrap();
    }
    let tokens = fleet.metric("mediamesh_mesh_hedge_tokens{service=\"media\",method=\"Read\"}");
    assert!(tokens > 0.0, "{tokens} after 60 calls");
    let slow = &fleet.replicas[0].conduct;
    slow.delay_ms.store(2_000, Ordering::SeqCst);
    let before = slow.calls();
    for _ in 0..1000 {
        let began = Instant::now();
        assert_eq!(fleet.read().await.unwrap(), 1);
        assert!(began.elapsed() < 200 * MS, "{:?}", began.elapsed());
        if slow.calls() > before {
            break;
        }
        tokio::time::sleep(MS).await;
    }
    assert!(slow.calls() > before, "the slow server was never asked");
    let won = fleet.metric("mediamesh_mesh_hedges_total{service=\"media\",winner=\"second\"}");
    assert!(won >= 1.0);
    tokio::time::sleep(50 * MS).await;
    assert!(slow.cancelled.load(Ordering::SeqCst) >= 1);
}

#[tokio::test]
async fn a_name_stands_for_all_its_addresses() {
    let fleet = Fleet::start(1).await;
    let port = fleet.replicas[0].address.port();
    fleet
        .registry
        .register_remote(ServiceName::Media, &[format!("dns:///localhost:{port}")])
        .unwrap();
    assert_eq!(fleet.read().await.unwrap(), 0);
    let state = serde_json::to_value(fleet.registry.snapshot()).unwrap();
    let endpoints = state[0]["endpoints"].as_array().unwrap();
    let ready = endpoints
        .iter()
        .filter(|endpoint| endpoint["connectivity"] == "ready");
    assert_eq!(ready.count(), 1, "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_come_and_go_cost_no_call_of_any_kind() {
    let fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    // Calls are under way whenever a server leaves.
    for replica in &fleet.replicas {
        replica.conduct.delay_ms.store(20, Ordering::SeqCst);
    }
    let both: Vec<String> = fleet
        .replicas
        .iter()
        .map(|replica| format!("http://{}", replica.address))
        .collect();
    let load = fleet.load(200, Duration::from_secs(3));
    for turn in 0..12 {
        let known = if turn % 2 == 0 { &both[1..] } else { &both[..] };
        fleet
            .registry
            .register_remote(ServiceName::Media, known)
            .unwrap();
        tokio::time::sleep(200 * MS).await;
    }
    let outcomes = load.await.unwrap();
    let failed: Vec<_> = outcomes.iter().filter(|one| one.result.is_err()).collect();
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        failed[0]
    );
    let asked = |server| {
        let answered = |one: &&crate::fleet::Outcome| one.result.as_ref().ok() == Some(&server);
        outcomes.iter().filter(answered).count()
    };
    assert!(
        asked(0) > 50 && asked(1) > asked(0),
        "{} and {}",
        asked(0),
        asked(1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_added_under_load_shares_it_and_no_call_fails() {
    measured(async || {
        let fleet = Fleet::start(2).await;
        // the second is there, and nobody knows
        fleet.at([fleet.replicas[0].address]);
        for replica in &fleet.replicas {
            replica.conduct.delay_ms.store(5, Ordering::SeqCst);
        }
        let load = fleet.load(300, Duration::from_secs(3));
        tokio::time::sleep(1000 * MS).await;
        fleet.at(fleet.replicas.iter().map(|replica| replica.address));
        let outcomes = load.await.unwrap();
        let failed: Vec<_> = outcomes.iter().filter(|one| one.result.is_err()).collect();
        assert!(
            failed.is_empty(),
            "{} failed: {:?}",
            failed.len(),
            failed[0]
        );
        let share = |from: u64, until: u64| {
            let span = Duration::from_millis(from)..Duration::from_millis(until);
            let within = || outcomes.iter().filter(|one| span.contains(&one.sent));
            let new = within().filter(|one| one.result.as_ref().ok() == Some(&1));
            new.count() as f64 / within().count() as f64
        };
        assert_eq!(share(0, 1000), 0.0);
        // half of it is even; a busy machine is not
        let taken = share(2000, 3000);
        assert!((0.3..=0.7).contains(&taken), "{taken} within a second");
    })
    .await;
}

#[tokio::test]
async fn retries_can_be_turned_off() {
    let mut options = PolicyOptions::default();
    let mut service = ServicePolicyOptions::default();
    service.retry_policy.max_attempts = Some(1);
    options.services.insert(ServiceName::Media, service);
    let fleet = Fleet::start_with(1, options).await;
    fleet.warm_up().await;
    let conduct = &fleet.replicas[0].conduct;
    conduct.fail(Code::Unavailable, 100);
    let before = conduct.calls();
    fleet.read().await.unwrap_err();
    assert_eq!(conduct.calls() - before, 1);
}

#[tokio::test]
async fn errors_of_one_method_do_not_cut_off_the_rest() {
    let fleet = Fleet::start(1).await;
    fleet.warm_up().await;
    fleet.replicas[0].conduct.fail(Code::Internal, 100);
    for _ in 0..60 {
        assert_eq!(fleet.read().await.unwrap_err().code(), Code::Internal);
    }
    fleet.replicas[0].conduct.fail(Code::Ok, 0);
    for _ in 0..20 {
        fleet.read().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_fails_fast_neither_attracts_calls_nor_fails_reads() {
    let fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    fleet.replicas[0].conduct.fail(Code::Internal, 100);
    fleet.replicas[1]
        .conduct
        .delay_ms
        .store(10, Ordering::SeqCst);
    let before = fleet.replicas[0].conduct.calls();
    for _ in 0..200 {
        assert_eq!(fleet.read().await.unwrap(), 1, "the other answers");
    }
    let asked = fleet.replicas[0].conduct.calls() - before;
    assert!(asked < 60, "{asked} of 200 reads went there first");
}

#[tokio::test]
async fn a_server_whose_handlers_hang_costs_no_read_and_its_time_outs_are_counted() {
    hangs(PolicyOptions::default()).await;
}

#[tokio::test]
async fn nor_does_it_where_hedges_are_used_up() {
    let mut options = method(
        "mediamesh.media.v1.Fleet/Read",
        MethodPolicyOptions::default(),
    );
    for own in options.methods.values_mut() {
        own.hedging_policy.max_attempts = Some(2);
        own.hedging_policy.hedging_delay_ms = Some(20);
    }
    hangs(options).await;
}

/// Reads from two servers, one of which takes calls and never answers them.
async fn hangs(options: PolicyOptions) {
    let fleet = Fleet::start_with(2, options).await;
    fleet.warm_up().await;
    let hangs = &fleet.replicas[0].conduct;
    hangs.delay_ms.store(60_000, Ordering::SeqCst);
    let before = hangs.calls();
    for _ in 0..10 {
        let calls = (0..10).map(|_| fleet.read_within(1000 * MS));
        for answer in futures::future::join_all(calls).await {
            assert_eq!(answer.unwrap(), 1, "the other answers");
        }
    }
    let asked = hangs.calls() - before;
    assert!((1..40).contains(&asked), "{asked} of 100 went there first");
    let timed_out =
        fleet.metric(r#"mediamesh_mesh_attempts_total{service="media",code="DEADLINE_EXCEEDED"}"#);
    assert!(timed_out >= 1.0, "{timed_out}");
    // Given up, the work ends too.
    all_given_up(hangs, before).await;
}

#[tokio::test]
async fn a_write_that_one_server_sheds_is_made_by_the_other() {
    let mut one_at_a_time = PolicyOptions::default();
    let service = ServicePolicyOptions {
        min_running: Some(1),
        initial_running: Some(1),
        max_running: Some(1),
        max_in_flight: Some(1),
        ..Default::default()
    };
    one_at_a_time.services.insert(ServiceName::Media, service);
    let fleet = Fleet::start_both(2, one_at_a_time, PolicyOptions::default()).await;
    fleet.warm_up().await;
    // Another client takes the only place of the first.
    let full = &fleet.replicas[0];
    full.conduct.delay_ms.store(60_000, Ordering::SeqCst);
    let other = Fleet::start(0).await;
    other.at([full.address]);
    let before = full.conduct.calls();
    let write = other.write();
    let writes = async {
        while full.conduct.calls() == before {
            tokio::time::sleep(MS).await;
        }
        let shed = r#"mediamesh_mesh_attempts_total{service="media",code="UNAVAILABLE"}"#;
        for _ in 0..1000 {
            assert_eq!(fleet.write().await.unwrap(), 1);
            if fleet.metric(shed) >= 3.0 {
                return;
            }
        }
        panic!("the full one was never asked first");
    };
    tokio::select! {
        answer = write => panic!("{answer:?}"),
        () = writes => {}
    }
    assert_eq!(
        full.conduct.calls() - before,
        1,
        "what is shed has not started"
    );
}

#[tokio::test]
async fn a_service_that_is_gone_is_said_to_be_before_anybody_waits() {
    let mut fleet = Fleet::start(2).await;
    fleet.warm_up().await;
    for replica in &mut fleet.replicas {
        replica.kill();
    }
    for _ in 0..5 {
        let began = Instant::now();
        let status = fleet.read().await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        // four attempts, each of which may wait for one more refusal of each server
        let took = began.elapsed();
        assert!(took < 1000 * MS, "{took:?}");
        assert!(status.get_details_retry_info().is_some());
    }
}
