//! The cache service with a memory of its own in front: a hot hit costs no hop.
//!
//! What is in memory is kept right by the service's stream of changes. While that stream is not there,
//! memory is empty and every call goes to the service: nothing is answered that could have changed
//! unheard. A process that runs the cache service itself has no use for a second memory.
//!
//! With several processes of the service, an entry may come from one that has not heard yet of a
//! change that the stream of another has told already; so nothing is kept whose key was changed a
//! moment ago.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mediamesh_mesh::{Channel, MAX_MESSAGE_BYTES, identity::Caller};
use mediamesh_proto::{
    TenantId,
    cache::v1::{
        BatchGetEntriesRequest, BatchSetEntriesRequest, CountSearchesRequest, Entry,
        GetEntryRequest, GetEntryResponse, Invalidation, ListPopularSearchesRequest, Lookup,
        PopularWording, ReleaseLeaseRequest, SetEntryRequest, WatchInvalidationsRequest,
        cache_service_client::CacheServiceClient, get_entry_response::Outcome,
    },
    time::{duration, std_duration},
};
use mediamesh_telemetry::Metrics;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{task::AbortHandle, time::timeout};
use tonic::Status;

use crate::{
    entry::{Key, Stored},
    memory::{Memory, MemoryMetrics},
    options::Options,
    pattern::Pattern,
};

/// A key that was changed less than this ago is not kept: the feed between the processes of the
/// service takes milliseconds, and a tenth of a second to connect anew. One whose connection to Redis
/// is silent notices after two seconds: what it answers meanwhile is bounded by `max_age_secs` alone.
const QUIET: Duration = Duration::from_secs(1);
/// Silence after which the stream counts as lost; the contract promises a sign of life a second.
const SILENCE: Duration = Duration::from_secs(3);
/// Wait before watching again.
const RETRY: Duration = Duration::from_millis(250);

/// The cache service as its callers see it; clones share the memory.
#[derive(Clone)]
pub struct NearCache {
    client: CacheServiceClient<Channel>,
    near: Option<Arc<Near>>,
}

struct Near {
    shared: Arc<Shared>,
    watch: AbortHandle,
}

struct Shared {
    memory: Memory,
    /// The stream is there.
    live: AtomicBool,
    hits: Counter,
    misses: Counter,
    watching: Gauge,
}

impl Drop for Near {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl NearCache {
    /// The service alone.
    #[must_use]
    pub fn without_memory(channel: Channel) -> Self {
        Self {
            client: CacheServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES),
            near: None,
        }
    }

    /// The service with a memory in front. Must run inside a tokio runtime.
    #[must_use]
    pub fn new(channel: Channel, options: &Options, metrics: &Metrics) -> Self {
        let plain = Self::without_memory(channel);
        if options.max_bytes == 0 {
            return plain;
        }
        let counter = |name, help| metrics.register(name, help, Counter::default());
        let shared = Arc::new(Shared {
            memory: Memory::new(
                options.max_bytes,
                Some(Duration::from_secs(options.max_age_secs)),
                MemoryMetrics::new(metrics, "near_cache"),
            ),
            live: AtomicBool::new(false),
            hits: counter("near_cache_hits", "Look-ups answered without a call"),
            misses: counter("near_cache_misses", "Look-ups that took a call"),
            watching: metrics.register(
                "near_cache_watching",
                "1 while changes are heard of and memory is used",
                Gauge::default(),
            ),
        });
        let task = tokio::spawn(watch(plain.client.clone(), Arc::clone(&shared)));
        Self {
            near: Some(Arc::new(Near {
                shared,
                watch: task.abort_handle(),
            })),
            ..plain
        }
    }

    /// Memory, and whose entries may be looked for there; none while it cannot be relied on.
    fn memory(&self) -> Option<(&Shared, TenantId)> {
        let shared = &self.near.as_ref()?.shared;
        // without a caller it is the service that knows whose entries are meant
        let tenant = Caller::current()?.identity().tenant_id;
        shared
            .live
            .load(Ordering::SeqCst)
            .then_some((shared, TenantId(tenant)))
    }

    /// As the method of the service.
    ///
    /// Errors: those of the call.
    pub async fn get_entry(&self, request: GetEntryRequest) -> Result<GetEntryResponse, Status> {
        let Some((shared, tenant)) = self.memory() else {
            return Ok(self.client.clone().get_entry(request).await?.into_inner());
        };
        let key = key(tenant, &request.key);
        if let Some(entry) = shared.look(&key) {
            return Ok(GetEntryResponse {
                outcome: Some(Outcome::Entry(message(&key, &entry))),
                ..GetEntryResponse::default()
            });
        }
        let mark = shared.memory.mark(&key);
        let response = self.client.clone().get_entry(request).await?.into_inner();
        if let Some(Outcome::Entry(entry)) = &response.outcome
            && !response.stale
            && response.refresh_token == 0
        {
            shared.keep(key, entry, mark);
        }
        Ok(response)
    }

    /// As the method of the service.
    ///
    /// Errors: those of the call.
    pub async fn batch_get_entries(
        &self,
        request: BatchGetEntriesRequest,
    ) -> Result<Vec<Lookup>, Status> {
        let call = async |request| {
            let answer = self.client.clone().batch_get_entries(request).await?;
            Ok::<_, Status>(answer.into_inner().lookups)
        };
        let Some((shared, tenant)) = self.memory() else {
            return call(request).await;
        };
        let mut lookups = vec![Lookup::default(); request.keys.len()];
        let mut missing = Vec::new();
        for (place, name) in request.keys.into_iter().enumerate() {
            let key = key(tenant, &name);
            match shared.look(&key) {
                Some(entry) => lookups[place].entry = Some(message(&key, &entry)),
                None => missing.push((place, name, shared.memory.mark(&key), key)),
            }
        }
        if missing.is_empty() {
            return Ok(lookups);
        }
        let keys = missing.iter().map(|(_, name, ..)| name.clone()).collect();
        let found = call(BatchGetEntriesRequest { keys }).await?;
        for ((place, _, mark, key), lookup) in missing.into_iter().zip(found) {
            if let Some(entry) = &lookup.entry {
                shared.keep(key, entry, mark);
            }
            lookups[place] = lookup;
        }
        Ok(lookups)
    }

    /// As the method of the service.
    ///
    /// Errors: those of the call.
    pub async fn set_entry(&self, request: SetEntryRequest) -> Result<(), Status> {
        self.client.clone().set_entry(request).await.map(drop)
    }

    /// As the method of the service.
    ///
    /// Errors: those of the call.
    pub async fn batch_set_entries(&self, request: BatchSetEntriesRequest) -> Result<(), Status> {
        let mut client = self.client.clone();
        client.batch_set_entries(request).await.map(drop)
    }

    /// As the method of the service.
    ///
    /// Errors: those of the call.
    pub async fn release_lease(&self, request: ReleaseLeaseRequest) -> Result<(), Status> {
        self.client.clone().release_lease(request).await.map(drop)
    }

    /// As the method of the service.
    ///
    /// Errors: those of the call.
    pub async fn count_searches(&self, request: CountSearchesRequest) -> Result<(), Status> {
        self.client.clone().count_searches(request).await.map(drop)
    }

    /// As the method of the service.
    ///
    /// Errors: those of the call.
    pub async fn list_popular_searches(
        &self,
        request: ListPopularSearchesRequest,
    ) -> Result<Vec<PopularWording>, Status> {
        let answer = self.client.clone().list_popular_searches(request).await?;
        Ok(answer.into_inner().wordings)
    }
}

impl Shared {
    /// An entry of memory that nobody needs to compute anew yet.
    fn look(&self, key: &Key) -> Option<Stored> {
        let entry = self.memory.get(key).filter(|entry| !entry.is_stale());
        match &entry {
            Some(_) => self.hits.inc(),
            None => self.misses.inc(),
        };
        entry
    }

    fn keep(&self, key: Key, entry: &Entry, mark: crate::Mark) {
        if self.memory.is_quiet(&key, QUIET) {
            let value = (!entry.negative).then(|| entry.value.clone());
            let ttl = entry.ttl.as_ref().map(std_duration).unwrap_or_default();
            // what is stale is not answered from here, so there is no use in keeping it longer
            let stored = Stored::new(value, entry.tags.clone().into(), ttl, Duration::ZERO);
            self.memory.keep(key, stored, mark);
        }
        // the stream may have ended, and memory with it, before this came
        if !self.live.load(Ordering::SeqCst) {
            self.memory.clear();
        }
    }

    fn rely_on_memory(&self, live: bool) {
        self.live.store(live, Ordering::SeqCst);
        self.watching.set(i64::from(live));
        self.memory.clear();
    }

    fn apply(&self, change: &Invalidation) {
        let Ok(tenant) = change.tenant_id.parse::<TenantId>() else {
            return self.memory.clear();
        };
        if change.everything {
            return self.memory.clear();
        }
        for name in &change.keys {
            self.memory.remove(&key(tenant, name));
        }
        for tag in &change.tags {
            self.memory.remove_tagged(tenant, tag);
        }
        if !change.key_prefix.is_empty() {
            let pattern = Pattern::prefix(&change.key_prefix);
            self.memory.remove_matching(tenant, &pattern);
        }
    }
}

/// Applies what the service tells, for as long as anybody uses the memory.
async fn watch(mut client: CacheServiceClient<Channel>, shared: Arc<Shared>) {
    loop {
        if let Ok(stream) = client
            .watch_invalidations(WatchInvalidationsRequest {})
            .await
        {
            let mut stream = stream.into_inner();
            let mut live = false;
            while let Ok(Ok(Some(response))) = timeout(SILENCE, stream.message()).await {
                for change in &response.invalidations {
                    shared.apply(change);
                }
                if !std::mem::replace(&mut live, true) {
                    shared.rely_on_memory(true);
                }
            }
            shared.rely_on_memory(false);
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn key(tenant: TenantId, name: &str) -> Key {
    Key {
        tenant,
        name: name.into(),
    }
}

fn message(key: &Key, entry: &Stored) -> Entry {
    Entry {
        key: key.name.to_string(),
        negative: entry.value.is_none(),
        value: entry.value.clone().unwrap_or_default(),
        ttl: Some(duration(entry.fresh_for())),
        tags: entry.tags.to_vec(),
        stale_ttl: None,
    }
}
