//! The rules. Each stands for itself: tenants and keys of one are nobody else's.

use std::{sync::Arc, time::Duration};

use mediamesh_proto::{
    ErrorReason, TenantId,
    cache::v1::{
        BatchGetEntriesRequest, BatchSetEntriesRequest, Entry, GetCacheStatsRequest,
        GetEntryRequest, GetEntryResponse, InvalidateEntriesRequest, ReleaseLeaseRequest,
        SetEntryRequest, cache_service_server::CacheService, get_entry_response::Outcome,
    },
    status::reason_of,
    time::{duration, std_duration},
};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use crate::subject::by;

const LEASE: Duration = Duration::from_secs(10);
/// Short enough to wait for, long enough for what is done within it on a busy machine.
const BRIEF: Duration = Duration::from_millis(400);

pub(crate) fn entry(key: &str, value: &str, tags: &[&str]) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.to_owned().into(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..Entry::default()
    }
}

pub(crate) async fn set(cache: &impl CacheService, tenant: TenantId, entry: Entry) {
    fill(cache, tenant, entry, 0).await.unwrap();
}

async fn fill(
    cache: &impl CacheService,
    tenant: TenantId,
    entry: Entry,
    lease_token: i64,
) -> Result<(), Status> {
    let request = SetEntryRequest {
        entry: Some(entry),
        lease_token,
    };
    cache.set_entry(by(tenant, request)).await.map(drop)
}

async fn look(
    cache: &impl CacheService,
    tenant: TenantId,
    request: GetEntryRequest,
) -> GetEntryResponse {
    cache
        .get_entry(by(tenant, request))
        .await
        .unwrap()
        .into_inner()
}

fn plain(key: &str) -> GetEntryRequest {
    GetEntryRequest {
        key: key.to_owned(),
        ..GetEntryRequest::default()
    }
}

fn leased(key: &str, ttl: Duration) -> GetEntryRequest {
    GetEntryRequest {
        lease_ttl: Some(duration(ttl)),
        ..plain(key)
    }
}

fn found(response: GetEntryResponse) -> Option<Entry> {
    match response.outcome {
        Some(Outcome::Entry(entry)) => Some(entry),
        _ => None,
    }
}

pub(crate) async fn value(
    cache: &impl CacheService,
    tenant: TenantId,
    key: &str,
) -> Option<String> {
    let entry = found(look(cache, tenant, plain(key)).await)?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

pub(crate) async fn lease(
    cache: &impl CacheService,
    tenant: TenantId,
    request: GetEntryRequest,
) -> i64 {
    let response = look(cache, tenant, request).await;
    let Some(Outcome::LeaseToken(token)) = response.outcome else {
        panic!("no lease was granted: {response:?}")
    };
    token
}

pub(crate) async fn invalidate(
    cache: &impl CacheService,
    tenant: TenantId,
    keys: &[&str],
    tags: &[&str],
    prefix: &str,
) -> i64 {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let request = InvalidateEntriesRequest {
        keys: owned(keys),
        tags: owned(tags),
        key_prefix: prefix.to_owned(),
        key_pattern: String::new(),
    };
    let answer = cache.invalidate_entries(by(tenant, request)).await.unwrap();
    answer.into_inner().removed
}

pub(crate) async fn an_entry_is_gone_when_its_time_is_up(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    let brief = |value| Entry {
        ttl: Some(duration(BRIEF)),
        ..entry("k", value, &["t"])
    };
    set(cache, tenant, brief("v")).await;
    assert_eq!(value(cache, tenant, "k").await.unwrap(), "v");
    sleep(BRIEF).await;
    assert_eq!(value(cache, tenant, "k").await, None);
    assert_eq!(invalidate(cache, tenant, &["k"], &["t"], "k").await, 0);
    // a replacing entry counts its own time
    set(cache, tenant, brief("v")).await;
    set(cache, tenant, entry("k", "w", &[])).await;
    sleep(BRIEF).await;
    assert_eq!(value(cache, tenant, "k").await.unwrap(), "w");
    let left = found(look(cache, tenant, plain("k")).await).unwrap().ttl;
    let left = std_duration(&left.unwrap());
    assert!(
        left <= Duration::from_secs(3600) && left > Duration::from_secs(3500),
        "{left:?}"
    );
}

pub(crate) async fn a_negative_entry_is_a_hit_without_a_value(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    let negative = Entry {
        negative: true,
        ..entry("k", "ignored", &[])
    };
    set(cache, tenant, negative).await;
    let hit = found(look(cache, tenant, leased("k", LEASE)).await).unwrap();
    assert!(hit.negative && hit.value.is_empty());
    // an empty value is a value
    set(cache, tenant, entry("k", "", &[])).await;
    let hit = found(look(cache, tenant, leased("k", LEASE)).await).unwrap();
    assert!(!hit.negative && hit.value.is_empty());
}

pub(crate) async fn a_batch_is_answered_in_order(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    let entries = (0..200)
        .map(|n| entry(&format!("k{n}"), &format!("v{n}"), &["all"]))
        .collect();
    let request = BatchSetEntriesRequest { entries };
    cache.batch_set_entries(by(tenant, request)).await.unwrap();
    let names: Vec<String> = (0..220).rev().map(|n| format!("k{n}")).collect();
    let request = BatchGetEntriesRequest {
        keys: names.clone(),
    };
    let lookups = cache
        .batch_get_entries(by(tenant, request))
        .await
        .unwrap()
        .into_inner()
        .lookups;
    assert_eq!(lookups.len(), names.len());
    for (name, lookup) in names.iter().zip(lookups) {
        let number: usize = name[1..].parse().unwrap();
        match lookup.entry {
            Some(entry) => {
                assert!(number < 200);
                assert_eq!(
                    (&entry.key, &*entry.value),
                    (name, format!("v{number}").as_bytes())
                );
                assert_eq!(entry.tags, ["all"]);
            }
            None => assert!(number >= 200, "{name} is missing"),
        }
    }
    assert_eq!(invalidate(cache, tenant, &[], &["all"], "").await, 200);
    assert_eq!(value(cache, tenant, "k7").await, None);
    // of several under one key the last is stored
    let entries = (0..300).map(|n| entry(&format!("k{}", n % 3), &n.to_string(), &[]));
    let request = BatchSetEntriesRequest {
        entries: entries.collect(),
    };
    cache.batch_set_entries(by(tenant, request)).await.unwrap();
    for key in 0..3 {
        let stored = value(cache, tenant, &format!("k{key}")).await;
        assert_eq!(stored, Some((297 + key).to_string()));
    }
}

pub(crate) async fn tags_and_prefixes_remove_what_they_cover_and_nothing_else(
    cache: &impl CacheService,
) {
    let tenant = TenantId::generate();
    for (name, tags) in [
        ("a:1", &["x"][..]),
        ("a:2", &["x", "y"]),
        ("b:1", &["y"]),
        ("b:2", &[]),
        ("b*", &[]),
        ("c[1]{2}\\", &[]),
    ] {
        set(cache, tenant, entry(name, "v", tags)).await;
    }
    // replaced: it does not carry the tag any more
    set(cache, tenant, entry("a:3", "v", &["x"])).await;
    set(cache, tenant, entry("a:3", "v", &["z"])).await;
    assert_eq!(invalidate(cache, tenant, &[], &["x"], "").await, 2);
    assert_eq!(value(cache, tenant, "a:2").await, None);
    assert!(value(cache, tenant, "a:3").await.is_some());
    assert!(value(cache, tenant, "b:1").await.is_some());
    assert_eq!(
        invalidate(cache, tenant, &[], &[], "b*").await,
        1,
        "a prefix is no pattern"
    );
    assert_eq!(invalidate(cache, tenant, &[], &[], "b:").await, 2);
    assert_eq!(invalidate(cache, tenant, &["b:1"], &[], "").await, 0);
    assert_eq!(invalidate(cache, tenant, &[], &[], "c[1]{2}\\").await, 1);
    assert_eq!(value(cache, tenant, "a:3").await.unwrap(), "v");
}

pub(crate) async fn patterns_remove_what_they_match_and_nothing_else(cache: &impl CacheService) {
    let (tenant, other) = (TenantId::generate(), TenantId::generate());
    let names = ["u:1:p", "u:2:p", "u:2:q", "u:ö:p", "u:*:p", "v:1:p", "p"];
    for name in names {
        set(cache, tenant, entry(name, "v", &[])).await;
    }
    set(cache, other, entry("u:1:p", "v", &[])).await;
    let remove = async |pattern: &str| {
        let request = InvalidateEntriesRequest {
            key_pattern: pattern.to_owned(),
            ..InvalidateEntriesRequest::default()
        };
        let answer = cache.invalidate_entries(by(tenant, request)).await;
        answer.map(|answer| answer.into_inner().removed)
    };
    let leased = lease(cache, tenant, leased("u:3:p", LEASE)).await;
    assert_eq!(remove("u:\\*:p").await.unwrap(), 1);
    assert_eq!(remove("u:?:p").await.unwrap(), 0, "only stars are special");
    assert_eq!(remove("u:*:p").await.unwrap(), 3);
    let late = fill(cache, tenant, entry("u:3:p", "late", &[]), leased).await;
    assert_eq!(reason_of(&late.unwrap_err()), Some(ErrorReason::LeaseLost));
    assert!(value(cache, tenant, "u:2:q").await.is_some());
    assert_eq!(remove("*p").await.unwrap(), 2);
    assert!(value(cache, other, "u:1:p").await.is_some());
    let refused = remove("u\\").await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(ErrorReason::InvalidField));
}

pub(crate) async fn tenants_do_not_see_or_remove_each_others_entries(cache: &impl CacheService) {
    let (one, other) = (TenantId::generate(), TenantId::generate());
    set(cache, one, entry("k", "mine", &["t"])).await;
    assert_eq!(value(cache, other, "k").await, None);
    assert_eq!(invalidate(cache, other, &["k"], &["t"], "k").await, 0);
    assert_eq!(value(cache, one, "k").await.unwrap(), "mine");
    // nor does one wait for the other's lease
    lease(cache, one, leased("l", LEASE)).await;
    lease(cache, other, leased("l", LEASE)).await;
}

/// Lets racers ask for one missing key, each service in turn; answers how many computed it.
pub(crate) async fn race(
    caches: &[Arc<impl CacheService>],
    tenant: TenantId,
    key: &'static str,
    racers: usize,
) -> usize {
    let racers = (0..racers).map(|racer| {
        let cache = Arc::clone(&caches[racer % caches.len()]);
        tokio::spawn(async move {
            match look(&*cache, tenant, leased(key, LEASE)).await.outcome {
                Some(Outcome::LeaseToken(token)) => {
                    sleep(Duration::from_millis(20)).await;
                    fill(&*cache, tenant, entry(key, "v", &[]), token)
                        .await
                        .unwrap();
                    1
                }
                Some(Outcome::Entry(found)) => {
                    assert_eq!(found.value, "v");
                    0
                }
                None => panic!("a racer was left without an answer"),
            }
        })
    });
    let mut computed = 0;
    for racer in racers.collect::<Vec<_>>() {
        computed += racer.await.unwrap();
    }
    computed
}

pub(crate) async fn of_a_hundred_racers_one_computes_and_all_get_its_value(
    cache: &Arc<impl CacheService>,
) {
    assert_eq!(
        race(std::slice::from_ref(cache), TenantId::generate(), "k", 100).await,
        1
    );
}

pub(crate) async fn a_lease_that_expires_or_is_given_back_goes_to_one_waiter(
    cache: &Arc<impl CacheService>,
) {
    let tenant = TenantId::generate();
    let asked = Instant::now();
    let first = lease(&**cache, tenant, leased("k", BRIEF)).await;
    let second = lease(&**cache, tenant, leased("k", LEASE)).await;
    let waited = asked.elapsed();
    assert!(
        second > first && waited >= BRIEF && waited < BRIEF + LEASE / 2,
        "{waited:?}"
    );

    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let cache = Arc::clone(cache);
            let wait_timeout = Some(duration(3 * BRIEF));
            let request = GetEntryRequest {
                wait_timeout,
                ..leased("k", LEASE)
            };
            tokio::spawn(async move { look(&*cache, tenant, request).await.outcome })
        })
        .collect();
    sleep(BRIEF / 2).await;
    let request = ReleaseLeaseRequest {
        key: "k".to_owned(),
        lease_token: second,
    };
    cache.release_lease(by(tenant, request)).await.unwrap();
    let mut leases = Vec::new();
    for waiter in waiters {
        if let Some(Outcome::LeaseToken(token)) = waiter.await.unwrap() {
            leases.push(token);
        }
    }
    assert!(
        matches!(leases[..], [third] if third > second),
        "{leases:?}"
    );
}

pub(crate) async fn a_stale_token_is_refused_and_changes_nothing(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    let stale = lease(cache, tenant, leased("k", BRIEF)).await;
    sleep(BRIEF + Duration::from_millis(20)).await;
    let refused = fill(cache, tenant, entry("k", "late", &[]), stale)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Aborted);
    assert_eq!(reason_of(&refused), Some(ErrorReason::LeaseLost));
    let fresh = lease(cache, tenant, leased("k", LEASE)).await;
    fill(cache, tenant, entry("k", "late", &[]), stale)
        .await
        .unwrap_err();
    let request = ReleaseLeaseRequest {
        key: "k".to_owned(),
        lease_token: stale,
    };
    cache.release_lease(by(tenant, request)).await.unwrap();
    fill(cache, tenant, entry("k", "v", &[]), fresh)
        .await
        .unwrap();
    fill(cache, tenant, entry("k", "w", &[]), fresh)
        .await
        .unwrap_err();
    assert_eq!(value(cache, tenant, "k").await.unwrap(), "v");
}

pub(crate) async fn an_invalidation_revokes_the_lease_of_a_value_that_may_be_stale(
    cache: &impl CacheService,
) {
    let tenant = TenantId::generate();
    let by_key = lease(cache, tenant, leased("k", LEASE)).await;
    invalidate(cache, tenant, &["k"], &[], "").await;
    fill(cache, tenant, entry("k", "stale", &[]), by_key)
        .await
        .unwrap_err();
    let by_prefix = lease(cache, tenant, leased("k", LEASE)).await;
    invalidate(cache, tenant, &[], &[], "k").await;
    fill(cache, tenant, entry("k", "stale", &[]), by_prefix)
        .await
        .unwrap_err();
    // and so does an entry from elsewhere
    let by_entry = lease(cache, tenant, leased("k", LEASE)).await;
    set(cache, tenant, entry("k", "other", &[])).await;
    fill(cache, tenant, entry("k", "stale", &[]), by_entry)
        .await
        .unwrap_err();
    assert_eq!(value(cache, tenant, "k").await.unwrap(), "other");
}

pub(crate) async fn waiters_end_in_time(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    let token = lease(cache, tenant, leased("k", LEASE)).await;
    timeout(BRIEF, look(cache, tenant, leased("k", LEASE)))
        .await
        .unwrap_err();
    for wait in [BRIEF, Duration::ZERO] {
        let asked = Instant::now();
        let request = GetEntryRequest {
            wait_timeout: Some(duration(wait)),
            ..leased("k", LEASE)
        };
        let response = look(cache, tenant, request).await;
        assert_eq!(response.outcome, None);
        let waited = asked.elapsed();
        assert!(waited >= wait && waited < wait + LEASE / 2, "{waited:?}");
    }
    fill(cache, tenant, entry("k", "v", &[]), token)
        .await
        .unwrap();
    assert_eq!(value(cache, tenant, "k").await.unwrap(), "v");
}

pub(crate) async fn a_caller_that_goes_away_leaves_no_lease_behind(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    for attempt in 0..20_u64 {
        let key = format!("k{attempt}");
        // at every point of the way
        let patience = Duration::from_micros(attempt * 100);
        let request = leased(&key, Duration::from_secs(300));
        if let Ok(response) = timeout(patience, look(cache, tenant, request)).await {
            assert!(response.outcome.is_some());
            continue;
        }
        let again = look(cache, tenant, leased(&key, LEASE));
        // a lease that was left behind would last for five minutes
        let response = timeout(LEASE / 2, again)
            .await
            .unwrap_or_else(|_| panic!("{attempt} hangs"));
        assert!(matches!(response.outcome, Some(Outcome::LeaseToken(_))));
    }
}

pub(crate) async fn a_batch_never_answers_more_than_a_message_holds(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    let large = "1".repeat(1 << 20);
    let keys: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    for key in &keys {
        set(cache, tenant, entry(key, &large, &[])).await;
    }
    let request = BatchGetEntriesRequest { keys };
    let lookups = cache
        .batch_get_entries(by(tenant, request))
        .await
        .unwrap()
        .into_inner()
        .lookups;
    let entries = lookups
        .into_iter()
        .filter_map(|lookup| lookup.entry)
        .count();
    assert_eq!(entries, 11);
    assert_eq!(invalidate(cache, tenant, &[], &[], "k").await, 40);
}

pub(crate) async fn a_stale_entry_is_answered_while_one_computes_it_anew(
    cache: &Arc<impl CacheService>,
) {
    let tenant = TenantId::generate();
    let stale = Entry {
        ttl: Some(duration(BRIEF)),
        stale_ttl: Some(duration(Duration::from_secs(60))),
        ..entry("k", "old", &[])
    };
    set(&**cache, tenant, stale).await;
    let early = || GetEntryRequest {
        early_refresh: true,
        ..leased("k", LEASE)
    };
    let response = look(&**cache, tenant, early()).await;
    assert!(
        !response.stale && response.refresh_token == 0,
        "{response:?}"
    );
    sleep(BRIEF).await;
    // who does not take stale entries does not get one
    assert_eq!(value(&**cache, tenant, "k").await, None);
    let racers: Vec<_> = (0..20)
        .map(|_| {
            let cache = Arc::clone(cache);
            tokio::spawn(async move { look(&*cache, tenant, early()).await })
        })
        .collect();
    let mut tokens = Vec::new();
    for racer in racers {
        let response = racer.await.unwrap();
        assert!(response.stale);
        tokens.extend((response.refresh_token != 0).then_some(response.refresh_token));
        assert_eq!(found(response).unwrap().value, "old");
    }
    let [token] = tokens[..] else {
        panic!("{tokens:?}")
    };
    // who needs a fresh one waits for it
    let waiter = {
        let cache = Arc::clone(cache);
        tokio::spawn(async move { look(&*cache, tenant, leased("k", LEASE)).await })
    };
    sleep(BRIEF / 4).await;
    fill(&**cache, tenant, entry("k", "new", &[]), token)
        .await
        .unwrap();
    assert_eq!(found(waiter.await.unwrap()).unwrap().value, "new");
    let response = look(&**cache, tenant, early()).await;
    assert!(!response.stale && found(response).unwrap().value == "new");
}

pub(crate) async fn a_dear_entry_is_computed_anew_before_it_is_stale(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    let token = lease(cache, tenant, leased("k", LEASE)).await;
    // what it takes to compute
    sleep(BRIEF).await;
    let brief = Entry {
        ttl: Some(duration(2 * BRIEF)),
        ..entry("k", "v", &[])
    };
    fill(cache, tenant, brief, token).await.unwrap();
    let began = Instant::now();
    loop {
        let request = GetEntryRequest {
            early_refresh: true,
            ..leased("k", LEASE)
        };
        let response = look(cache, tenant, request).await;
        if response.refresh_token != 0 {
            assert!(!response.stale && began.elapsed() < 2 * BRIEF);
            return;
        }
        assert!(
            found(response).is_some(),
            "it ended and nobody was asked before"
        );
        sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn hits_and_misses_are_counted(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    let stats = async || {
        let request = by(tenant, GetCacheStatsRequest {});
        cache.get_cache_stats(request).await.unwrap().into_inner()
    };
    let before = stats().await;
    set(cache, tenant, entry("k", "v", &[])).await;
    for key in ["k", "k", "missing"] {
        value(cache, tenant, key).await;
    }
    let after = stats().await;
    assert_eq!(
        (after.hits - before.hits, after.misses - before.misses),
        (2, 1)
    );
    assert!(after.entries > 0 && after.size_bytes > 0 && after.max_size_bytes > 0);
}
