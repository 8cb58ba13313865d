use std::time::Duration;

use tokio::time::Instant;
use tower::service_fn;

use super::super::script::{READ, ok, policy, request};
use super::*;
use crate::deadline::parse_timeout;
use crate::policy::{MethodPolicyOptions, PolicyOptions};
use crate::{MethodTable, Policy};

const MS: Duration = Duration::from_millis(1);

async fn attempt(call: Box<Call>, answers_after: Duration) -> (http::HeaderMap, Response) {
    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let transport = service_fn(move |call: Box<Call>| {
        let told = told.clone();
        async move {
            let _ = told.try_send(call.head.headers);
            tokio::time::sleep(answers_after).await;
            Ok::<_, Infallible>(ok())
        }
    });
    let response = AttemptLayer::new(super::super::script::pool())
        .layer(transport)
        .call(call)
        .await
        .unwrap();
    (heard.try_recv().unwrap(), response)
}

async fn call(policy: &Policy, deadline: Duration) -> Box<Call> {
    let mut request = request(READ);
    request.extensions_mut().insert(Deadline::after(deadline));
    match Call::take(request, policy).await {
        Ok(call) => call,
        Err(_) => panic!("the body can be read"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_says_its_number_and_the_time_that_is_left() {
    let first = call(&policy(), 500 * MS).await;
    let second = first.original.again(1).unwrap();
    let (headers, _) = attempt(first, MS).await;
    assert!(!headers.contains_key(&PREVIOUS_ATTEMPTS));
    assert_eq!(parse_timeout(&headers), None, "the layer above has said it");
    tokio::time::advance(99 * MS).await;
    let (headers, _) = attempt(second, MS).await;
    assert_eq!(headers[&PREVIOUS_ATTEMPTS], "1");
    assert_eq!(
        parse_timeout(&headers),
        Some(400 * MS),
        "1 ms went to the first"
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_with_its_own_time_and_says_that_the_call_has_more() {
    let options = PolicyOptions {
        methods: [(
            READ.trim_start_matches('/').to_owned(),
            MethodPolicyOptions {
                attempt_timeout_ms: Some(100),
                ..MethodPolicyOptions::default()
            },
        )]
        .into(),
        ..PolicyOptions::default()
    };
    let policy = Policy::new(&options, &MethodTable::of_contract());
    let began = Instant::now();
    let (headers, response) = attempt(call(&policy, 500 * MS).await, 60_000 * MS).await;
    assert_eq!(parse_timeout(&headers), Some(100 * MS));
    assert!(began.elapsed() >= 100 * MS && began.elapsed() <= 101 * MS);
    assert_eq!(
        response.extensions().get::<Broken>(),
        Some(&Broken::TimedOut)
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_gives_half_of_its_time_to_the_first_of_two_servers() {
    let pool = super::super::script::pool();
    let read = || async {
        let mut request = request("/mediamesh.search.v1.SearchService/SearchMedia");
        request.extensions_mut().insert(Deadline::after(4_000 * MS));
        match Call::take(request, &policy()).await {
            Ok(call) => call,
            Err(_) => panic!("the body can be read"),
        }
    };
    for (endpoints, given) in [(1, None), (2, Some(2_000 * MS))] {
        pool.set_ready(endpoints);
        let original = read().await.original.clone();
        let limit = limit(&original, &pool).map(Deadline::remaining);
        assert_eq!(limit, given, "{endpoints} endpoints");
    }
    // the second is the last that can be asked
    let original = read().await.original.clone();
    original.tried.add(&pool.endpoints()[0]);
    assert_eq!(limit(&original, &pool), None);
    for _ in 0..60 {
        pool.throttle.failed();
    }
    let original = read().await.original.clone();
    assert_eq!(limit(&original, &pool), None, "it could not be repeated");
}
