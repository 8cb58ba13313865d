//! Redis gone, silent, slow, full and read-only: no request fails, none waits for long, nothing that was
//! removed comes back, and all is well again by itself.

use std::time::Duration;

use mediamesh_proto::{
    cache::v1::{GetEntryRequest, cache_service_server::CacheService},
    time::duration,
};
use mediamesh_testkit::{Proxy, Redis, RedisCluster, redis::programs};
use tokio::time::Instant;

use crate::{
    many::{get_many, names, set_many},
    searches,
    subject::{Subject, redis, tenant},
    suite::{entry, invalidate, lease, set, value},
};

/// Longest that a request may take while Redis does not answer: steps of 100 ms on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1);

async fn quick<T>(what: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let answer = work.await;
    let took = began.elapsed();
    assert!(took < PATIENCE, "{what} took {took:?}");
    answer
}

/// What works without Redis.
async fn memory_serves(cache: &impl CacheService, round: &str) {
    let tenant = tenant(7);
    for number in 0..20 {
        let key = format!("{round}:{number}");
        quick("set", set(cache, tenant, entry(&key, "v", &[round]))).await;
        assert_eq!(quick("get", value(cache, tenant, &key)).await.unwrap(), "v");
    }
    assert_eq!(quick("miss", value(cache, tenant, "missing")).await, None);
    let request = GetEntryRequest {
        key: format!("{round}:lease"),
        lease_ttl: Some(duration(PATIENCE)),
        ..GetEntryRequest::default()
    };
    quick("lease", lease(cache, tenant, request)).await;
    let key = format!("{round}:0");
    assert_eq!(
        quick("remove", invalidate(cache, tenant, &[&key], &[], "")).await,
        1
    );
    assert_eq!(
        quick("tags", invalidate(cache, tenant, &[], &[round], "")).await,
        19
    );
    quick("prefix", invalidate(cache, tenant, &[], &[], round)).await;
    let many = (&*format!("{round}:many:"), 100);
    quick("set many", set_many(cache, tenant, many, &[round])).await;
    let found = quick("get many", get_many(cache, tenant, many)).await;
    assert_eq!(found, [true; 100]);
    let found = quick("miss many", get_many(cache, tenant, ("missing", 100))).await;
    assert_eq!(found, [false; 100]);
    let names = names(many.0, 50);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let removed = quick("remove many", invalidate(cache, tenant, &names, &[], "")).await;
    assert_eq!(removed, 50);
    let removed = quick(
        "remove tagged",
        invalidate(cache, tenant, &[], &[round], ""),
    )
    .await;
    assert_eq!(removed, 50);
    quick("count", searches::count(cache, tenant, &[(round, 1)])).await;
    quick("popular", searches::popular(cache, tenant)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_is_missed_by_nobody_and_used_again_when_it_is_back() {
    let Some(programs) = programs() else { return };
    let mut server = Redis::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(vec![server.url()], false)).await;
    let cache = subject.direct();
    server.kill().unwrap();
    memory_serves(&cache, "gone").await;
    subject.is_connected(false).await;
    assert!(
        subject.detail().starts_with("memory only"),
        "{}",
        subject.detail()
    );
    memory_serves(&cache, "still gone").await;
    server.restart().await.unwrap();
    subject.is_connected(true).await;
    assert_eq!(subject.detail(), "");
    set(&cache, tenant(1), entry("k", "v", &[])).await;
    let keys = server.command(&["dbsize"]).unwrap();
    assert!(
        keys.parse::<u64>().unwrap() > 0,
        "nothing is stored in Redis"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_while_redis_is_silent_does_not_come_back() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let options = redis(vec![server.url()], false);
    let subject = Subject::connected(options.clone()).await;
    let other = Subject::connected(options).await;
    let (cache, other_cache) = (subject.direct(), other.direct());
    let tenant = tenant(1);
    for (key, tags) in [
        ("a", &[][..]),
        ("b", &["t"]),
        ("c:1", &[]),
        ("d", &[]),
        ("stays", &[]),
    ] {
        set(&cache, tenant, entry(key, "old", tags)).await;
        assert_eq!(value(&other_cache, tenant, key).await.unwrap(), "old");
    }
    server.pause().unwrap();
    quick("by key", invalidate(&cache, tenant, &["a"], &[], "")).await;
    quick("by tag", invalidate(&cache, tenant, &[], &["t"], "")).await;
    quick("by prefix", invalidate(&cache, tenant, &[], &[], "c:")).await;
    quick("replace", set(&cache, tenant, entry("d", "new", &[]))).await;
    for key in ["a", "b", "c:1"] {
        assert_eq!(
            quick("get", value(&cache, tenant, key)).await,
            None,
            "{key}"
        );
    }
    memory_serves(&cache, "silent").await;
    subject.is_connected(false).await;
    server.resume().unwrap();
    subject.is_connected(true).await;
    for key in ["a", "b", "c:1"] {
        assert_eq!(value(&cache, tenant, key).await, None, "{key} is back");
    }
    assert_ne!(value(&cache, tenant, "d").await.as_deref(), Some("old"));
    assert_eq!(value(&cache, tenant, "stays").await.unwrap(), "old");
    // and the others have heard of it
    other.is_connected(true).await;
    let began = Instant::now();
    for key in ["a", "b", "c:1", "d"] {
        while value(&other_cache, tenant, key).await.as_deref() == Some("old") {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{key} is still there elsewhere"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_too_slow_is_not_waited_for_and_one_that_is_just_fast_enough_is_used() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let subject = Subject::connected(redis(vec![format!("redis://{}", proxy.address())], false));
    let subject = subject.await;
    let cache = subject.direct();
    set(&cache, tenant(1), entry("k", "v", &[])).await;
    // an answer takes 400 ms, a step may take 100 ms
    proxy.delay(Duration::from_millis(200));
    memory_serves(&cache, "slow").await;
    subject.is_connected(false).await;
    let text = subject.metrics.encode();
    let timeouts = "cache_redis_errors_total{operation=\"set\",kind=\"timeout\"}";
    assert!(text.contains(timeouts), "{text}");
    // its breaker is open: nothing is asked, so nothing takes time
    let began = Instant::now();
    for _ in 0..5 {
        memory_serves(&cache, "slow still").await;
    }
    assert!(began.elapsed() < 2 * PATIENCE, "{:?}", began.elapsed());
    // an answer takes 40 ms, and what was removed meanwhile is done in batches
    proxy.delay(Duration::from_millis(20));
    subject.is_connected(true).await;
    let before = keys(&server);
    memory_serves(&cache, "fast enough").await;
    set_many(&cache, tenant(1), ("k", 100), &[]).await;
    assert!(keys(&server) >= before + 100, "they are not in Redis");
    assert_eq!(subject.detail(), "");
}

fn keys(server: &Redis) -> u64 {
    server.command(&["dbsize"]).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_redis_grants_too_late_is_given_back() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let options = redis(vec![server.url()], false);
    let subject = Subject::connected(options.clone()).await;
    let other = Subject::connected(options).await;
    let tenant = tenant(1);
    let request = |key: &str, wait: Duration| GetEntryRequest {
        key: key.to_owned(),
        lease_ttl: Some(duration(Duration::from_secs(300))),
        wait_timeout: Some(duration(wait)),
        ..GetEntryRequest::default()
    };
    // Redis knows the script
    lease(&subject.direct(), tenant, request("first", Duration::ZERO)).await;
    server.pause().unwrap();
    // its own process grants it alone, and Redis grants it to nobody as soon as it runs
    lease(&subject.direct(), tenant, request("k", Duration::ZERO)).await;
    server.resume().unwrap();
    other.is_connected(true).await;
    lease(
        &other.direct(),
        tenant,
        request("k", Duration::from_secs(10)),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_refuses_entries_and_fails_no_request() {
    let Some(programs) = programs() else { return };
    let server = Redis::start_with(&programs, None, &["--maxmemory-policy", "noeviction"])
        .await
        .unwrap();
    let options = redis(vec![server.url()], false);
    let subject = Subject::connected(options.clone()).await;
    let cache = subject.direct();
    let tenant = tenant(1);
    set(&cache, tenant, entry("k", "old", &[])).await;
    server
        .command(&["config", "set", "maxmemory", "1"])
        .unwrap();
    set(&cache, tenant, entry("k", "new", &[])).await;
    memory_serves(&cache, "full").await;
    assert_eq!(value(&cache, tenant, "k").await.unwrap(), "new");
    // the old one is not left for others
    let other = Subject::connected(options).await;
    assert_eq!(value(&other.direct(), tenant, "k").await, None);
    let began = Instant::now();
    while !subject.detail().contains("maxmemory") {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            subject.detail()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = subject.metrics.encode();
    assert!(
        text.contains("cache_redis_errors_total{operation=\"set\",kind=\"refused\"}"),
        "{text}"
    );
    server
        .command(&["config", "set", "maxmemory", "0"])
        .unwrap();
    set(&cache, tenant, entry("k", "newer", &[])).await;
    assert_eq!(value(&other.direct(), tenant, "k").await.unwrap(), "newer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_redis_is_not_believed_about_what_was_written_since() {
    let Some(programs) = programs() else { return };
    let main = Redis::start(&programs).await.unwrap();
    let server = Redis::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(vec![server.url()], false)).await;
    let cache = subject.direct();
    let tenant = tenant(1);
    set(&cache, tenant, entry("k", "old", &[])).await;
    // it becomes the replica of another that has nothing
    let (host, port) = (
        main.address().ip().to_string(),
        main.address().port().to_string(),
    );
    server.command(&["replicaof", &host, &port]).unwrap();
    set(&cache, tenant, entry("k", "new", &[])).await;
    assert_eq!(value(&cache, tenant, "k").await.unwrap(), "new");
    assert_eq!(invalidate(&cache, tenant, &["k"], &[], "").await, 1);
    assert_eq!(value(&cache, tenant, "k").await, None);
    memory_serves(&cache, "read-only").await;
    server.command(&["replicaof", "no", "one"]).unwrap();
    subject.is_connected(true).await;
    set(&cache, tenant, entry("k", "newer", &[])).await;
    assert_eq!(value(&cache, tenant, "k").await.unwrap(), "newer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_a_master_is_whole_again_without_a_failed_request() {
    let Some(programs) = programs() else { return };
    let mut cluster = RedisCluster::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(cluster.urls(), true)).await;
    let cache = subject.direct();
    memory_serves(&cache, "whole").await;
    let lost = cluster.kill_a_master().unwrap();
    let began = Instant::now();
    memory_serves(&cache, "two masters").await;
    cluster.whole().await.unwrap();
    subject.is_connected(true).await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    for number in 0..50 {
        set(&cache, tenant(1), entry(&format!("k{number}"), "v", &[])).await;
    }
    cluster.restart(lost).await.unwrap();
    let stored: u64 = (cluster.on_masters(&["dbsize"]).unwrap().iter())
        .map(|keys| keys.parse::<u64>().unwrap())
        .sum();
    assert!(stored >= 50, "{stored}");
}
