//! Several servers of one service, each with a thread and a runtime of its own, so that one can be
//! killed, frozen or made to misbehave while the others go on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use mediamesh_mesh::{
    Channel, LocalAuthenticator, MethodTable, Policy, PolicyOptions, Registry,
    Request as HttpRequest, Response as HttpResponse, ServerBuilder, ServerDeps, ServiceName,
};
use mediamesh_telemetry::{HealthRegistry, Metrics};
use prost::Message as _;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, MethodOptions,
    ServiceDescriptorProto,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct Ask {
    #[prost(uint64, tag = "1")]
    number: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(uint64, tag = "2")]
    number: u64,
}

const READ: &str = "/mediamesh.media.v1.Fleet/Read";
const WRITE: &str = "/mediamesh.media.v1.Fleet/Write";
const UPLOAD: &str = "/mediamesh.media.v1.Fleet/Upload";
const LIST: &str = "/mediamesh.media.v1.Fleet/List";

fn descriptors() -> &'static [u8] {
    let message = |name: &str| DescriptorProto {
        name: Some(name.into()),
        ..Default::default()
    };
    let method = |name: &str, level: IdempotencyLevel| MethodDescriptorProto {
        name: Some(name.into()),
        input_type: Some(".mediamesh.media.v1.Ask".into()),
        output_type: Some(".mediamesh.media.v1.Answer".into()),
        client_streaming: Some(name == "Upload"),
        server_streaming: Some(name == "List"),
        options: Some(MethodOptions {
            idempotency_level: Some(level.into()),
            ..Default::default()
        }),
    };
    let file = FileDescriptorProto {
        name: Some("mediamesh/media/v1/fleet.proto".into()),
        package: Some("mediamesh.media.v1".into()),
        message_type: vec![message("Ask"), message("Answer")],
        service: vec![ServiceDescriptorProto {
            name: Some("Fleet".into()),
            method: vec![
                method("Read", IdempotencyLevel::NoSideEffects),
                method("Write", IdempotencyLevel::IdempotencyUnknown),
                method("Upload", IdempotencyLevel::Idempotent),
                method("List", IdempotencyLevel::NoSideEffects),
            ],
            ..Default::default()
        }],
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }
        .encode_to_vec()
        .leak()
}

/// What a server does with calls; changed while it runs.
#[derive(Debug, Default)]
pub(crate) struct Conduct {
    /// Added to each answer, milliseconds.
    pub(crate) delay_ms: AtomicU64,
    /// How many of a hundred calls are answered without that delay.
    pub(crate) spared: AtomicU64,
    /// Code of the failures, and how many of a hundred calls fail.
    pub(crate) code: AtomicU32,
    pub(crate) percent: AtomicU64,
    /// Calls that came in, and handlers that were dropped before their end.
    pub(crate) calls: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    /// Whom it asks before it answers, if anybody.
    pub(crate) next: OnceLock<Channel>,
}

impl Conduct {
    pub(crate) fn fail(&self, code: Code, percent: u64) {
        self.code.store(code as u32, Ordering::SeqCst);
        self.percent.store(percent, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn answer(&self, number: usize) -> Result<Answer, Status> {
        struct Unless<'a>(&'a AtomicU64, bool);
        impl Drop for Unless<'_> {
            fn drop(&mut self) {
                if !self.1 {
                    self.0.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        let turn = self.calls.fetch_add(1, Ordering::SeqCst);
        let mut unless = Unless(&self.cancelled, false);
        // Spread evenly, so that a test sees the same each time.
        let lot = turn * 37 % 100;
        if lot >= self.spared.load(Ordering::SeqCst) {
            let delay = self.delay_ms.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        if let Some(next) = self.next.get() {
            let asked = unary(next.clone(), READ, None).await;
            unless.1 = true;
            asked?;
        }
        unless.1 = true;
        if lot < self.percent.load(Ordering::SeqCst) {
            let code = Code::from_i32(self.code.load(Ordering::SeqCst) as i32);
            return Err(Status::new(code, "made to fail"));
        }
        Ok(Answer {
            text: String::new(),
            number: number as u64,
        })
    }
}

#[derive(Clone)]
struct Server {
    number: usize,
    conduct: Arc<Conduct>,
}

impl tonic::server::NamedService for Server {
    const NAME: &'static str = "mediamesh.media.v1.Fleet";
}

impl tower::Service<HttpRequest> for Server {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpResponse, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Answer, Ask>::default());
            Ok(match request.uri().path() {
                READ | WRITE => grpc.unary(server, request).await,
                UPLOAD => grpc.client_streaming(server, request).await,
                LIST => grpc.server_streaming(server, request).await,
                _ => Status::new(Code::Unimplemented, "no such method").into_http::<Body>(),
            })
        })
    }
}

impl tonic::server::UnaryService<Ask> for Server {
    type Response = Answer;
    type Future = BoxFuture<'static, Result<Response<Answer>, Status>>;

    fn call(&mut self, _request: Request<Ask>) -> Self::Future {
        let Self { number, conduct } = self.clone();
        Box::pin(async move { Ok(Response::new(conduct.answer(number).await?)) })
    }
}

impl tonic::server::ClientStreamingService<Ask> for Server {
    type Response = Answer;
    type Future = BoxFuture<'static, Result<Response<Answer>, Status>>;

    fn call(&mut self, request: Request<Streaming<Ask>>) -> Self::Future {
        let Self { number, conduct } = self.clone();
        Box::pin(async move {
            let mut asks = request.into_inner();
            let mut sum = 0;
            while let Some(ask) = asks.message().await? {
                sum += ask.number;
            }
            let mut answer = conduct.answer(number).await?;
            answer.text = sum.to_string();
            Ok(Response::new(answer))
        })
    }
}

/// Messages of a list, and the time between them.
pub(crate) const LISTED: usize = 10;
pub(crate) const BETWEEN: Duration = Duration::from_millis(30);

impl tonic::server::ServerStreamingService<Ask> for Server {
    type Response = Answer;
    type ResponseStream = BoxStream<'static, Result<Answer, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _request: Request<Ask>) -> Self::Future {
        let Self { number, conduct } = self.clone();
        Box::pin(async move {
            let answer = conduct.answer(number).await?;
            let messages = stream::iter(0..LISTED).then(move |turn| {
                let answer = answer.clone();
                async move {
                    tokio::time::sleep(BETWEEN * (turn > 0).into()).await;
                    Ok(answer)
                }
            });
            Ok(Response::new(messages.boxed()))
        })
    }
}

/// One server.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) conduct: Arc<Conduct>,
    number: usize,
    options: PolicyOptions,
    handle: tokio::runtime::Handle,
    kill: Option<oneshot::Sender<()>>,
    drain: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Replica {
    fn start(
        number: usize,
        address: SocketAddr,
        conduct: Arc<Conduct>,
        options: PolicyOptions,
    ) -> Self {
        let policy = policy(&options);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let (kill, killed) = oneshot::channel::<()>();
        let (drain, drained) = oneshot::channel::<()>();
        let (bound, listening) = std::sync::mpsc::sync_channel(1);
        let server = Server {
            number,
            conduct: Arc::clone(&conduct),
        };
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                let health = HealthRegistry::new();
                health.set_started();
                let deps = ServerDeps {
                    policy,
                    metrics: Metrics::new(),
                    health,
                    authenticator: Arc::new(LocalAuthenticator),
                };
                let routes = ServerBuilder::new(deps).add_service(server).build().unwrap();
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.set_reuseaddr(true).unwrap();
                socket.bind(address).unwrap();
                let listener: TcpListener = socket.listen(1024).unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    _ = killed => {}
                    served = routes.serve(listener, async { let _ = drained.await; }) => served.unwrap(),
                }
            });
            // Every socket of the server goes with its runtime, as with a process.
        });
        Self {
            address: listening.recv().unwrap(),
            conduct,
            number,
            options,
            handle,
            kill: Some(kill),
            drain: Some(drain),
            thread: Some(thread),
        }
    }

    /// Ends it at once, connections and all.
    pub(crate) fn kill(&mut self) {
        let _ = self.kill.take().unwrap().send(());
        self.join();
    }

    /// Ends it as SIGTERM would.
    pub(crate) async fn drain(&mut self) {
        let _ = self.drain.take().unwrap().send(());
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(|| thread.join().unwrap())
            .await
            .unwrap();
    }

    /// Starts it again at the same address.
    pub(crate) fn restart(&mut self) {
        let (conduct, options) = (Arc::clone(&self.conduct), self.options.clone());
        *self = Self::start(self.number, self.address, conduct, options);
    }

    /// Stops its only thread for a while: it accepts and says nothing, as after SIGSTOP.
    pub(crate) fn freeze(&self, time: Duration) {
        self.handle.spawn(async move { std::thread::sleep(time) });
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(kill) = self.kill.take() {
            let _ = kill.send(());
        }
    }
}

fn policy(options: &PolicyOptions) -> Policy {
    let methods = MethodTable::from_descriptor_sets([descriptors()]).unwrap();
    Policy::new(options, &methods)
}

/// Servers of one service and a client of all of them.
pub(crate) struct Fleet {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) registry: Registry,
    pub(crate) channel: Channel,
    pub(crate) metrics: Metrics,
}

/// What a call of the mixed load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// May be repeated.
    Read,
    /// Must not be repeated once it may have started.
    Write,
    /// A stream, which can be sent once.
    Upload,
}

impl Kind {
    /// Of twenty calls two are writes and one is an upload.
    fn of_turn(turn: usize) -> Self {
        match turn % 20 {
            7 | 14 => Self::Write,
            19 => Self::Upload,
            _ => Self::Read,
        }
    }
}

/// How one call went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) kind: Kind,
    pub(crate) sent: Duration,
    pub(crate) took: Duration,
    pub(crate) result: Result<u64, Status>,
}

/// The time that 99 of 100 reads took which were sent within a span.
pub(crate) fn p99(outcomes: &[Outcome], from: Duration, until: Duration) -> Duration {
    let within = |one: &&Outcome| one.kind == Kind::Read && (from..until).contains(&one.sent);
    let mut took: Vec<_> = outcomes.iter().filter(within).map(|one| one.took).collect();
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

impl Fleet {
    pub(crate) async fn start(count: usize) -> Self {
        Self::start_with(count, PolicyOptions::default()).await
    }

    pub(crate) async fn start_with(count: usize, options: PolicyOptions) -> Self {
        Self::start_both(count, PolicyOptions::default(), options).await
    }

    pub(crate) async fn start_both(
        count: usize,
        servers: PolicyOptions,
        options: PolicyOptions,
    ) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let replicas: Vec<Replica> = (0..count)
            .map(|number| Replica::start(number, any, Arc::default(), servers.clone()))
            .collect();
        let endpoints: Vec<String> = replicas
            .iter()
            .map(|replica| format!("http://{}", replica.address))
            .collect();
        let metrics = Metrics::new();
        let registry = Registry::new(policy(&options), &metrics);
        registry
            .register_remote(ServiceName::Media, &endpoints)
            .unwrap();
        let channel = registry.channel(ServiceName::Media);
        Self {
            replicas,
            registry,
            channel,
            metrics,
        }
    }

    pub(crate) async fn read(&self) -> Result<u64, Status> {
        unary(self.channel.clone(), READ, None).await
    }

    pub(crate) async fn read_within(&self, timeout: Duration) -> Result<u64, Status> {
        unary(self.channel.clone(), READ, Some(timeout)).await
    }

    pub(crate) async fn write(&self) -> Result<u64, Status> {
        unary(self.channel.clone(), WRITE, None).await
    }

    /// Sends the numbers below `count` and returns their sum as the server saw it.
    pub(crate) async fn upload(&self, count: u64) -> Result<String, Status> {
        Ok(upload(self.channel.clone(), count, None).await?.text)
    }

    /// Makes these the addresses of the service, in place of the servers' own.
    pub(crate) fn at(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        let endpoints: Vec<_> = addresses
            .into_iter()
            .map(|address| format!("http://{address}"))
            .collect();
        self.registry
            .register_remote(ServiceName::Media, &endpoints)
            .unwrap();
    }

    /// Asks for a list; returns what came of it, and how it ended.
    pub(crate) async fn list(&self) -> (Vec<u64>, Result<(), Status>) {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let codec = ProstCodec::<Ask, Answer>::default();
        let path = http::uri::PathAndQuery::from_static(LIST);
        let request = Request::new(Ask { number: 0 });
        let mut answers = match client.server_streaming(request, path, codec).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return (vec![], Err(status)),
        };
        let mut numbers = vec![];
        loop {
            match answers.message().await {
                Ok(Some(answer)) => numbers.push(answer.number),
                Ok(None) => return (numbers, Ok(())),
                Err(status) => return (numbers, Err(status)),
            }
        }
    }

    /// Waits until every server has answered.
    pub(crate) async fn warm_up(&self) {
        let all = || {
            self.replicas
                .iter()
                .all(|replica| replica.conduct.calls() > 0)
        };
        for _ in 0..500 {
            self.read().await.unwrap();
            if all() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("a server was never called");
    }

    /// Sends calls of all kinds at an even rate, whatever becomes of them, and returns them all.
    pub(crate) fn load(&self, per_second: u32, lasts: Duration) -> JoinHandle<Vec<Outcome>> {
        load(self.channel.clone(), per_second, lasts)
    }

    pub(crate) fn metric(&self, line: &str) -> f64 {
        let text = self.metrics.encode();
        text.lines()
            .find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
            .unwrap_or(0.0)
    }
}

/// Sends calls over any channel, as [`Fleet::load`] does over its own.
pub(crate) fn load<C>(channel: C, per_second: u32, lasts: Duration) -> JoinHandle<Vec<Outcome>>
where
    C: GrpcService<Body, Future: Send> + Clone + Send + 'static,
    C::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    tokio::spawn(async move {
        let began = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
        let mut calls = vec![];
        let limit = Some(Duration::from_secs(10));
        while began.elapsed() < lasts {
            // A call is as old as its turn: waiting for this loop counts.
            let turn = ticks.tick().await;
            let channel = channel.clone();
            let kind = Kind::of_turn(calls.len());
            calls.push(tokio::spawn(async move {
                let result = match kind {
                    Kind::Read => unary(channel, READ, limit).await,
                    Kind::Write => unary(channel, WRITE, limit).await,
                    Kind::Upload => upload(channel, 4, limit).await.map(|answer| answer.number),
                };
                Outcome {
                    kind,
                    sent: turn - began,
                    took: turn.elapsed(),
                    result,
                }
            }));
        }
        let mut outcomes = vec![];
        for call in calls {
            outcomes.push(call.await.unwrap());
        }
        outcomes
    })
}

async fn unary<C>(channel: C, path: &'static str, timeout: Option<Duration>) -> Result<u64, Status>
where
    C: GrpcService<Body>,
    C::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError>,
{
    let mut client = tonic::client::Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return Err(Status::unavailable(error.into().to_string()));
    }
    let mut request = Request::new(Ask { number: 0 });
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let codec = ProstCodec::<Ask, Answer>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    Ok(client
        .unary(request, path, codec)
        .await?
        .into_inner()
        .number)
}

async fn upload<C>(channel: C, count: u64, timeout: Option<Duration>) -> Result<Answer, Status>
where
    C: GrpcService<Body>,
    C::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError>,
{
    let mut client = tonic::client::Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return Err(Status::unavailable(error.into().to_string()));
    }
    let asks = futures::stream::iter((0..count).map(|number| Ask { number }));
    let mut request = Request::new(asks);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let codec = ProstCodec::<Ask, Answer>::default();
    let path = http::uri::PathAndQuery::from_static(UPLOAD);
    Ok(client
        .client_streaming(request, path, codec)
        .await?
        .into_inner())
}
