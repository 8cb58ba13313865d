#![allow(clippy::unwrap_used)]
use bytes::Bytes;
use mediamesh_telemetry::Metrics;

use super::*;
use crate::memory::MemoryTier;

const LEASE: Option<Duration> = Some(Duration::from_secs(10));
/// Short enough to wait for, long enough for what is done within it.
const BRIEF: Duration = Duration::from_millis(150);

fn service() -> Arc<Service> {
    let metrics = CacheMetrics::new(&Metrics::new());
    let options = Options::default();
    let tier = Arc::new(MemoryTier::new(options.max_bytes, metrics.clone()));
    Arc::new(Service::new(options, tier, metrics))
}

fn tenant(number: u8) -> TenantId {
    format!("00000000-0000-7000-8000-0000000000{number:02}")
        .parse()
        .unwrap()
}

fn key(name: &str) -> Key {
    Key {
        tenant: tenant(1),
        name: name.into(),
    }
}

fn entry(value: &'static str, ttl_secs: u64, tags: &[&str]) -> Stored {
    Stored {
        value: Some(Bytes::from_static(value.as_bytes())),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        expires_at: Instant::now() + Duration::from_secs(ttl_secs),
    }
}

async fn value(service: &Service, key: &Key) -> Option<Bytes> {
    match service.get(key, None, None).await {
        Found::Entry(entry) => entry.value,
        _ => None,
    }
}

fn lease(found: Found) -> i64 {
    let Found::Lease(token) = found else {
        panic!("no lease was granted")
    };
    token
}

#[tokio::test]
async fn an_entry_is_gone_when_its_time_is_up() {
    let service = service();
    let brief = |value| Stored {
        expires_at: Instant::now() + BRIEF,
        ..entry(value, 60, &[])
    };
    service.set(key("k"), brief("v"), 0).await.unwrap();
    assert!(value(&service, &key("k")).await.is_some());
    tokio::time::sleep(BRIEF).await;
    assert!(value(&service, &key("k")).await.is_none());
    assert_eq!(service.invalidate(tenant(1), &[key("k")], &[], "").await, 0);
    // A replacing entry counts its own time.
    service.set(key("k"), brief("v"), 0).await.unwrap();
    service.set(key("k"), entry("w", 60, &[]), 0).await.unwrap();
    tokio::time::sleep(2 * BRIEF).await;
    assert_eq!(value(&service, &key("k")).await.unwrap(), "w");
}

#[tokio::test]
async fn a_negative_entry_is_a_hit_without_a_value() {
    let service = service();
    service
        .set(
            key("k"),
            Stored {
                value: None,
                ..entry("", 60, &[])
            },
            0,
        )
        .await
        .unwrap();
    let found = service.get(&key("k"), LEASE, None).await;
    assert!(matches!(found, Found::Entry(Stored { value: None, .. })));
    assert_eq!(
        (service.stats().await.hits, service.stats().await.misses),
        (1, 0)
    );
}

#[tokio::test]
async fn tags_and_prefixes_remove_what_they_cover_and_nothing_else() {
    let service = service();
    for (name, tags) in [
        ("a:1", &["x"][..]),
        ("a:2", &["x", "y"]),
        ("b:1", &["y"]),
        ("b:2", &[]),
    ] {
        service
            .set(key(name), entry("v", 60, tags), 0)
            .await
            .unwrap();
    }
    assert_eq!(
        service
            .invalidate(tenant(1), &[], &["x".to_owned()], "")
            .await,
        2
    );
    assert!(value(&service, &key("a:2")).await.is_none());
    assert!(value(&service, &key("b:1")).await.is_some());
    assert_eq!(service.invalidate(tenant(1), &[], &[], "b:").await, 2);
    assert_eq!(
        service.invalidate(tenant(1), &[key("b:1")], &[], "").await,
        0
    );
}

#[tokio::test]
async fn tenants_do_not_see_or_remove_each_others_entries() {
    let service = service();
    let other = Key {
        tenant: tenant(2),
        name: "k".into(),
    };
    service
        .set(key("k"), entry("mine", 60, &["t"]), 0)
        .await
        .unwrap();
    assert!(value(&service, &other).await.is_none());
    let removed = service
        .invalidate(
            tenant(2),
            std::slice::from_ref(&other),
            &["t".to_owned()],
            "k",
        )
        .await;
    assert_eq!(removed, 0);
    assert_eq!(value(&service, &key("k")).await.unwrap(), "mine");
    // Nor does one wait for the other's lease.
    lease(service.get(&key("l"), LEASE, None).await);
    lease(
        service
            .get(
                &Key {
                    tenant: tenant(2),
                    name: "l".into(),
                },
                LEASE,
                None,
            )
            .await,
    );
}

#[tokio::test]
async fn of_a_hundred_racers_one_computes_and_all_get_its_value() {
    let service = service();
    let racers = (0..100).map(|_| {
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            match service.get(&key("k"), LEASE, None).await {
                Found::Lease(token) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    service
                        .set(key("k"), entry("v", 60, &[]), token)
                        .await
                        .unwrap();
                    1
                }
                Found::Entry(found) => {
                    assert_eq!(found.value.unwrap(), "v");
                    0
                }
                Found::Nothing => panic!("a racer was left without an answer"),
            }
        })
    });
    let computed: i32 = futures::future::join_all(racers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    assert_eq!(computed, 1);
    let stats = service.stats().await;
    assert_eq!((stats.coalesced, stats.misses, stats.hits), (99, 1, 99));
    assert_eq!(service.lease_count(), 0);
}

#[tokio::test]
async fn a_lease_that_expires_or_is_given_back_goes_to_one_waiter() {
    let service = service();
    let asked = Instant::now();
    let first = lease(service.get(&key("k"), Some(BRIEF), None).await);
    let second = lease(service.get(&key("k"), LEASE, None).await);
    assert!(second > first && asked.elapsed() >= BRIEF);

    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let service = Arc::clone(&service);
            let wait = Some(3 * BRIEF);
            tokio::spawn(async move { service.get(&key("k"), LEASE, wait).await })
        })
        .collect();
    while service.stats().await.coalesced < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    service.release(&key("k"), second);
    let found = futures::future::join_all(waiters).await;
    let leases: Vec<i64> = (found.into_iter())
        .filter_map(|found| match found.unwrap() {
            Found::Lease(token) => Some(token),
            _ => None,
        })
        .collect();
    assert!(
        matches!(leases[..], [third] if third > second),
        "{leases:?}"
    );
}

#[tokio::test]
async fn a_stale_token_is_refused_and_changes_nothing() {
    let service = service();
    let stale = lease(service.get(&key("k"), Some(BRIEF), None).await);
    tokio::time::sleep(BRIEF).await;
    let refused = service
        .set(key("k"), entry("late", 60, &[]), stale)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.kind(), refused.reason()),
        (ErrorKind::Conflict, ErrorReason::LeaseLost)
    );
    let fresh = lease(service.get(&key("k"), LEASE, None).await);
    service
        .set(key("k"), entry("late", 60, &[]), stale)
        .await
        .unwrap_err();
    service.release(&key("k"), stale);
    service
        .set(key("k"), entry("v", 60, &[]), fresh)
        .await
        .unwrap();
    assert_eq!(value(&service, &key("k")).await.unwrap(), "v");
}

#[tokio::test]
async fn an_invalidation_revokes_the_lease_of_a_value_that_may_be_stale() {
    let service = service();
    let by_key = lease(service.get(&key("k"), LEASE, None).await);
    service.invalidate(tenant(1), &[key("k")], &[], "").await;
    service
        .set(key("k"), entry("stale", 60, &[]), by_key)
        .await
        .unwrap_err();
    let by_prefix = lease(service.get(&key("k"), LEASE, None).await);
    service.invalidate(tenant(1), &[], &[], "k").await;
    service
        .set(key("k"), entry("stale", 60, &[]), by_prefix)
        .await
        .unwrap_err();
    assert!(value(&service, &key("k")).await.is_none());
}

#[tokio::test]
async fn waiters_end_in_time_and_leave_nothing_behind() {
    let service = service();
    let token = lease(service.get(&key("k"), LEASE, None).await);
    tokio::time::timeout(BRIEF, service.get(&key("k"), LEASE, None))
        .await
        .err()
        .unwrap();
    let asked = Instant::now();
    let found = service.get(&key("k"), LEASE, Some(BRIEF)).await;
    assert!(matches!(found, Found::Nothing) && asked.elapsed() >= BRIEF);
    assert!(matches!(
        service.get(&key("k"), LEASE, Some(Duration::ZERO)).await,
        Found::Nothing
    ));
    assert_eq!(service.lease_count(), 1);
    service
        .set(key("k"), entry("v", 60, &[]), token)
        .await
        .unwrap();
    assert_eq!(service.lease_count(), 0);
}

#[tokio::test]
async fn a_batch_never_answers_more_than_a_message_holds() {
    let service = service();
    let keys: Vec<Key> = (0..40).map(|n| key(&format!("k{n}"))).collect();
    for key in &keys {
        let large = Stored {
            value: Some(vec![1; 1 << 20].into()),
            ..entry("", 60, &[])
        };
        service.set(key.clone(), large, 0).await.unwrap();
    }
    let found = service.get_batch(&keys).await.into_iter().flatten().count();
    assert_eq!(found, 11);
}
