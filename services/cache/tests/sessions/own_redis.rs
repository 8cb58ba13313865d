//! Sessions on a Redis of their own: what becomes of the cache's is nothing to them, and the other way
//! round.

use std::path::Path;

use mediamesh_cache::{SessionOptions, SessionRedisOptions};
use mediamesh_proto::{
    ErrorReason,
    cache::v1::{
        Entry, GetEntryRequest, SetEntryRequest, cache_service_server::CacheService,
        get_entry_response::Outcome,
    },
};
use mediamesh_testkit::{Redis, RedisCluster, redis::programs};
use tonic::Code;

use crate::{
    calls::{create, get, open, refused, resolve},
    subject::{By, Subject, options, redis},
};

const CACHE: &str = "mediamesh_cache_redis_connected";
const OWN: &str = "mediamesh_sessions_redis_connected";

/// One as an operator would give sessions: it writes to its disk and drops nothing.
async fn keeps_all(programs: &Path) -> Redis {
    let arguments = [
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--maxmemory-policy",
        "noeviction",
    ];
    Redis::start_with(programs, None, &arguments).await.unwrap()
}

pub(crate) fn on(urls: Vec<String>, cluster: bool, sessions: SessionOptions) -> SessionOptions {
    let of = redis(urls, cluster);
    SessionOptions {
        redis: SessionRedisOptions {
            urls: of.urls,
            cluster: of.cluster,
            prefix: of.prefix,
            ..SessionRedisOptions::default()
        },
        ..sessions
    }
}

async fn set(cache: &impl CacheService, by: &By, key: &str) {
    let entry = Entry {
        key: key.to_owned(),
        value: "value".into(),
        ..Entry::default()
    };
    let request = SetEntryRequest {
        entry: Some(entry),
        lease_token: 0,
    };
    cache.set_entry(by.asks(request)).await.unwrap();
}

async fn has(cache: &impl CacheService, by: &By, key: &str) -> bool {
    let request = GetEntryRequest {
        key: key.to_owned(),
        ..GetEntryRequest::default()
    };
    let found = cache.get_entry(by.asks(request)).await.unwrap();
    matches!(found.into_inner().outcome, Some(Outcome::Entry(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_is_flushed_full_silent_or_gone_logs_nobody_out() {
    let Some(programs) = programs() else { return };
    let mut cache = Redis::start(&programs).await.unwrap();
    let own = keeps_all(&programs).await;
    let sessions = on(vec![own.url()], false, options());
    let subject = Subject::new(redis(vec![cache.url()], false), sessions, None);
    subject.shows(CACHE, 1).await;
    subject.shows(OWN, 1).await;
    let (service, by) = (subject.direct(), By::somebody());
    let (_, id) = open(&service, &by).await;
    let keys = own.command(&["dbsize"]).unwrap();
    assert_eq!(keys, "2", "the session and whose it is");
    assert_eq!(cache.command(&["keys", "*:[s-u]:*"]).unwrap(), "");

    cache.command(&["flushall"]).unwrap();
    get(&service, &by, &id).await.unwrap();
    cache.command(&["config", "set", "maxmemory", "1"]).unwrap();
    get(&service, &by, &id).await.unwrap();
    open(&service, &by).await;
    cache.pause().unwrap();
    subject.shows(CACHE, 0).await;
    get(&service, &by, &id).await.unwrap();
    open(&service, &by).await;
    cache.kill().unwrap();
    resolve(&service, &id).await.unwrap();
    open(&service, &by).await;
    subject.shows(OWN, 1).await;
    assert_eq!(subject.health("sessions"), "serving");
    assert_eq!(subject.health("cache"), "degraded");
    cache.restart().await.unwrap();
    subject.shows(CACHE, 1).await;
    get(&service, &by, &id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_theirs_no_session_is_known_the_cache_goes_on_and_both_come_back() {
    let Some(programs) = programs() else { return };
    let cache = Redis::start(&programs).await.unwrap();
    let mut own = keeps_all(&programs).await;
    let sessions = on(vec![own.url()], false, options());
    let subject = Subject::new(redis(vec![cache.url()], false), sessions, None);
    subject.shows(CACHE, 1).await;
    subject.shows(OWN, 1).await;
    let (service, entries, by) = (subject.direct(), subject.cache.handler(), By::somebody());
    let (_, id) = open(&service, &by).await;
    set(&entries, &by, "before").await;

    own.pause().unwrap();
    let silent = get(&service, &by, &id).await;
    refused(silent, Code::Unavailable, ErrorReason::DependencyDown);
    assert!(has(&entries, &by, "before").await);
    own.resume().unwrap();
    own.kill().unwrap();
    for _ in 0..8 {
        let gone = create(&service, &by, Default::default(), None).await;
        refused(gone, Code::Unavailable, ErrorReason::DependencyDown);
    }
    subject.shows(OWN, 0).await;
    assert_eq!(subject.health("sessions"), "degraded");
    assert_eq!(subject.health("cache"), "serving");
    set(&entries, &by, "meanwhile").await;
    assert!(has(&entries, &by, "meanwhile").await);
    let other = Subject::new(
        redis(vec![cache.url()], false),
        on(vec![own.url()], false, options()),
        None,
    );
    let never = get(&other.direct(), &by, &id).await;
    refused(never, Code::Unavailable, ErrorReason::DependencyDown);

    own.restart().await.unwrap();
    subject.shows(OWN, 1).await;
    get(&service, &by, &id).await.unwrap();
    resolve(&service, &id).await.unwrap();
    open(&service, &by).await;
    other.shows(OWN, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_may_be_in_a_cluster_beside_a_cache_in_memory() {
    let Some(programs) = programs() else { return };
    let cluster = RedisCluster::start(&programs).await.unwrap();
    let sessions = on(cluster.urls(), true, options());
    let subject = Subject::new(Default::default(), sessions.clone(), None);
    subject.shows(OWN, 1).await;
    let (service, by) = (subject.direct(), By::somebody());
    let (_, id) = open(&service, &by).await;
    // another process sees them
    let other = Subject::new(Default::default(), sessions, None);
    other.shows(OWN, 1).await;
    get(&other.direct(), &by, &id).await.unwrap();
    assert!(!subject.metrics.encode().contains(CACHE));
}
