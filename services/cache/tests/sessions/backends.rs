//! Every rule on every subject.

use std::sync::Arc;

use mediamesh_cache::{RedisOptions, SessionOptions};
use mediamesh_proto::cache::v1::session_service_server::SessionService;
use mediamesh_testkit::{Redis, RedisCluster, redis::programs};

use crate::{
    own_redis::on,
    subject::{Subject, options, redis},
    suite,
};

async fn holds(service: Arc<impl SessionService>) {
    suite::an_id_is_shown_once_and_finds_what_was_stored(&*service).await;
    suite::each_use_begins_its_time_anew_and_without_use_it_ends(&*service).await;
    suite::of_racing_updates_none_is_lost(&service).await;
    suite::an_update_changes_what_it_names(&*service).await;
    suite::sessions_of_a_user_are_listed_and_ended(&*service).await;
    suite::a_revocation_misses_no_racing_session(&service).await;
    suite::a_sweep_counts_what_it_removes(&*service).await;
    suite::a_session_too_many_ends_the_one_longest_without_use(&*service).await;
    suite::nobody_reaches_beyond_itself(&*service).await;
    suite::what_is_forged_or_too_large_is_refused(&*service).await;
}

/// Sessions that end after two seconds, however they are used.
fn brief() -> SessionOptions {
    SessionOptions {
        ttl_secs: 1,
        max_lifetime_secs: 2,
        ..options()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_holds_the_rules() {
    let subject = Subject::memory();
    holds(Arc::new(subject.direct())).await;
    holds(Arc::new(subject.through_the_mesh())).await;
    let brief = Subject::new(RedisOptions::default(), brief(), None);
    suite::it_ends_however_it_is_used(&brief.direct()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_holds_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let dir = |name| Some(folder.path().join(name));
    let subject = Subject::new(RedisOptions::default(), options(), dir("a"));
    holds(Arc::new(subject.direct())).await;
    let brief = Subject::new(RedisOptions::default(), brief(), dir("b"));
    suite::it_ends_however_it_is_used(&brief.direct()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_holds_the_rules() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(vec![server.url()], false), options()).await;
    holds(Arc::new(subject.direct())).await;
    holds(Arc::new(subject.through_the_mesh())).await;
    let brief = Subject::connected(redis(vec![server.url()], false), brief()).await;
    suite::it_ends_however_it_is_used(&brief.direct()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_of_their_own_holds_the_rules() {
    let Some(programs) = programs() else { return };
    let (cache, own) = (
        Redis::start(&programs).await.unwrap(),
        Redis::start(&programs).await.unwrap(),
    );
    let of = |sessions| on(vec![own.url()], false, sessions);
    let cache = || redis(vec![cache.url()], false);
    let subject = Subject::connected(cache(), of(options())).await;
    subject.shows("mediamesh_sessions_redis_connected", 1).await;
    holds(Arc::new(subject.direct())).await;
    holds(Arc::new(subject.through_the_mesh())).await;
    let brief = Subject::connected(cache(), of(brief())).await;
    brief.shows("mediamesh_sessions_redis_connected", 1).await;
    suite::it_ends_however_it_is_used(&brief.direct()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_holds_the_rules() {
    let Some(programs) = programs() else { return };
    let cluster = RedisCluster::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(cluster.urls(), true), options()).await;
    holds(Arc::new(subject.direct())).await;
    holds(Arc::new(subject.through_the_mesh())).await;
    let brief = Subject::connected(redis(cluster.urls(), true), brief()).await;
    suite::it_ends_however_it_is_used(&brief.direct()).await;
    // sessions are on every master, not on one
    for keys in cluster.on_masters(&["dbsize"]).unwrap() {
        assert!(keys.parse::<u64>().unwrap() > 10, "{keys}");
    }
}
