#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use mediamesh_mesh::{
    LocalAuthenticator, Policy, Registry, ServerBuilder, ServerDeps, ServiceName,
};
use mediamesh_proto::{
    TenantId,
    cache::v1::{
        BatchGetEntriesRequest, BatchGetEntriesResponse, BatchSetEntriesRequest,
        BatchSetEntriesResponse, CountSearchesRequest, CountSearchesResponse, GetCacheStatsRequest,
        GetCacheStatsResponse, GetEntryResponse, InvalidateEntriesRequest,
        InvalidateEntriesResponse, ListPopularSearchesRequest, ListPopularSearchesResponse,
        ReleaseLeaseResponse, SetEntryResponse, WatchInvalidationsRequest,
        WatchInvalidationsResponse,
        cache_service_server::{CacheService, CacheServiceServer},
    },
    search::v1::{Example, SearchFilter, SearchHit, SearchMediaRequest},
    time::timestamp,
};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::*;
use crate::{
    Options, convert,
    query::{Lists, Order},
};

/// Grants every lease and tells what becomes of it.
struct Leases {
    told: mpsc::Sender<&'static str>,
    /// What is there, and soon ends.
    stored: Option<Bytes>,
}

#[tonic::async_trait]
impl CacheService for Leases {
    async fn get_entry(
        &self,
        _: Request<GetEntryRequest>,
    ) -> Result<Response<GetEntryResponse>, Status> {
        let entry = self.stored.clone().map(|value| Entry {
            value,
            ..Entry::default()
        });
        Ok(Response::new(match entry {
            None => GetEntryResponse {
                outcome: Some(Outcome::LeaseToken(7)),
                ..GetEntryResponse::default()
            },
            Some(entry) => GetEntryResponse {
                outcome: Some(Outcome::Entry(entry)),
                refresh_token: 7,
                ..GetEntryResponse::default()
            },
        }))
    }

    async fn set_entry(
        &self,
        request: Request<SetEntryRequest>,
    ) -> Result<Response<SetEntryResponse>, Status> {
        assert_eq!(request.into_inner().lease_token, 7);
        self.told.send("set").await.unwrap();
        Ok(Response::new(SetEntryResponse::default()))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        assert_eq!(request.into_inner().lease_token, 7);
        self.told.send("released").await.unwrap();
        Ok(Response::new(ReleaseLeaseResponse::default()))
    }

    async fn batch_get_entries(
        &self,
        _: Request<BatchGetEntriesRequest>,
    ) -> Result<Response<BatchGetEntriesResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn batch_set_entries(
        &self,
        _: Request<BatchSetEntriesRequest>,
    ) -> Result<Response<BatchSetEntriesResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn invalidate_entries(
        &self,
        _: Request<InvalidateEntriesRequest>,
    ) -> Result<Response<InvalidateEntriesResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    type WatchInvalidationsStream =
        futures::stream::Empty<Result<WatchInvalidationsResponse, Status>>;

    async fn watch_invalidations(
        &self,
        _: Request<WatchInvalidationsRequest>,
    ) -> Result<Response<Self::WatchInvalidationsStream>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn count_searches(
        &self,
        _: Request<CountSearchesRequest>,
    ) -> Result<Response<CountSearchesResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn list_popular_searches(
        &self,
        _: Request<ListPopularSearchesRequest>,
    ) -> Result<Response<ListPopularSearchesResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }

    async fn get_cache_stats(
        &self,
        _: Request<GetCacheStatsRequest>,
    ) -> Result<Response<GetCacheStatsResponse>, Status> {
        Err(Status::unimplemented("not called"))
    }
}

fn cache(stored: Option<Bytes>) -> (ResultCache, mpsc::Receiver<&'static str>) {
    let (told, seen) = mpsc::channel(4);
    let metrics = Metrics::new();
    let registry = Registry::new(Policy::default(), &metrics);
    let routes = ServerBuilder::new(ServerDeps {
        policy: Policy::default(),
        metrics,
        health: HealthRegistry::new(),
        authenticator: Arc::new(LocalAuthenticator),
    })
    .add_service(CacheServiceServer::new(Leases { told, stored }))
    .build()
    .unwrap();
    registry.register_local(ServiceName::Cache, routes);
    let cache = ResultCache::new(
        NearCache::without_memory(registry.channel(ServiceName::Cache)),
        Duration::from_secs(60),
    );
    (cache, seen)
}

fn query() -> Query {
    Query {
        tenant: TenantId(uuid::Uuid::nil()),
        text: "beach".to_owned(),
        examples: Vec::new(),
        image: None,
        filter: mediamesh_store::search::Filter::default(),
        lists: Lists {
            full_text: true,
            vectors: true,
        },
        order: Order::Relevance,
        limit: 20,
        offset: 0,
        newest_key: None,
        min_score: None,
        explain: false,
        fingerprint: Vec::new(),
    }
}

async fn lease(cache: &ResultCache) -> Lease {
    match cache.get(&query(), 1, "").await {
        Lookup::Miss(Some(lease)) => lease,
        _ => panic!("a lease is granted"),
    }
}

/// What becomes of the lease, at once: a lease lives ten seconds.
async fn next(seen: &mut mpsc::Receiver<&'static str>) -> &'static str {
    let told = tokio::time::timeout(Duration::from_secs(2), seen.recv());
    told.await.expect("nothing became of the lease").unwrap()
}

#[tokio::test]
async fn a_search_that_is_cut_off_gives_its_lease_back_at_once() {
    let (cache, mut seen) = cache(None);
    let lease = lease(&cache).await;
    let search = tokio::spawn(async move {
        let _lease = lease;
        std::future::pending::<()>().await;
    });
    tokio::task::yield_now().await;
    search.abort();
    assert_eq!(next(&mut seen).await, "released");
}

#[tokio::test]
async fn an_answer_is_stored_and_one_not_to_keep_is_not() {
    let (cache, mut seen) = cache(None);
    let whole = SearchMediaResponse::default();
    cache.settle(lease(&cache).await, &whole).await;
    assert_eq!(next(&mut seen).await, "set");
    let degraded = SearchMediaResponse {
        degraded: true,
        ..whole
    };
    cache.settle(lease(&cache).await, &degraded).await;
    assert_eq!(next(&mut seen).await, "released");
    let of = |hits| SearchMediaResponse {
        results: vec![SearchHit::default(); hits],
        ..SearchMediaResponse::default()
    };
    for (hits, became) in [(MAX_CACHED_HITS, "set"), (MAX_CACHED_HITS + 1, "released")] {
        cache.settle(lease(&cache).await, &of(hits)).await;
        assert_eq!(next(&mut seen).await, became, "{hits}");
    }
    assert!(seen.try_recv().is_err(), "a stored answer's lease is over");
}

/// The key of a request of a tenant.
fn key_of(tenant: TenantId, request: &SearchMediaRequest) -> String {
    let query = Query {
        tenant,
        fingerprint: convert::fingerprint(tenant, request, &Options::default()),
        ..query()
    };
    key(&query, 7, "model")
}

#[test]
fn whatever_changes_an_answer_changes_its_key_and_nothing_else_does() {
    let tenant = TenantId(uuid::Uuid::from_u128(1));
    let one = |change: &dyn Fn(&mut SearchMediaRequest)| {
        let mut request = SearchMediaRequest {
            query: "red boat".to_owned(),
            filter: Some(SearchFilter::default()),
            ..SearchMediaRequest::default()
        };
        change(&mut request);
        key_of(tenant, &request)
    };
    let filtered = |change: &dyn Fn(&mut SearchFilter)| {
        one(&|request| change(request.filter.get_or_insert_default()))
    };
    let second = |count: i64| Some(timestamp(count * 1_000_000));
    let text = || vec!["a".to_owned()];
    let example = |weight| Example {
        media_item_id: "a".to_owned(),
        weight,
    };
    let mut keys = vec![
        one(&|_| {}),
        one(&|request| request.filter = None),
        one(&|request| request.query = "red boats".to_owned()),
        one(&|request| request.query = "\"red boat\"".to_owned()),
        one(&|request| request.limit = 7),
        one(&|request| request.offset = 7),
        one(&|request| request.min_score = Some(0.0)),
        one(&|request| request.min_score = Some(0.5)),
        one(&|request| request.mode = 1),
        one(&|request| request.order = 2),
        one(&|request| request.order = 3),
        one(&|request| request.examples = vec![example(1.0)]),
        one(&|request| request.examples = vec![example(-1.0)]),
        filtered(&|filter| filter.kinds = text()),
        filtered(&|filter| filter.folder = "a".to_owned()),
        filtered(&|filter| filter.tags = text()),
        filtered(&|filter| filter.tags = vec!["a".to_owned(), "b".to_owned()]),
        filtered(&|filter| filter.min_time = second(1)),
        filtered(&|filter| filter.max_time = second(1)),
        filtered(&|filter| filter.min_size_bytes = 1),
        filtered(&|filter| filter.max_size_bytes = 1),
        filtered(&|filter| filter.min_width_pixels = 1),
        filtered(&|filter| filter.min_height_pixels = 1),
        filtered(&|filter| filter.color = "a".to_owned()),
        filtered(&|filter| filter.orientations = text()),
        filtered(&|filter| filter.content_types = text()),
        key_of(
            TenantId(uuid::Uuid::from_u128(2)),
            &SearchMediaRequest::default(),
        ),
        key_of(tenant, &SearchMediaRequest::default()),
        key(&query(), 7, "model"),
        key(&query(), 8, "model"),
        key(&query(), 7, "another"),
    ];
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
    // how it is written, whether it is noted, and limits that mean the same
    let default = i32::try_from(Options::default().default_limit).unwrap();
    for same in [
        one(&|request| request.query = "  Red \t BOAT ".to_owned()),
        one(&|request| request.private = true),
        one(&|request| request.limit = default),
    ] {
        assert_eq!(same, one(&|_| {}));
    }
}

#[tokio::test]
async fn an_answer_that_soon_ends_is_given_with_the_duty_to_compute_it_anew() {
    let stored = SearchMediaResponse {
        next_page_token: "next".to_owned(),
        ..SearchMediaResponse::default()
    };
    let (cache, mut seen) = cache(Some(stored.encode_to_vec().into()));
    for (settled, became) in [(true, "set"), (false, "released")] {
        let Lookup::Hit(answer, Some(lease)) = cache.get(&query(), 1, "").await else {
            panic!("it is there")
        };
        assert_eq!(*answer, stored);
        match settled {
            true => cache.settle(lease, &stored).await,
            false => drop(lease),
        }
        assert_eq!(next(&mut seen).await, became);
    }
    // what cannot be read is computed anew as well
    let (cache, _seen) = self::cache(Some(Bytes::from_static(b"\xff")));
    let found = cache.get(&query(), 1, "").await;
    assert!(matches!(found, Lookup::Miss(Some(_))));
}
