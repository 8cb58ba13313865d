//! The rules of what is searched for most.

use mediamesh_proto::{
    ErrorReason, TenantId,
    cache::v1::{
        CountSearchesRequest, CountedSearch, ListPopularSearchesRequest,
        cache_service_server::CacheService,
    },
    status::reason_of,
};

use crate::{
    subject::by,
    suite::{invalidate, set},
};

/// Wordings held for a tenant: the contract promises so many.
const HELD: usize = 4000;

pub(crate) async fn count(cache: &impl CacheService, tenant: TenantId, searches: &[(&str, u64)]) {
    for searches in searches.chunks(1000) {
        let searches = searches.iter().map(|(wording, searcher)| CountedSearch {
            wording: (*wording).to_owned(),
            searcher: *searcher,
            times: 0,
        });
        let request = CountSearchesRequest {
            searches: searches.collect(),
        };
        cache.count_searches(by(tenant, request)).await.unwrap();
    }
}

pub(crate) async fn list(
    cache: &impl CacheService,
    tenant: TenantId,
    request: ListPopularSearchesRequest,
) -> Vec<(String, i64)> {
    let answer = cache.list_popular_searches(by(tenant, request)).await;
    let wordings = answer.unwrap().into_inner().wordings.into_iter();
    wordings.map(|one| (one.wording, one.searches)).collect()
}

pub(crate) fn all() -> ListPopularSearchesRequest {
    ListPopularSearchesRequest::default()
}

pub(crate) async fn popular(cache: &impl CacheService, tenant: TenantId) -> Vec<(String, i64)> {
    list(cache, tenant, all()).await
}

fn owned(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    (expected.iter())
        .map(|(wording, searches)| ((*wording).to_owned(), *searches))
        .collect()
}

pub(crate) async fn what_is_searched_for_most_comes_first(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    assert_eq!(popular(cache, tenant).await, []);
    let searches = [
        ("sun", 1),
        ("sunset", 1),
        ("sun", 2),
        ("söder*[x]", 1),
        ("sun", 1),
    ];
    count(cache, tenant, &searches).await;
    count(cache, tenant, &[("sunset", 1)]).await;
    let expected = owned(&[("sun", 3), ("sunset", 2), ("söder*[x]", 1)]);
    assert_eq!(popular(cache, tenant).await, expected);
    let request = ListPopularSearchesRequest {
        prefix: "suns".to_owned(),
        ..all()
    };
    assert_eq!(list(cache, tenant, request).await, owned(&[("sunset", 2)]));
    let request = ListPopularSearchesRequest { limit: 1, ..all() };
    assert_eq!(list(cache, tenant, request).await, owned(&[("sun", 3)]));
}

pub(crate) async fn what_fewer_searched_for_is_not_told(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    let three = || ListPopularSearchesRequest {
        min_searchers: 3,
        ..all()
    };
    // one person's, however often
    count(cache, tenant, &[("secret", 7); 50]).await;
    count(cache, tenant, &[("red", 1), ("red", 2), ("red", 2)]).await;
    assert_eq!(list(cache, tenant, three()).await, []);
    count(cache, tenant, &[("red", u64::MAX)]).await;
    assert_eq!(list(cache, tenant, three()).await, owned(&[("red", 4)]));
    let expected = owned(&[("secret", 50), ("red", 4)]);
    assert_eq!(popular(cache, tenant).await, expected);
    let often = CountSearchesRequest {
        searches: vec![CountedSearch {
            wording: "red".to_owned(),
            searcher: 1,
            times: 100,
        }],
    };
    cache.count_searches(by(tenant, often)).await.unwrap();
    assert_eq!(list(cache, tenant, three()).await, owned(&[("red", 104)]));
    let many: Vec<(&str, u64)> = (0..40).map(|searcher| ("all", searcher)).collect();
    count(cache, tenant, &many).await;
    let request = ListPopularSearchesRequest {
        min_searchers: 16,
        ..all()
    };
    assert_eq!(list(cache, tenant, request).await, owned(&[("all", 40)]));
}

pub(crate) async fn tenants_do_not_see_each_others_searches(cache: &impl CacheService) {
    let (one, other) = (TenantId::generate(), TenantId::generate());
    count(cache, one, &[("mine", 1)]).await;
    assert_eq!(popular(cache, other).await, []);
    count(cache, other, &[("theirs", 1)]).await;
    assert_eq!(popular(cache, one).await, owned(&[("mine", 1)]));
}

pub(crate) async fn no_invalidation_touches_what_is_counted(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    count(cache, tenant, &[("search:red", 1)]).await;
    set(
        cache,
        tenant,
        crate::suite::entry("search:red", "v", &["search"]),
    )
    .await;
    let removed = invalidate(cache, tenant, &["search:red"], &["search"], "s").await;
    assert_eq!(removed, 1);
    assert_eq!(popular(cache, tenant).await, owned(&[("search:red", 1)]));
}

pub(crate) async fn a_thousand_are_answered_and_the_popular_outlast_any_number(
    cache: &impl CacheService,
) {
    let tenant = TenantId::generate();
    let names: Vec<String> = (0..HELD + 500).map(|n| format!("once {n:05}")).collect();
    let mut searches: Vec<(&str, u64)> = vec![("beach", 1), ("beach", 2), ("beach", 3)];
    searches.extend(names.iter().map(|name| (name.as_str(), 9)));
    count(cache, tenant, &searches).await;
    let request = ListPopularSearchesRequest {
        limit: 1000,
        ..all()
    };
    let found = list(cache, tenant, request).await;
    assert_eq!(found.len(), 1000);
    assert_eq!(found[0], ("beach".to_owned(), 3));
    // those that took the place of another are counted no higher than they were searched for
    assert!(found[1..].iter().all(|(_, searches)| *searches == 1));
    assert!(found.iter().any(|(name, _)| *name == names[HELD + 499]));
    assert_eq!(popular(cache, tenant).await.len(), 100);
}

pub(crate) async fn bad_requests_are_told_by_field(cache: &impl CacheService) {
    let tenant = TenantId::generate();
    let searches = |wording: String, times| CountSearchesRequest {
        searches: vec![
            CountedSearch {
                wording,
                searcher: 1,
                times: 0,
            };
            times
        ],
    };
    for request in [
        searches(String::new(), 1),
        searches("x".repeat(513), 1),
        searches("x".to_owned(), 1001),
    ] {
        let refused = cache.count_searches(by(tenant, request)).await.unwrap_err();
        assert_eq!(reason_of(&refused), Some(ErrorReason::InvalidField));
    }
    for (limit, min_searchers) in [(-1, 0), (1001, 0), (0, 17), (0, -1)] {
        let request = ListPopularSearchesRequest {
            limit,
            min_searchers,
            prefix: String::new(),
        };
        let answer = cache.list_popular_searches(by(tenant, request)).await;
        let refused = answer.unwrap_err();
        assert_eq!(reason_of(&refused), Some(ErrorReason::InvalidField));
    }
    assert_eq!(popular(cache, tenant).await, []);
}
