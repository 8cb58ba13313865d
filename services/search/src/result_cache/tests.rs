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
};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use super::*;
use crate::query::{Lists, Order};

/// Grants every lease and tells what becomes of it.
struct Leases(mpsc::Sender<&'static str>);

#[tonic::async_trait]
impl CacheService for Leases {
    async fn get_entry(
        &self,
        _: Request<GetEntryRequest>,
    ) -> Result<Response<GetEntryResponse>, Status> {
        Ok(Response::new(GetEntryResponse {
            outcome: Some(Outcome::LeaseToken(7)),
            ..GetEntryResponse::default()
        }))
    }

    async fn set_entry(
        &self,
        request: Request<SetEntryRequest>,
    ) -> Result<Response<SetEntryResponse>, Status> {
        assert_eq!(request.into_inner().lease_token, 7);
        self.0.send("set").await.unwrap();
        Ok(Response::new(SetEntryResponse::default()))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        assert_eq!(request.into_inner().lease_token, 7);
        self.0.send("released").await.unwrap();
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

fn cache() -> (ResultCache, mpsc::Receiver<&'static str>) {
    let (told, seen) = mpsc::channel(4);
    let metrics = Metrics::new();
    let registry = Registry::new(Policy::default(), &metrics);
    let routes = ServerBuilder::new(ServerDeps {
        policy: Policy::default(),
        metrics,
        health: HealthRegistry::new(),
        authenticator: Arc::new(LocalAuthenticator),
    })
    .add_service(CacheServiceServer::new(Leases(told)))
    .build()
    .unwrap();
    registry.register_local(ServiceName::Cache, routes);
    let cache = ResultCache::new(
        NearCache::without_memory(registry.channel(ServiceName::Cache)),
        Duration::from_secs(60),
    );
    (cache, seen)
}

async fn lease(cache: &ResultCache) -> Lease {
    let query = Query {
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
    };
    match cache.get(&query, 1, "").await {
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
    let (cache, mut seen) = cache();
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
    let (cache, mut seen) = cache();
    let whole = SearchMediaResponse::default();
    cache.settle(lease(&cache).await, &whole).await;
    assert_eq!(next(&mut seen).await, "set");
    let degraded = SearchMediaResponse {
        degraded: true,
        ..whole
    };
    cache.settle(lease(&cache).await, &degraded).await;
    assert_eq!(next(&mut seen).await, "released");
    assert!(seen.try_recv().is_err(), "a stored answer's lease is over");
}
