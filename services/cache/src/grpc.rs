//! The generated trait: converts in, calls, converts out.

use std::sync::Arc;

use futures::stream::BoxStream;
use mediamesh_mesh::{LOCAL_TENANT_ID, identity};
use mediamesh_near::Key;
use mediamesh_proto::{
    Error, ErrorKind, ErrorReason, TenantId,
    cache::v1::{
        BatchGetEntriesRequest, BatchGetEntriesResponse, BatchSetEntriesRequest,
        BatchSetEntriesResponse, CountSearchesRequest, CountSearchesResponse, GetCacheStatsRequest,
        GetCacheStatsResponse, GetEntryRequest, GetEntryResponse, InvalidateEntriesRequest,
        InvalidateEntriesResponse, ListPopularSearchesRequest, ListPopularSearchesResponse, Lookup,
        PopularWording, ReleaseLeaseRequest, ReleaseLeaseResponse, SetEntryRequest,
        SetEntryResponse, WatchInvalidationsRequest, WatchInvalidationsResponse,
        cache_service_server::CacheService, get_entry_response::Outcome,
    },
};
use mediamesh_telemetry::HealthRegistry;
use tonic::{Request, Response, Status};

use crate::{
    convert::{Reader, message},
    service::{Found, Service, Wish},
};

mod watch;

pub(crate) struct Grpc {
    pub(crate) service: Arc<Service>,
    pub(crate) health: HealthRegistry,
}

fn tenant<T>(request: &Request<T>) -> Result<TenantId, Status> {
    Ok(TenantId(identity(request)?.tenant_id))
}

impl Grpc {
    fn reader(&self, tenant: TenantId) -> Reader<'_> {
        Reader::new(&self.service.options, tenant)
    }
}

#[tonic::async_trait]
impl CacheService for Grpc {
    async fn get_entry(
        &self,
        request: Request<GetEntryRequest>,
    ) -> Result<Response<GetEntryResponse>, Status> {
        let mut reader = self.reader(tenant(&request)?);
        let request = request.into_inner();
        let key = reader.key("key", &request.key);
        let lease_ttl = reader.time("lease_ttl", request.lease_ttl.as_ref(), true);
        let wait_timeout = reader.time("wait_timeout", request.wait_timeout.as_ref(), false);
        reader.early_refresh(request.early_refresh, lease_ttl.is_some());
        reader.finish()?;
        let wish = Wish {
            lease_ttl,
            wait_timeout,
            early_refresh: request.early_refresh,
        };
        Ok(Response::new(match self.service.get(&key, wish).await {
            Found::Entry(entry, refresh) => GetEntryResponse {
                stale: entry.is_stale(),
                outcome: Some(Outcome::Entry(message(&key.name, entry))),
                refresh_token: refresh.unwrap_or_default(),
            },
            Found::Lease(token) => GetEntryResponse {
                outcome: Some(Outcome::LeaseToken(token)),
                ..GetEntryResponse::default()
            },
            Found::Nothing => GetEntryResponse::default(),
        }))
    }

    async fn batch_get_entries(
        &self,
        request: Request<BatchGetEntriesRequest>,
    ) -> Result<Response<BatchGetEntriesResponse>, Status> {
        let mut reader = self.reader(tenant(&request)?);
        let request = request.into_inner();
        reader.batch("keys", request.keys.len());
        let keys: Vec<Key> = (request.keys.iter().enumerate())
            .map(|(index, name)| reader.key(&format!("keys[{index}]"), name))
            .collect();
        reader.finish()?;
        let found = self.service.get_batch(&keys).await;
        let lookups = std::iter::zip(&keys, found)
            .map(|(key, entry)| Lookup {
                entry: entry.map(|entry| message(&key.name, entry)),
            })
            .collect();
        Ok(Response::new(BatchGetEntriesResponse { lookups }))
    }

    async fn set_entry(
        &self,
        request: Request<SetEntryRequest>,
    ) -> Result<Response<SetEntryResponse>, Status> {
        let mut reader = self.reader(tenant(&request)?);
        let request = request.into_inner();
        reader.token(request.lease_token, false);
        let (key, entry) = reader.entry("entry", request.entry);
        reader.finish()?;
        self.service.set(key, entry, request.lease_token).await?;
        Ok(Response::new(SetEntryResponse {}))
    }

    async fn batch_set_entries(
        &self,
        request: Request<BatchSetEntriesRequest>,
    ) -> Result<Response<BatchSetEntriesResponse>, Status> {
        let mut reader = self.reader(tenant(&request)?);
        let request = request.into_inner();
        reader.batch("entries", request.entries.len());
        let entries: Vec<_> = (request.entries.into_iter().enumerate())
            .map(|(index, entry)| reader.entry(&format!("entries[{index}]"), Some(entry)))
            .collect();
        reader.finish()?;
        self.service.set_batch(entries).await;
        Ok(Response::new(BatchSetEntriesResponse {}))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let mut reader = self.reader(tenant(&request)?);
        let request = request.into_inner();
        let key = reader.key("key", &request.key);
        reader.token(request.lease_token, true);
        reader.finish()?;
        self.service.release(&key, request.lease_token).await;
        Ok(Response::new(ReleaseLeaseResponse {}))
    }

    async fn invalidate_entries(
        &self,
        request: Request<InvalidateEntriesRequest>,
    ) -> Result<Response<InvalidateEntriesResponse>, Status> {
        let tenant = tenant(&request)?;
        let mut reader = self.reader(tenant);
        let request = request.into_inner();
        reader.batch("keys", request.keys.len());
        reader.batch("tags", request.tags.len());
        reader.tags("tags", &request.tags);
        let patterns = reader.patterns(&request.key_prefix, &request.key_pattern);
        let keys: Vec<Key> = (request.keys.iter().enumerate())
            .map(|(index, name)| reader.key(&format!("keys[{index}]"), name))
            .collect();
        reader.finish()?;
        let removed = self
            .service
            .invalidate(tenant, keys, request.tags, patterns)
            .await;
        let removed = i64::try_from(removed).unwrap_or(i64::MAX);
        Ok(Response::new(InvalidateEntriesResponse { removed }))
    }

    type WatchInvalidationsStream = BoxStream<'static, Result<WatchInvalidationsResponse, Status>>;

    async fn watch_invalidations(
        &self,
        request: Request<WatchInvalidationsRequest>,
    ) -> Result<Response<Self::WatchInvalidationsStream>, Status> {
        // names of every tenant: for a process, not for what it does on behalf of one of them
        let tenant = identity(&request)?.tenant_id;
        if !tenant.is_nil() && tenant != LOCAL_TENANT_ID {
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                ErrorReason::PermissionDenied,
                "changes of every tenant are told to processes of the mesh only",
            )
            .into());
        }
        let changes = self.service.watch();
        Ok(Response::new(watch::stream(changes, &self.health)))
    }

    async fn count_searches(
        &self,
        request: Request<CountSearchesRequest>,
    ) -> Result<Response<CountSearchesResponse>, Status> {
        let tenant = tenant(&request)?;
        let mut reader = self.reader(tenant);
        let searches = reader.searches(request.into_inner().searches);
        reader.finish()?;
        self.service.popular.count(tenant, searches).await;
        Ok(Response::new(CountSearchesResponse {}))
    }

    async fn list_popular_searches(
        &self,
        request: Request<ListPopularSearchesRequest>,
    ) -> Result<Response<ListPopularSearchesResponse>, Status> {
        let tenant = tenant(&request)?;
        let mut reader = self.reader(tenant);
        let request = request.into_inner();
        reader.prefix("prefix", &request.prefix);
        let limit = reader.popular(request.limit);
        let searchers = reader.searchers(request.min_searchers);
        reader.finish()?;
        let popular = &self.service.popular;
        let found = popular
            .list(tenant, &request.prefix, searchers, limit)
            .await;
        let wordings = found.into_iter().map(|one| PopularWording {
            wording: one.wording,
            searches: i64::try_from(one.searches).unwrap_or(i64::MAX),
        });
        Ok(Response::new(ListPopularSearchesResponse {
            wordings: wordings.collect(),
        }))
    }

    async fn get_cache_stats(
        &self,
        request: Request<GetCacheStatsRequest>,
    ) -> Result<Response<GetCacheStatsResponse>, Status> {
        tenant(&request)?;
        Ok(Response::new(self.service.stats().await))
    }
}
