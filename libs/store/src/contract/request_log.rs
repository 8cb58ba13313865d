use mediamesh_proto::time::now_micros;
use uuid::Uuid;

use super::*;
use crate::{RequestLogStore as _, request_log::LoggedRequest};

const DAY: i64 = 24 * 3600 * 1_000_000;

fn request(
    tenant: mediamesh_proto::TenantId,
    time: i64,
    millis: i64,
    status: i16,
) -> LoggedRequest {
    LoggedRequest {
        id: Uuid::now_v7(),
        end_time: time,
        tenant_id: tenant,
        subject: "somebody".to_owned(),
        method: "GET".to_owned(),
        route: "/v1/mediaItems".to_owned(),
        status,
        duration_micros: millis * 1000,
        request_bytes: 1,
        response_bytes: 10,
        trace_id: "0".repeat(32),
    }
}

#[tokio::test]
async fn requests_are_written_once_and_summarised_by_route_and_tenant() {
    let Some((_guard, store)) = store().await else {
        return;
    };
    assert_eq!(store.log_requests(Vec::new()).await.unwrap(), 0);
    let now = now_micros();
    let status = |n: i64| match n {
        1..=3 => 404,
        4..=8 => 503,
        _ => 200,
    };
    let mut batch: Vec<LoggedRequest> = (1..=100)
        .map(|n| request(TENANT, now + n, n, status(n)))
        .collect();
    batch.push(request(STRANGER, now, 7_000, 200));
    let mut other = request(TENANT, now, 5, 200);
    other.route = "/v1/jobs".to_owned();
    batch.push(other);
    assert_eq!(store.log_requests(batch.clone()).await.unwrap(), 102);
    assert_eq!(store.log_requests(batch).await.unwrap(), 0, "sent twice");

    let (since, until) = (now - 1, now + DAY);
    let own = store.summarize_requests(Some(TENANT), since, until, 10);
    let own = own.await.unwrap();
    assert_eq!(own.len(), 2, "{own:?}");
    let most = &own[0];
    assert_eq!(
        (most.method.as_str(), most.route.as_str()),
        ("GET", "/v1/mediaItems")
    );
    assert_eq!(
        (most.requests, most.client_errors, most.server_errors),
        (100, 3, 5)
    );
    assert_eq!((most.request_bytes, most.response_bytes), (100, 1000));
    let percentiles = (most.p50_micros, most.p95_micros, most.p99_micros);
    assert_eq!(percentiles, (50_000, 95_000, 99_000));
    assert_eq!(
        (own[1].requests, own[1].p50_micros, own[1].p99_micros),
        (1, 5_000, 5_000)
    );

    let theirs = store.summarize_requests(Some(STRANGER), since, until, 10);
    assert_eq!(theirs.await.unwrap()[0].requests, 1);
    let all = store
        .summarize_requests(None, since, until, 1)
        .await
        .unwrap();
    assert_eq!((all.len(), all[0].requests), (1, 101));
    let none = store.summarize_requests(None, until, until + 1, 10);
    assert_eq!(none.await.unwrap(), Vec::new());
}

#[tokio::test]
async fn old_requests_are_removed_in_chunks() {
    let Some((_guard, store)) = store().await else {
        return;
    };
    let now = now_micros();
    let old: Vec<LoggedRequest> = (0..25)
        .map(|n| request(TENANT, now - DAY + n, 1, 200))
        .collect();
    store.log_requests(old).await.unwrap();
    store
        .log_requests(vec![request(TENANT, now, 1, 200)])
        .await
        .unwrap();
    let before = now - DAY / 2;
    let mut rounds = Vec::new();
    loop {
        match store.sweep_requests(before, 10).await.unwrap() {
            0 => break,
            removed => rounds.push(removed),
        }
    }
    assert_eq!(rounds, [10, 10, 5]);
    let left = store
        .summarize_requests(None, 0, now + 1, 10)
        .await
        .unwrap();
    assert_eq!(left[0].requests, 1);
    // nothing ends before the epoch
    assert_eq!(
        store.turn_request_log(0, false).await.unwrap(),
        Vec::<String>::new()
    );
}
