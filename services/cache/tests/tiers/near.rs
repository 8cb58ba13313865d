//! The memory that callers keep in front of the service.

use std::time::Duration;

use mediamesh_mesh::{
    Identity, LocalAuthenticator, Policy, Registry, ServerBuilder, ServerDeps, ServiceName,
    identity,
};
use mediamesh_near::{NearCache, Options};
use mediamesh_proto::{
    TenantId,
    cache::v1::{BatchGetEntriesRequest, GetEntryRequest, get_entry_response::Outcome},
};
use mediamesh_telemetry::Metrics;
use mediamesh_testkit::{Redis, redis::programs};
use tokio::time::{Instant, sleep};

use crate::{
    subject::{Subject, redis},
    suite::{entry, invalidate, set},
};

const LOCAL: TenantId = TenantId(mediamesh_mesh::LOCAL_TENANT_ID);
/// Longer than a changed key is not kept.
const QUIET: Duration = Duration::from_millis(1100);

/// A caller's memory in front of a service, and what it counts.
fn near(subject: &Subject) -> (NearCache, Metrics, Registry) {
    let metrics = Metrics::new();
    let registry = Registry::new(Policy::default(), &metrics);
    let deps = ServerDeps {
        policy: Policy::default(),
        metrics: subject.metrics.clone(),
        health: subject.health.clone(),
        authenticator: std::sync::Arc::new(LocalAuthenticator),
    };
    let routes = ServerBuilder::new(deps)
        .add_service(subject.cache.server())
        .build()
        .unwrap();
    registry.register_local(ServiceName::Cache, routes);
    let channel = registry.channel(ServiceName::Cache);
    let near = NearCache::new(channel, &Options::default(), &metrics);
    (near, metrics, registry)
}

async fn look(near: &NearCache, key: &str) -> Option<String> {
    let request = GetEntryRequest {
        key: key.to_owned(),
        ..GetEntryRequest::default()
    };
    let response = identity::scope(Identity::local(), near.get_entry(request)).await;
    match response.unwrap().outcome {
        Some(Outcome::Entry(entry)) => Some(String::from_utf8(entry.value.to_vec()).unwrap()),
        _ => None,
    }
}

fn hits(metrics: &Metrics) -> u64 {
    let text = metrics.encode();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("mediamesh_near_cache_hits_total "));
    line.unwrap().parse().unwrap()
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

async fn watches(metrics: &Metrics) {
    until("it does not watch", async || {
        metrics
            .encode()
            .contains("mediamesh_near_cache_watching 1\n")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_hit_costs_no_call_and_ends_with_a_change_anywhere() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let options = redis(vec![server.url()], false);
    let here = Subject::connected(options.clone()).await;
    let there = Subject::connected(options).await;
    let (near, metrics, _registry) = near(&here);
    watches(&metrics).await;
    for (round, changer) in [&there, &here].into_iter().enumerate() {
        let cache = changer.direct();
        set(&cache, LOCAL, entry("k", &format!("v{round}"), &["t"])).await;
        sleep(QUIET).await;
        assert_eq!(look(&near, "k").await.unwrap(), format!("v{round}"));
        let before = hits(&metrics);
        for _ in 0..100 {
            assert_eq!(look(&near, "k").await.unwrap(), format!("v{round}"));
        }
        assert_eq!(hits(&metrics) - before, 100);
        set(&cache, LOCAL, entry("k", "changed", &["t"])).await;
        let changed = async || look(&near, "k").await.unwrap() == "changed";
        let took = until("the change is not heard of", changed).await;
        assert!(took < Duration::from_millis(500), "{took:?}");
        invalidate(&cache, LOCAL, &[], &["t"], "").await;
        until("the tag is not heard of", async || {
            look(&near, "k").await.is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn a_batch_asks_only_for_what_is_not_here_and_keeps_its_order() {
    let subject = Subject::memory();
    let (near, metrics, _registry) = near(&subject);
    watches(&metrics).await;
    let cache = subject.direct();
    for name in ["a", "b", "c"] {
        set(&cache, LOCAL, entry(name, name, &[])).await;
    }
    sleep(QUIET).await;
    assert_eq!(look(&near, "b").await.unwrap(), "b");
    let keys = ["c", "missing", "b", "a"].map(str::to_owned).to_vec();
    let request = BatchGetEntriesRequest { keys };
    let lookups = identity::scope(Identity::local(), near.batch_get_entries(request)).await;
    let values: Vec<_> = (lookups.unwrap().into_iter())
        .map(|lookup| lookup.entry.map(|entry| entry.value))
        .collect();
    assert_eq!(
        values,
        [Some("c".into()), None, Some("b".into()), Some("a".into())]
    );
    assert_eq!(hits(&metrics), 1);
}

#[tokio::test]
async fn nothing_is_answered_from_memory_while_nobody_tells_of_changes() {
    let subject = Subject::memory();
    let (near, metrics, _registry) = near(&subject);
    watches(&metrics).await;
    set(&subject.direct(), LOCAL, entry("k", "v", &[])).await;
    sleep(QUIET).await;
    assert_eq!(look(&near, "k").await.unwrap(), "v");
    assert_eq!(look(&near, "k").await.unwrap(), "v");
    assert_eq!(hits(&metrics), 1);
    // the service goes down: its stream ends, though it still answers
    subject.health.set_draining();
    until("it still watches", async || {
        metrics
            .encode()
            .contains("mediamesh_near_cache_watching 0\n")
    })
    .await;
    assert_eq!(look(&near, "k").await.unwrap(), "v");
    assert_eq!(hits(&metrics), 1);
}
