//! The service as its callers see it: through the mesh, in process.
#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use mediamesh_cache::{Deps, Options, build};
use mediamesh_mesh::{
    Channel, LocalAuthenticator, Policy, Registry, ServerBuilder, ServerDeps, ServiceName,
};
use mediamesh_proto::{
    ErrorReason,
    cache::v1::{
        BatchGetEntriesRequest, BatchSetEntriesRequest, Entry, GetCacheStatsRequest,
        GetEntryRequest, SetEntryRequest, cache_service_client::CacheServiceClient,
        get_entry_response::Outcome,
    },
    status::reason_of,
    time::{duration, std_duration},
};
use mediamesh_telemetry::{HealthRegistry, Metrics};

fn client(metrics: &Metrics) -> CacheServiceClient<Channel> {
    let cache = build(
        Options::default(),
        Deps {
            metrics: metrics.clone(),
            health: HealthRegistry::new(),
            session_dir: None,
            page_tokens: mediamesh_proto::page_token::PageTokens::new(b"test"),
        },
    )
    .unwrap();
    let deps = ServerDeps {
        policy: Policy::default(),
        metrics: metrics.clone(),
        health: HealthRegistry::new(),
        authenticator: Arc::new(LocalAuthenticator),
    };
    let registry = Registry::new(Policy::default(), metrics);
    let routes = ServerBuilder::new(deps)
        .add_service(cache.server())
        .build()
        .unwrap();
    registry.register_local(ServiceName::Cache, routes);
    CacheServiceClient::new(registry.channel(ServiceName::Cache))
}

fn entry(key: &str, value: &'static str) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.into(),
        ..Entry::default()
    }
}

#[tokio::test]
async fn entries_come_back_with_what_is_left_of_their_time() {
    let metrics = Metrics::new();
    let mut client = client(&metrics);
    let entries = vec![
        entry("a", "1"),
        Entry {
            negative: true,
            ..entry("b", "ignored")
        },
    ];
    client
        .batch_set_entries(BatchSetEntriesRequest { entries })
        .await
        .unwrap();
    let keys = ["b", "missing", "a"].map(str::to_owned).to_vec();
    let found = client
        .batch_get_entries(BatchGetEntriesRequest { keys })
        .await
        .unwrap()
        .into_inner();
    let [negative, missing, first] = &found.lookups[..] else {
        panic!("{found:?}")
    };
    assert!(missing.entry.is_none());
    let negative = negative.entry.as_ref().unwrap();
    assert!(negative.negative && negative.value.is_empty());
    let first = first.entry.as_ref().unwrap();
    assert_eq!(first.value, "1");
    let left = std_duration(first.ttl.as_ref().unwrap());
    assert!(
        left <= Duration::from_secs(3600) && left > Duration::from_secs(3590),
        "{left:?}"
    );

    let stats = client
        .get_cache_stats(GetCacheStatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((stats.hits, stats.misses, stats.entries), (2, 1, 2));
    assert_eq!((stats.size_bytes, stats.max_size_bytes), (3, 64 << 20));
    let text = metrics.encode();
    for line in [
        "mediamesh_cache_hits_total 2\n",
        "mediamesh_cache_misses_total 1\n",
        "mediamesh_cache_size_bytes 3\n",
    ] {
        assert!(text.contains(line), "{line} is missing from {text}");
    }
}

#[tokio::test]
async fn a_lease_is_settled_once() {
    let mut client = client(&Metrics::new());
    let get = || GetEntryRequest {
        key: "k".to_owned(),
        lease_ttl: Some(duration(Duration::from_secs(5))),
        wait_timeout: None,
        early_refresh: false,
    };
    let outcome = client.get_entry(get()).await.unwrap().into_inner().outcome;
    let Some(Outcome::LeaseToken(lease_token)) = outcome else {
        panic!("{outcome:?}")
    };
    let set = SetEntryRequest {
        entry: Some(entry("k", "v")),
        lease_token,
    };
    client.set_entry(set.clone()).await.unwrap();
    let lost = client.set_entry(set).await.unwrap_err();
    assert_eq!(lost.code(), tonic::Code::Aborted);
    assert_eq!(reason_of(&lost), Some(ErrorReason::LeaseLost));
    let outcome = client.get_entry(get()).await.unwrap().into_inner().outcome;
    assert!(matches!(outcome, Some(Outcome::Entry(entry)) if entry.value == "v"));
}

#[tokio::test]
async fn every_broken_rule_of_a_request_is_told() {
    use tonic_types::StatusExt as _;
    let mut client = client(&Metrics::new());
    let bad = Entry {
        key: "k".repeat(513),
        value: vec![0; (1 << 20) + 1].into(),
        negative: false,
        ttl: Some(duration(Duration::ZERO)),
        tags: [vec!["t".to_owned(); 32], vec!["t".repeat(129)]].concat(),
        stale_ttl: None,
    };
    let set = SetEntryRequest {
        entry: Some(bad),
        lease_token: -1,
    };
    let status = client.set_entry(set).await.unwrap_err();
    assert_eq!(reason_of(&status), Some(ErrorReason::InvalidField));
    let details = status.get_details_bad_request().unwrap();
    let fields: Vec<&str> = details
        .field_violations
        .iter()
        .map(|one| &*one.field)
        .collect();
    assert_eq!(fields.len(), 6, "{fields:?}");
    for field in [
        "lease_token",
        "entry.key",
        "entry.value",
        "entry.tags",
        "entry.tags[32]",
        "entry.ttl",
    ] {
        assert!(fields.contains(&field), "{field} is not among {fields:?}");
    }
    let keys = vec!["k".to_owned(); 1001];
    let status = client
        .batch_get_entries(BatchGetEntriesRequest { keys })
        .await
        .unwrap_err();
    assert_eq!(reason_of(&status), Some(ErrorReason::InvalidField));
    let status = client
        .set_entry(SetEntryRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.message(), "entry: is required");
}
