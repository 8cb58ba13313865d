//! What the whole client and server stack costs against bare tonic, on the same echo in one run.
//!
//! Open loop: calls are sent on a grid of 1 ms whatever becomes of those before, and a call's time
//! counts from its moment on the grid (no coordinated omission). Client and server share the process,
//! so CPU is of both. Rounds alternate; the medians of the rounds are printed.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use mediamesh_mesh::{
    LocalAuthenticator, Policy, Registry, Request as HttpRequest, Response as HttpResponse,
    ServerBuilder, ServerDeps, ServiceName,
};
use mediamesh_telemetry::{HealthRegistry, Metrics, TelemetryOptions};
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

const PATH: &str = "/mediamesh.cache.v1.CacheService/GetEntry";
const WARM_UP: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 5;

#[derive(Clone, PartialEq, prost::Message)]
struct Echo {
    #[prost(bytes = "bytes", tag = "1")]
    payload: bytes::Bytes,
}

#[derive(Clone)]
struct Server;

impl tonic::server::NamedService for Server {
    const NAME: &'static str = "mediamesh.cache.v1.CacheService";
}

impl tower::Service<HttpRequest> for Server {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpResponse, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<Echo, Echo>::default());
            Ok(match request.uri().path() {
                PATH => grpc.unary(Server, request).await,
                _ => Status::new(Code::Unimplemented, "no such method").into_http::<Body>(),
            })
        })
    }
}

impl tonic::server::UnaryService<Echo> for Server {
    type Response = Echo;
    type Future = std::future::Ready<Result<Response<Echo>, Status>>;

    fn call(&mut self, request: Request<Echo>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

async fn bare() -> tonic::transport::Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(Server)
            .serve_with_incoming(incoming),
    );
    tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .tcp_nodelay(true)
        .connect_lazy()
}

async fn stacked(registry: &Registry, metrics: &Metrics) -> mediamesh_mesh::Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let health = HealthRegistry::new();
    health.set_started();
    let deps = ServerDeps {
        policy: Policy::default(),
        metrics: metrics.clone(),
        health,
        authenticator: Arc::new(LocalAuthenticator),
    };
    let routes = ServerBuilder::new(deps)
        .add_service(Server)
        .build()
        .unwrap();
    tokio::spawn(routes.serve(listener, std::future::pending()));
    registry
        .register_remote(ServiceName::Cache, &[format!("http://{address}")])
        .unwrap();
    registry.channel(ServiceName::Cache)
}

/// CPU time of this process so far, user and system.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every Linux that runs this.
    Duration::from_millis(ticks * 10)
}

struct Measured {
    p50: Duration,
    p99: Duration,
    cpu: Duration,
}

async fn round<C>(channel: C, per_second: u32, lasts: Duration) -> Measured
where
    C: GrpcService<Body, Future: Send> + Clone + Send + 'static,
    C::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    let burst = per_second / 1000;
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, before) = (Instant::now(), cpu());
    let mut calls = Vec::new();
    while began.elapsed() < lasts {
        let due = ticks.tick().await;
        for _ in 0..burst {
            let channel = channel.clone();
            calls.push(tokio::spawn(async move {
                let mut client = tonic::client::Grpc::new(channel);
                if client.ready().await.is_err() {
                    panic!("the channel is not ready");
                }
                let echo = Echo {
                    payload: bytes::Bytes::from_static(&[7; 256]),
                };
                let codec = ProstCodec::<Echo, Echo>::default();
                let path = http::uri::PathAndQuery::from_static(PATH);
                client.unary(Request::new(echo), path, codec).await.unwrap();
                due.elapsed()
            }));
        }
    }
    let mut took = Vec::with_capacity(calls.len());
    for call in calls {
        took.push(call.await.unwrap());
    }
    let cpu = (cpu() - before) / took.len() as u32;
    took.sort_unstable();
    Measured {
        p50: took[took.len() / 2],
        p99: took[took.len() * 99 / 100],
        cpu,
    }
}

fn median(rounds: &[Measured], of: fn(&Measured) -> Duration) -> f64 {
    let mut all: Vec<f64> = rounds
        .iter()
        .map(|one| of(one).as_secs_f64() * 1e6)
        .collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

async fn run() {
    // As a process of the mesh has it: spans are made, nothing is exported.
    let _telemetry = mediamesh_telemetry::init(&TelemetryOptions::default()).unwrap();
    let metrics = Metrics::new();
    let registry = Registry::new(Policy::default(), &metrics);
    let (bare, stacked) = (bare().await, stacked(&registry, &metrics).await);
    println!(
        "| calls/s | client and server | p50, us | p99, us | CPU per call, us |\n|---|---|---|---|---|"
    );
    for per_second in [1000, 5000] {
        round(bare.clone(), per_second, WARM_UP).await;
        round(stacked.clone(), per_second, WARM_UP).await;
        let (mut of_bare, mut of_stacked) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            of_bare.push(round(bare.clone(), per_second, ROUND).await);
            of_stacked.push(round(stacked.clone(), per_second, ROUND).await);
        }
        for (name, rounds) in [("bare tonic", &of_bare), ("whole stack", &of_stacked)] {
            println!(
                "| {per_second} | {name} | {:.0} | {:.0} | {:.1} |",
                median(rounds, |one| one.p50),
                median(rounds, |one| one.p99),
                median(rounds, |one| one.cpu),
            );
        }
        let more = |of: fn(&Measured) -> Duration| median(&of_stacked, of) - median(&of_bare, of);
        println!(
            "| {per_second} | difference | {:+.0} | {:+.0} | {:+.1} ({:+.0} %) |",
            more(|one| one.p50),
            more(|one| one.p99),
            more(|one| one.cpu),
            more(|one| one.cpu) / median(&of_bare, |one| one.cpu) * 100.0,
        );
    }
}

fn main() {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}
