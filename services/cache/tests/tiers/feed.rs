//! Several services on one Redis, each with a memory of its own, as in several processes.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use mediamesh_cache::RedisOptions;
use mediamesh_proto::{
    TenantId,
    cache::v1::{WatchInvalidationsRequest, cache_service_server::CacheService},
};
use mediamesh_testkit::{Redis, RedisCluster, redis::programs};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    subject::{Subject, by, redis, tenant},
    suite::{self, entry, invalidate, set, value},
};

/// The promise is 100 ms; a machine that builds beside it gets more.
const SOON: Duration = Duration::from_millis(500);

async fn wait_for(what: &str, patience: Duration, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done().await {
        assert!(
            began.elapsed() < patience,
            "{what}: not within {patience:?}"
        );
        sleep(Duration::from_micros(500)).await;
    }
    began.elapsed()
}

async fn changes_are_heard(options: RedisOptions) {
    let one = Subject::connected(options.clone()).await;
    let two = Subject::connected(options).await;
    let (here, there) = (one.direct(), two.direct());
    let tenant = tenant(1);
    let mut took = Vec::new();
    for round in 0..20 {
        for (key, tags) in [
            ("key", &[][..]),
            ("tagged", &["t"]),
            ("prefix:1", &[]),
            ("set", &[]),
        ] {
            set(&here, tenant, entry(key, "old", tags)).await;
            wait_for("set", SOON, async || {
                value(&there, tenant, key).await.as_deref() == Some("old")
            })
            .await;
        }
        invalidate(&here, tenant, &["key"], &["t"], "prefix:").await;
        set(&here, tenant, entry("set", "new", &[])).await;
        for key in ["key", "tagged", "prefix:1"] {
            let gone = async || value(&there, tenant, key).await.is_none();
            took.push(wait_for(key, SOON, gone).await);
        }
        let new = async || value(&there, tenant, "set").await.as_deref() == Some("new");
        took.push(wait_for("set", SOON, new).await);
        assert_eq!(
            value(&here, tenant, "set").await.unwrap(),
            "new",
            "round {round}"
        );
    }
    took.sort_unstable();
    let median = took[took.len() / 2];
    assert!(median < Duration::from_millis(100), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_changes_the_others_do_not_answer_any_more() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    changes_are_heard(redis(vec![server.url()], false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_changes_the_others_do_not_answer_any_more_on_a_cluster() {
    let Some(programs) = programs() else { return };
    let cluster = RedisCluster::start(&programs).await.unwrap();
    changes_are_heard(redis(cluster.urls(), true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_cut_off_catches_up() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let options = redis(vec![server.url()], false);
    let one = Subject::connected(options.clone()).await;
    let two = Subject::connected(options).await;
    let (here, there) = (one.direct(), two.direct());
    let tenant = tenant(1);
    for number in 0..50 {
        let key = format!("k{number}");
        set(&here, tenant, entry(&key, "old", &[])).await;
        assert_eq!(value(&there, tenant, &key).await.unwrap(), "old");
    }
    let resets = |subject: &Subject| {
        let text = subject.metrics.encode();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("mediamesh_cache_feed_resets_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = resets(&two);
    // every connection is cut, and changes go on while readers come back
    for number in 0..50 {
        if number % 10 == 0 {
            server
                .command(&["client", "kill", "type", "normal"])
                .unwrap();
        }
        let key = format!("k{number}");
        set(&here, tenant, entry(&key, "new", &[])).await;
    }
    for number in 0..50 {
        let key = format!("k{number}");
        // one whose write met the cut is nowhere but with its writer
        let heard = async || value(&there, tenant, &key).await.as_deref() != Some("old");
        wait_for(&key, Duration::from_secs(5), heard).await;
    }
    assert_eq!(
        resets(&two),
        before,
        "nothing was missed, so nothing had to be dropped"
    );
    // what is missed cannot be caught up with
    set(&here, tenant, entry("missed", "old", &[])).await;
    assert_eq!(value(&there, tenant, "missed").await.unwrap(), "old");
    server.command(&["flushall"]).unwrap();
    let dropped = async || resets(&two) > before;
    wait_for("reset", Duration::from_secs(5), dropped).await;
    // the reader counts, then memory is told
    let forgotten = async || value(&there, tenant, "missed").await.is_none();
    wait_for("missed", Duration::from_secs(5), forgotten).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_factory_runs_once_for_racers_of_several_services() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let options = redis(vec![server.url()], false);
    let mut services = Vec::new();
    for _ in 0..4 {
        services.push(Subject::connected(options.clone()).await);
    }
    let caches: Vec<_> = services.iter().map(|one| Arc::new(one.direct())).collect();
    for round in 0..5 {
        let computed = suite::race(&caches, TenantId::generate(), "k", 100).await;
        assert_eq!(computed, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_are_told_of_changes_here_and_elsewhere_and_let_go_at_the_end() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let options = redis(vec![server.url()], false);
    let one = Subject::connected(options.clone()).await;
    let two = Subject::connected(options).await;
    let remote = one.through_the_mesh();
    let watch = |tenant| by(tenant, WatchInvalidationsRequest {});
    let refused = one.direct().watch_invalidations(watch(tenant(9))).await;
    assert!(refused.is_err_and(|status| status.code() == tonic::Code::PermissionDenied));
    let request = watch(TenantId(mediamesh_mesh::LOCAL_TENANT_ID));
    let mut stream = remote
        .watch_invalidations(request)
        .await
        .unwrap()
        .into_inner();
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.invalidations.is_empty());
    set(&two.direct(), tenant(2), entry("there", "v", &[])).await;
    invalidate(&one.direct(), tenant(3), &[], &[], "here").await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let next = timeout(Duration::from_secs(5), stream.next())
            .await
            .unwrap();
        told.extend(next.unwrap().unwrap().invalidations);
    }
    told.sort_by(|one, other| one.tenant_id.cmp(&other.tenant_id));
    assert_eq!(
        (&told[0].tenant_id, &told[0].keys[..]),
        (&tenant(2).to_string(), &["there".to_owned()][..])
    );
    assert_eq!(
        (&told[1].tenant_id, told[1].key_prefix.as_str()),
        (&tenant(3).to_string(), "here")
    );
    one.health.set_draining();
    let end = async { while stream.next().await.is_some() {} };
    timeout(Duration::from_secs(5), end).await.unwrap();
}
