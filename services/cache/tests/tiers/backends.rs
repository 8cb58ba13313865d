//! Every rule on every subject.

use std::sync::Arc;

use mediamesh_proto::cache::v1::cache_service_server::CacheService;
use mediamesh_testkit::{Redis, RedisCluster, redis::programs};

use crate::{
    searches,
    subject::{Subject, redis},
    suite,
};

async fn holds(cache: Arc<impl CacheService>) {
    suite::an_entry_is_gone_when_its_time_is_up(&*cache).await;
    suite::a_negative_entry_is_a_hit_without_a_value(&*cache).await;
    suite::a_batch_is_answered_in_order(&*cache).await;
    suite::tags_and_prefixes_remove_what_they_cover_and_nothing_else(&*cache).await;
    suite::patterns_remove_what_they_match_and_nothing_else(&*cache).await;
    suite::tenants_do_not_see_or_remove_each_others_entries(&*cache).await;
    suite::of_a_hundred_racers_one_computes_and_all_get_its_value(&cache).await;
    suite::a_lease_that_expires_or_is_given_back_goes_to_one_waiter(&cache).await;
    suite::a_stale_token_is_refused_and_changes_nothing(&*cache).await;
    suite::an_invalidation_revokes_the_lease_of_a_value_that_may_be_stale(&*cache).await;
    suite::waiters_end_in_time(&*cache).await;
    suite::a_caller_that_goes_away_leaves_no_lease_behind(&*cache).await;
    suite::a_stale_entry_is_answered_while_one_computes_it_anew(&cache).await;
    suite::a_dear_entry_is_computed_anew_before_it_is_stale(&*cache).await;
    suite::hits_and_misses_are_counted(&*cache).await;
    suite::a_batch_never_answers_more_than_a_message_holds(&*cache).await;
    searches::what_is_searched_for_most_comes_first(&*cache).await;
    searches::what_fewer_searched_for_is_not_told(&*cache).await;
    searches::tenants_do_not_see_each_others_searches(&*cache).await;
    searches::no_invalidation_touches_what_is_counted(&*cache).await;
    searches::a_thousand_are_answered_and_the_popular_outlast_any_number(&*cache).await;
    searches::bad_requests_are_told_by_field(&*cache).await;
}

#[tokio::test]
async fn memory_holds_the_rules() {
    holds(Arc::new(Subject::memory().direct())).await;
}

#[tokio::test]
async fn memory_holds_the_rules_through_the_mesh() {
    holds(Arc::new(Subject::memory().through_the_mesh())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_holds_the_rules() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(vec![server.url()], false)).await;
    holds(Arc::new(subject.direct())).await;
    let subject = Subject::connected(redis(vec![server.url()], false)).await;
    holds(Arc::new(subject.through_the_mesh())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_holds_the_rules() {
    let Some(programs) = programs() else { return };
    let cluster = RedisCluster::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(cluster.urls(), true)).await;
    holds(Arc::new(subject.direct())).await;
    let subject = Subject::connected(redis(cluster.urls(), true)).await;
    holds(Arc::new(subject.through_the_mesh())).await;
    // entries are on every master, not on one
    for keys in cluster.on_masters(&["dbsize"]).unwrap() {
        assert!(keys.parse::<u64>().unwrap() > 10, "{keys}");
    }
}
