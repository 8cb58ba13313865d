//! Identity over several hops, in one process and over TCP.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::BoxStream};
use mediamesh_mesh::{
    Channel, Deadline, Identity, IdentityOptions, Policy, Registry, ServerBuilder, ServerDeps,
    ServiceName, TokenAuthenticator,
    client::credentials::Credentials,
    deadline,
    identity::{
        self, FoundKey, KeyLookup, KeyRing, Scopes, lookup::KeyCache, options::SigningKeyText,
    },
};
use mediamesh_proto::{
    ApiKeyId, ApiKeySecret, ErrorReason,
    media::v1::{
        CancelJobRequest, CancelJobResponse, CreateJobRequest, CreateJobResponse,
        CreateJobTreeRequest, CreateJobTreeResponse, GetJobRequest, GetJobResponse,
        GetJobTreeRequest, GetJobTreeResponse, GetQueueStatsRequest, GetQueueStatsResponse, Job,
        ListJobsRequest, ListJobsResponse, ListSchedulesRequest, ListSchedulesResponse,
        PauseQueueRequest, PauseQueueResponse, ResumeQueueRequest, ResumeQueueResponse,
        RetryFailedJobsRequest, RetryFailedJobsResponse, RetryJobRequest, RetryJobResponse,
        WatchJobRequest, WatchJobResponse,
        job_service_client::JobServiceClient,
        job_service_server::{JobService, JobServiceServer},
    },
    search::v1::{
        DeleteSearchHistoryRequest, DeleteSearchHistoryResponse, GetIndexStatsRequest,
        GetIndexStatsResponse, IndexMediaRequest, IndexMediaResponse, ListPopularSearchesRequest,
        ListPopularSearchesResponse, ListSearchHistoryRequest, ListSearchHistoryResponse,
        SearchByImageRequest, SearchByImageResponse, SearchHit, SearchMediaRequest,
        SearchMediaResponse, StreamSearchMediaRequest, StreamSearchMediaResponse,
        SuggestSearchesRequest, SuggestSearchesResponse, WarmSearchesRequest, WarmSearchesResponse,
        search_service_client::SearchServiceClient,
        search_service_server::{SearchService, SearchServiceServer},
        stream_search_media_response::Payload,
    },
    status::reason_of,
};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::{Code, Request, Response, Status, Streaming};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(7);

/// Answers who calls, here or after more hops.
#[derive(Clone)]
struct WhoAmI {
    next: Channel,
}

fn who<T>(request: &Request<T>) -> Result<String, Status> {
    let identity = mediamesh_mesh::identity(request)?;
    Ok(format!(
        "{} {} {}",
        identity.tenant_id.as_u128(),
        identity.subject,
        identity.scopes
    ))
}

#[tonic::async_trait]
impl JobService for WhoAmI {
    async fn get_job(
        &self,
        request: Request<GetJobRequest>,
    ) -> Result<Response<GetJobResponse>, Status> {
        let me = who(&request)?;
        let hops = request.into_inner().job_id;
        let next = JobServiceClient::new(self.next.clone());
        let ask = |hops: &str| GetJobRequest {
            job_id: hops.to_owned(),
        };
        let id = match hops.as_str() {
            "" => me,
            // a task of its own leaves the scope unless it is carried over
            "spawned" => {
                let mut next = next;
                let call = async move { next.get_job(ask("")).await };
                let job = tokio::spawn(identity::in_current_scope(call))
                    .await
                    .unwrap()?;
                job.into_inner().job.unwrap().id
            }
            "forgotten" => {
                let mut next = next;
                let call = async move { next.get_job(ask("")).await };
                let job = tokio::spawn(call).await.unwrap()?;
                job.into_inner().job.unwrap().id
            }
            rest => {
                let mut next = next;
                let job = next.get_job(ask(&rest[1..])).await?;
                job.into_inner().job.unwrap().id
            }
        };
        let job = Job {
            id,
            ..Job::default()
        };
        Ok(Response::new(GetJobResponse { job: Some(job) }))
    }

    async fn create_job(
        &self,
        _: Request<CreateJobRequest>,
    ) -> Result<Response<CreateJobResponse>, Status> {
        Ok(Response::new(CreateJobResponse::default()))
    }

    async fn list_jobs(
        &self,
        _: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn create_job_tree(
        &self,
        _: Request<CreateJobTreeRequest>,
    ) -> Result<Response<CreateJobTreeResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_job_tree(
        &self,
        _: Request<GetJobTreeRequest>,
    ) -> Result<Response<GetJobTreeResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_schedules(
        &self,
        _: Request<ListSchedulesRequest>,
    ) -> Result<Response<ListSchedulesResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_queue_stats(
        &self,
        _: Request<GetQueueStatsRequest>,
    ) -> Result<Response<GetQueueStatsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    type WatchJobStream = BoxStream<'static, Result<WatchJobResponse, Status>>;

    async fn watch_job(
        &self,
        _: Request<WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn cancel_job(
        &self,
        _: Request<CancelJobRequest>,
    ) -> Result<Response<CancelJobResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn retry_job(
        &self,
        _: Request<RetryJobRequest>,
    ) -> Result<Response<RetryJobResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn retry_failed_jobs(
        &self,
        _: Request<RetryFailedJobsRequest>,
    ) -> Result<Response<RetryFailedJobsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn pause_queue(
        &self,
        _: Request<PauseQueueRequest>,
    ) -> Result<Response<PauseQueueResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn resume_queue(
        &self,
        _: Request<ResumeQueueRequest>,
    ) -> Result<Response<ResumeQueueResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }
}

#[tonic::async_trait]
impl SearchService for WhoAmI {
    type StreamSearchMediaStream = BoxStream<'static, Result<StreamSearchMediaResponse, Status>>;

    /// Asks the next hop while its answer is being read.
    async fn stream_search_media(
        &self,
        _: Request<StreamSearchMediaRequest>,
    ) -> Result<Response<Self::StreamSearchMediaStream>, Status> {
        let next = JobServiceClient::new(self.next.clone());
        let hits = futures::stream::iter(0..2).then(move |_| {
            let mut next = next.clone();
            async move {
                let job = next.get_job(GetJobRequest::default()).await?;
                let hit = SearchHit {
                    id: job.into_inner().job.unwrap().id,
                    ..SearchHit::default()
                };
                Ok(StreamSearchMediaResponse {
                    payload: Some(Payload::Hit(hit)),
                })
            }
        });
        Ok(Response::new(hits.boxed()))
    }

    async fn index_media(
        &self,
        _: Request<IndexMediaRequest>,
    ) -> Result<Response<IndexMediaResponse>, Status> {
        Ok(Response::new(IndexMediaResponse {}))
    }

    async fn search_media(
        &self,
        _: Request<SearchMediaRequest>,
    ) -> Result<Response<SearchMediaResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn search_by_image(
        &self,
        _: Request<Streaming<SearchByImageRequest>>,
    ) -> Result<Response<SearchByImageResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_popular_searches(
        &self,
        _: Request<ListPopularSearchesRequest>,
    ) -> Result<Response<ListPopularSearchesResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_search_history(
        &self,
        _: Request<ListSearchHistoryRequest>,
    ) -> Result<Response<ListSearchHistoryResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn delete_search_history(
        &self,
        _: Request<DeleteSearchHistoryRequest>,
    ) -> Result<Response<DeleteSearchHistoryResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn suggest_searches(
        &self,
        _: Request<SuggestSearchesRequest>,
    ) -> Result<Response<SuggestSearchesResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn warm_searches(
        &self,
        _: Request<WarmSearchesRequest>,
    ) -> Result<Response<WarmSearchesResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_index_stats(
        &self,
        _: Request<GetIndexStatsRequest>,
    ) -> Result<Response<GetIndexStatsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }
}

/// Keys that are good, how often it was asked, and what it fails with.
#[derive(Default)]
struct Keys {
    good: Mutex<Vec<(ApiKeySecret, FoundKey)>>,
    asked: AtomicUsize,
    broken: Mutex<Option<Code>>,
}

impl Keys {
    fn add(&self, scopes: &str) -> ApiKeySecret {
        let key = ApiKeySecret::generate();
        let found = FoundKey {
            identity: Identity {
                tenant_id: TENANT,
                subject: "key".to_owned(),
                scopes: Scopes::parse(scopes),
            },
            expires: None,
        };
        self.good.lock().push((key.clone(), found));
        key
    }
}

impl KeyLookup for Keys {
    fn lookup(&self, key: &ApiKeySecret) -> BoxFuture<'static, Result<FoundKey, Status>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let broken = *self.broken.lock();
        let found = self
            .good
            .lock()
            .iter()
            .find(|(good, _)| good.secret_sha256() == key.secret_sha256())
            .map(|(_, found)| found.clone());
        async move {
            // long enough for others to ask meanwhile
            tokio::time::sleep(Duration::from_millis(20)).await;
            match broken {
                Some(code) => Err(Status::new(code, "broken")),
                None => found.ok_or_else(|| Status::unauthenticated("nobody holds this key")),
            }
        }
        .boxed()
    }

    fn check(&self, _id: ApiKeyId) -> BoxFuture<'static, Result<FoundKey, Status>> {
        async { Err(Status::unimplemented("not asked here")) }.boxed()
    }
}

struct Rig {
    registry: Registry,
    keys: Arc<Keys>,
    /// A channel without credentials, as of a client.
    bare: Channel,
}

fn ring() -> KeyRing {
    let options = IdentityOptions {
        signing_keys: vec![SigningKeyText(
            "k:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=".to_owned(),
        )],
        ..IdentityOptions::default()
    };
    options.key_ring(b"").unwrap()
}

/// A mesh that asks for credentials: two services that call each other, over TCP or not.
async fn rig(tcp: bool) -> Rig {
    let keys = Arc::new(Keys::default());
    let (fresh, stale) = (Duration::from_millis(200), Duration::from_secs(60));
    let cache = KeyCache::new(Arc::clone(&keys) as Arc<dyn KeyLookup>, fresh, stale);
    let (policy, metrics) = (Policy::default(), Metrics::new());
    let registry = Registry::new(policy.clone(), &metrics);
    let bare = registry.channel(ServiceName::Media);
    let registry = registry.with_credentials(Credentials::tokens(ring()));
    let deps = ServerDeps {
        policy,
        metrics,
        health: HealthRegistry::new(),
        authenticator: Arc::new(TokenAuthenticator::for_services(ring(), Some(cache))),
    };
    let service = WhoAmI {
        next: registry.channel(ServiceName::Media),
    };
    let routes = ServerBuilder::new(deps)
        .add_service(JobServiceServer::new(service.clone()))
        .add_service(SearchServiceServer::new(service))
        .build()
        .unwrap();
    if tcp {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        registry
            .register_remote(ServiceName::Media, &[endpoint])
            .unwrap();
        tokio::spawn(routes.serve(listener, std::future::pending()));
    } else {
        registry.register_local(ServiceName::Media, routes);
    }
    Rig {
        registry,
        keys,
        bare,
    }
}

fn with(key: &ApiKeySecret, channel: &Channel) -> Channel {
    Credentials::api_key(&key.reveal())
        .unwrap()
        .on(channel.clone())
}

async fn ask(channel: Channel, hops: &str) -> Result<String, Status> {
    let request = GetJobRequest {
        job_id: hops.to_owned(),
    };
    let answer = JobServiceClient::new(channel).get_job(request).await?;
    Ok(answer.into_inner().job.unwrap().id)
}

#[tokio::test]
async fn every_hop_works_for_who_holds_the_key() {
    for tcp in [false, true] {
        let rig = rig(tcp).await;
        let key = rig.keys.add("read write");
        let channel = with(&key, &rig.bare);
        for hops in ["", "x", "xxx", "spawned", "xspawned"] {
            let me = ask(channel.clone(), hops).await.unwrap();
            assert_eq!(me, "7 key read write", "{hops:?}, tcp: {tcp}");
        }
        // work that leaves the scope sees no tenant, rather than a wrong one
        let nobody = ask(channel.clone(), "forgotten").await.unwrap();
        assert_eq!(nobody, "0 process read");
        // as does what the process does by itself; a job works for its tenant
        let own = rig.registry.channel(ServiceName::Media);
        assert_eq!(ask(own.clone(), "").await.unwrap(), "0 process read");
        let job = identity::scope(Identity::background(TENANT), ask(own, "x")).await;
        assert_eq!(job.unwrap(), "7 background write");
        // handlers of streams work while they are read
        let request = StreamSearchMediaRequest::default();
        let stream = SearchServiceClient::new(channel)
            .stream_search_media(request)
            .await;
        let hits: Vec<_> = stream.unwrap().into_inner().collect().await;
        assert_eq!(hits.len(), 2);
        for hit in hits {
            match hit.unwrap().payload.unwrap() {
                Payload::Hit(hit) => assert_eq!(hit.id, "7 key read write"),
                Payload::Summary(_) => panic!("no summary was sent"),
            }
        }
    }
}

#[tokio::test]
async fn callers_are_held_to_their_scopes_and_clients_to_the_methods_of_clients() {
    let rig = rig(true).await;
    let reader = with(&rig.keys.add("read"), &rig.bare);
    let admin = with(&rig.keys.add("admin"), &rig.bare);
    let create = |channel| async {
        let mut jobs = JobServiceClient::new(channel);
        jobs.create_job(CreateJobRequest::default())
            .await
            .map(|_| ())
    };
    let index = |channel| async {
        let mut search = SearchServiceClient::new(channel);
        search
            .index_media(IndexMediaRequest::default())
            .await
            .map(|_| ())
    };
    let refused = create(reader.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(reason_of(&refused), Some(ErrorReason::ScopeMissing));
    create(admin.clone()).await.unwrap();
    let refused = index(admin).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(ErrorReason::PermissionDenied));
    index(rig.registry.channel(ServiceName::Media))
        .await
        .unwrap();
    let refused = ask(rig.bare.clone(), "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(reason_of(&refused), Some(ErrorReason::Unauthenticated));
}

#[tokio::test]
async fn a_key_is_looked_up_once_by_racing_calls_and_again_when_its_time_is_over() {
    let rig = rig(false).await;
    let key = rig.keys.add("read");
    let channel = with(&key, &rig.bare);
    let racers = (0..50).map(|_| ask(channel.clone(), ""));
    for me in futures::future::join_all(racers).await {
        me.unwrap();
    }
    assert_eq!(rig.keys.asked.load(Ordering::SeqCst), 1);
    // revoked: still taken while it is remembered, and no longer
    rig.keys.good.lock().clear();
    ask(channel.clone(), "").await.unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    let refused = ask(channel.clone(), "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // a refusal is remembered as well
    let asked = rig.keys.asked.load(Ordering::SeqCst);
    ask(channel, "").await.unwrap_err();
    assert_eq!(rig.keys.asked.load(Ordering::SeqCst), asked);
    // what cannot be a key is not looked up at all
    let nonsense = Credentials::api_key("mmk_nonsense")
        .unwrap()
        .on(rig.bare.clone());
    ask(nonsense, "").await.unwrap_err();
    assert_eq!(rig.keys.asked.load(Ordering::SeqCst), asked);
}

/// Asks for as long as the call has time that it works for.
struct Slow;

impl KeyLookup for Slow {
    fn lookup(&self, _key: &ApiKeySecret) -> BoxFuture<'static, Result<FoundKey, Status>> {
        let left = Deadline::current().map_or(Duration::MAX, Deadline::remaining);
        async move {
            let needed = Duration::from_millis(200);
            tokio::time::sleep(needed.min(left)).await;
            if left < needed {
                return Err(Status::deadline_exceeded("no time left"));
            }
            let identity = Identity {
                tenant_id: TENANT,
                subject: "key".to_owned(),
                scopes: Scopes::parse("read"),
            };
            Ok(FoundKey {
                identity,
                expires: None,
            })
        }
        .boxed()
    }

    fn check(&self, _id: ApiKeyId) -> BoxFuture<'static, Result<FoundKey, Status>> {
        async { Err(Status::unimplemented("not asked here")) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_first_with_little_time_takes_none_from_those_who_ask_with_it() {
    let (fresh, stale) = (Duration::from_secs(10), Duration::from_secs(60));
    let cache = KeyCache::new(Arc::new(Slow), fresh, stale);
    let key = ApiKeySecret::generate();
    let caller = |milliseconds| {
        let limit = Deadline::after(Duration::from_millis(milliseconds));
        deadline::scope(limit, cache.caller(key.clone()))
    };
    let (_, second) = tokio::join!(caller(50), caller(1_000));
    assert_eq!(second.unwrap().identity().tenant_id, TENANT);
}

#[tokio::test]
async fn while_keys_cannot_be_looked_up_known_ones_go_on_working() {
    let rig = rig(false).await;
    let (known, unknown) = (rig.keys.add("read"), rig.keys.add("read"));
    let (known, unknown) = (with(&known, &rig.bare), with(&unknown, &rig.bare));
    ask(known.clone(), "").await.unwrap();
    *rig.keys.broken.lock() = Some(Code::Unavailable);
    tokio::time::sleep(Duration::from_millis(250)).await;
    ask(known, "").await.unwrap();
    // it is not the caller's fault, and not remembered
    let refused = ask(unknown.clone(), "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    *rig.keys.broken.lock() = None;
    ask(unknown, "").await.unwrap();
}
