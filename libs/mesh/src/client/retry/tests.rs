use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::super::balance::broken;
use super::super::script::{READ, Script, WRITE, failed, ok, policy, pool, request};
use super::super::verdict::Broken;
use super::*;
use crate::Deadline;
use crate::body::head_code;

const MS: Duration = Duration::from_millis(1);

fn down() -> Response {
    failed(Status::unavailable("down"))
}

async fn call(script: &Script, request: Request) -> Response {
    call_through(&pool(), script, request).await
}

async fn call_through(pool: &Arc<Pool>, script: &Script, request: Request) -> Response {
    let mut retry = RetryLayer::new(Arc::clone(pool), policy()).layer(script.clone());
    retry.call(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn waits_are_drawn_below_a_bound_that_doubles() {
    let bounds = [10 * MS, 20 * MS, 40 * MS];
    fastrand::seed(42);
    let mut at = Duration::ZERO;
    let mut expected = vec![at];
    for bound in bounds {
        at += bound.mul_f64(fastrand::f64());
        expected.push(at);
    }
    fastrand::seed(42);
    let script = Script::new([down(), down(), down()]);
    let answer = call(&script, request(READ)).await;
    assert_eq!(head_code(&answer), None, "the fourth attempt was answered");
    let seen = script.seen();
    assert_eq!(seen.len(), 4);
    for (number, (seen, expected)) in seen.iter().zip(expected).enumerate() {
        assert_eq!(seen.previous_attempts as usize, number);
        // the timer counts whole milliseconds, each wait rounded up
        let late = seen.at.saturating_sub(expected);
        assert!(
            seen.at >= expected && late <= 4 * MS,
            "{seen:?} {expected:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_end_with_the_policy_s_last() {
    let script = Script::new((0..9).map(|_| down()));
    let answer = call(&script, request(READ)).await;
    assert_eq!(head_code(&answer), Some(Code::Unavailable));
    assert_eq!(script.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_may_have_started_is_not_made_again() {
    for answer in [
        down(),
        broken(Status::unavailable("lost"), Broken::Lost),
        broken(Status::deadline_exceeded("slow"), Broken::TimedOut),
    ] {
        let script = Script::new([answer]);
        call(&script, request(WRITE)).await;
        assert_eq!(script.seen().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_did_not_start_is_made_elsewhere() {
    let refused = broken(Status::unavailable("refused"), Broken::NotStarted);
    let script = Script::new([refused]);
    let answer = call(&script, request(WRITE)).await;
    assert_eq!(head_code(&answer), None);
    assert_eq!(script.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn mistakes_of_the_caller_and_bugs_that_no_other_can_be_asked_about_are_final() {
    for code in [
        Code::InvalidArgument,
        Code::NotFound,
        Code::PermissionDenied,
        Code::Internal,
        Code::Unimplemented,
    ] {
        let script = Script::new([failed(Status::new(code, "no"))]);
        let answer = call(&script, request(READ)).await;
        assert_eq!(head_code(&answer), Some(code));
        assert_eq!(script.seen().len(), 1, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_be_one_servers_bug_is_asked_of_another_and_costs_the_budget_only_then() {
    let bug = || failed(Status::internal("a bug"));
    let pool = pool();
    pool.set_ready(2);
    let full = pool.throttle.tokens().0;
    // must not be repeated: no reason to hold back others
    let script = Script::new([bug(), ok()]);
    call_through(&pool, &script, request(WRITE)).await;
    assert_eq!(script.seen().len(), 1);
    assert_eq!(pool.throttle.tokens().0, full);
    let answer = call_through(&pool, &Script::new([bug(), ok()]), request(READ)).await;
    assert_eq!(head_code(&answer), None);
    assert!(pool.throttle.tokens().0 < full);
}

fn advised(after: Duration) -> Response {
    let details = ErrorDetails::with_retry_info(Some(after));
    failed(Status::with_error_details(
        Code::Unavailable,
        "later",
        details,
    ))
}

#[tokio::test(start_paused = true)]
async fn advice_when_to_come_back_is_the_least_wait() {
    let script = Script::new([advised(300 * MS)]);
    call(&script, request(READ)).await;
    let second = script.seen()[1].at;
    assert!(second >= 300 * MS && second <= 311 * MS, "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn no_wait_goes_past_the_deadline() {
    let script = Script::new([advised(300 * MS)]);
    let mut request = request(READ);
    request.extensions_mut().insert(Deadline::after(200 * MS));
    let began = Instant::now();
    let answer = call(&script, request).await;
    assert_eq!(head_code(&answer), Some(Code::Unavailable));
    assert_eq!(script.seen().len(), 1);
    assert_eq!(began.elapsed(), Duration::ZERO, "nothing was waited for");
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_ends_retries_until_successes_fill_it() {
    let pool = pool();
    let all_down = Script::new((0..300).map(|_| down()));
    for _ in 0..60 {
        call_through(&pool, &all_down, request(READ)).await;
    }
    let tried = all_down.seen().len();
    assert!(tried < 60 + 50, "{tried} attempts of 60 calls");
    let last = Script::new([down()]);
    call_through(&pool, &last, request(READ)).await;
    assert_eq!(last.seen().len(), 1, "no budget is left");
    for _ in 0..600 {
        call_through(&pool, &Script::new([ok()]), request(READ)).await;
    }
    let again = Script::new([down()]);
    call_through(&pool, &again, request(READ)).await;
    assert_eq!(again.seen().len(), 2, "the budget is back");
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_costs_no_budget() {
    let pool = pool();
    let gone = || broken(Status::unavailable("gone"), Broken::Unreachable);
    for _ in 0..60 {
        call_through(&pool, &Script::new((0..4).map(|_| gone())), request(READ)).await;
    }
    let after = Script::new([down()]);
    call_through(&pool, &after, request(READ)).await;
    assert_eq!(after.seen().len(), 2, "the outage took nothing");
}

#[tokio::test(start_paused = true)]
async fn open_breakers_are_said_at_once() {
    let script = Script::new([broken(Status::unavailable("open"), Broken::NoEndpoint)]);
    call(&script, request(READ)).await;
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_this_process_says_itself_is_no_advice_to_itself() {
    let gone = || broken(crate::status::unreachable("embedding"), Broken::Unreachable);
    let script = Script::new((0..4).map(|_| gone()));
    let began = Instant::now();
    let answer = call(&script, request(READ)).await;
    assert!(began.elapsed() < 100 * MS, "{:?}", began.elapsed());
    // but to whoever called
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert!(status.get_details_retry_info().is_some());
}
