use std::time::Duration;

use tokio::time::Instant;
use tower::service_fn;

use super::super::script::{READ, ok, policy, request};
use tonic::Code;

use super::*;
use crate::body::head_code;
use crate::deadline::scope;

const MS: Duration = Duration::from_millis(1);

/// What the transport is told, and how long the call took.
async fn call(request: Request, answers_after: Duration) -> (Option<Duration>, Response, Duration) {
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let transport = service_fn(move |request: Request| {
        let told = told.clone();
        async move {
            let _ = told.try_send(parse_timeout(request.headers()));
            tokio::time::sleep(answers_after).await;
            Ok::<_, Infallible>(ok())
        }
    });
    let mut client = ClientDeadlineLayer::new(policy()).layer(transport);
    let began = Instant::now();
    let response = client.call(request).await.unwrap();
    let told = heard.try_recv().ok().flatten();
    (told, response, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_least_of_the_caller_s_time_and_the_method_s_is_sent_along() {
    let default = policy().method(READ).deadline.unwrap();
    let (told, ..) = call(request(READ), MS).await;
    assert_eq!(told, Some(default));
    let inherited = Deadline::after(70 * MS);
    tokio::time::advance(20 * MS).await;
    let (told, ..) = scope(inherited, call(request(READ), MS)).await;
    assert_eq!(told, Some(50 * MS), "what is left of it, not all of it");
    let mut hurried = request(READ);
    hurried
        .headers_mut()
        .insert(&GRPC_TIMEOUT, format_timeout(30 * MS));
    let (told, ..) = scope(Deadline::after(70 * MS), call(hurried, MS)).await;
    assert_eq!(told, Some(30 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_deadline_to_the_millisecond() {
    let slow = scope(Deadline::after(70 * MS), call(request(READ), 60_000 * MS));
    let (_, response, took) = slow.await;
    assert_eq!(head_code(&response), Some(Code::DeadlineExceeded));
    assert!(took >= 70 * MS && took <= 71 * MS, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_time_left_nothing_is_sent() {
    let late = Deadline::after(MS);
    tokio::time::advance(2 * MS).await;
    let (told, response, took) = scope(late, call(request(READ), MS)).await;
    assert_eq!(head_code(&response), Some(Code::DeadlineExceeded));
    assert_eq!((told, took), (None, Duration::ZERO));
}
