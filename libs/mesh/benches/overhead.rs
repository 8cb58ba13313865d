//! What the whole client and server stack costs against bare tonic, on the same echo in one run, with one
//! server and with as many as the stack has (then balanced by tonic): a read that may be retried and hedged,
//! two endpoints, the adaptive limit, and an identity token that is made and verified; spans are not made, as
//! nobody receives them.
//!
//! nginx (`grpc_pass`) and HAProxy stand beside it if they are installed, as a sidecar would between
//! client and server.
//!
//! Open loop: a thread sends calls on a grid of 1 ms whatever becomes of those before, and a call's time
//! counts from its moment on the grid (no coordinated omission). Client and server share the process,
//! so CPU is of both. Rounds come in pairs, a round of bare tonic and one of each other, in an order
//! drawn by lot, because a shared machine is faster in one minute than in the next. Medians are printed,
//! of differences also the quartiles. Ends with 1 if the stack costs more than it may.
//!
//! `cargo bench -p mediamesh-mesh --bench overhead -- stack 1000` sends 1000 calls/s through the stack
//! alone until it is stopped, for a profiler; `bare` and `two` (bare, two servers) likewise.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use mediamesh_mesh::identity::KeyRing;
use mediamesh_mesh::{
    Opening, Policy, Registry, Request as HttpRequest, Response as HttpResponse, ServerBuilder,
    ServerDeps, ServiceName, TokenAuthenticator,
};
use mediamesh_proto::FILE_DESCRIPTOR_SET;
use mediamesh_telemetry::{HealthRegistry, Metrics, TelemetryOptions};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

const PATH: &str = "/mediamesh.media.v1.MediaService/GetMediaItem";
const WARM_UP: Duration = Duration::from_secs(1);
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 15;
const STACK: &str = "whole stack";
/// What a call through the stack may cost more than one through bare tonic.
const MORE_MICROS: f64 = 50.0;
const MORE_CPU_PERCENT: f64 = 15.0;

// As the product has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, PartialEq, prost::Message)]
struct Echo {
    #[prost(bytes = "bytes", tag = "1")]
    payload: bytes::Bytes,
}

#[derive(Clone)]
struct Server;

impl tonic::server::NamedService for Server {
    const NAME: &'static str = "mediamesh.media.v1.MediaService";
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

async fn bare() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(Server)
            .serve_with_incoming(incoming),
    );
    address
}

fn channel(address: SocketAddr) -> tonic::transport::Channel {
    tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .tcp_nodelay(true)
        .connect_lazy()
}

/// As many servers as the stack has, balanced by tonic.
async fn bare_of_two() -> tonic::transport::Channel {
    let mut endpoints = Vec::new();
    for _ in 0..2 {
        let uri = format!("http://{}", bare().await);
        let endpoint = tonic::transport::Endpoint::from_shared(uri).unwrap();
        endpoints.push(endpoint.tcp_nodelay(true));
    }
    tonic::transport::Channel::balance_list(endpoints.into_iter())
}

/// A proxy between client and server, as a process of its own.
struct Sidecar {
    name: &'static str,
    process: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Sidecar {
    /// Starts it; `None` if it is not installed.
    async fn start(name: &'static str, upstream: SocketAddr) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let file = dir.path().join("config");
        let (config, arguments): (String, &[&str]) = match name {
            "nginx" => (
                format!(
                    "daemon off; master_process off; pid {0}/pid; error_log stderr error;\n\
                     events {{ worker_connections 1024; }}\n\
                     http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; \
                     fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s; \
                     keepalive_requests 100000000; upstream up {{ server {upstream}; keepalive 64; \
                     keepalive_requests 100000000; }}\n\
                     server {{ listen 127.0.0.1:{port} http2; \
                     location / {{ grpc_pass grpc://up; }} }} }}",
                    dir.path().display()
                ),
                &["-c"],
            ),
            _ => (
                format!(
                    "defaults\n mode http\n timeout connect 1s\n timeout client 1m\n \
                     timeout server 1m\nlisten echo\n bind 127.0.0.1:{port} proto h2\n \
                     server up {upstream} proto h2\n"
                ),
                &["-db", "-f"],
            ),
        };
        std::fs::write(&file, config).unwrap();
        let process = Command::new(name)
            .args(arguments)
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Some(Self {
                    name,
                    process,
                    address,
                    _dir: dir,
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn stacked(metrics: &Metrics) -> (Registry, mediamesh_mesh::Channel) {
    let key = "bench:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU=";
    let ring = KeyRing::new(
        vec![key.parse().unwrap()],
        Duration::from_secs(60),
        Duration::from_secs(5),
    );
    let mut endpoints = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        endpoints.push(format!("http://{}", listener.local_addr().unwrap()));
        let health = HealthRegistry::new();
        health.set_started();
        let deps = ServerDeps {
            policy: Policy::default(),
            metrics: metrics.clone(),
            health,
            authenticator: Arc::new(TokenAuthenticator::for_services(ring.clone(), None)),
        };
        let opening = Opening::new(&deps, &[ServiceName::Media], FILE_DESCRIPTOR_SET).unwrap();
        let routes = ServerBuilder::new(deps)
            .add_service(Server)
            .build()
            .unwrap();
        opening.open(&routes);
        tokio::spawn(opening.serve(listener, std::future::pending()));
    }
    let registry = Registry::new(Policy::default(), metrics).with_credentials(
        mediamesh_mesh::client::credentials::Credentials::tokens(ring),
    );
    registry
        .register_remote(ServiceName::Media, &endpoints)
        .unwrap();
    let channel = registry.channel(ServiceName::Media);
    (registry, channel)
}

/// CPU time of a process so far: of the threads it has now, as the scheduler knows it. The sums of
/// `/proc/<pid>/stat` are samples, taken on a grid that beats with ours.
fn cpu(process: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let nanos = threads.map(|thread| {
        let file = thread.unwrap().path().join("schedstat");
        // A thread may have ended since.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let ran = text.split_whitespace().next();
        ran.map_or(0, |nanos| nanos.parse::<u64>().unwrap())
    });
    Duration::from_nanos(nanos.sum())
}

struct Measured {
    p50: Duration,
    p99: Duration,
    cpu: Duration,
}

/// Tells each moment of the grid. A thread does, as the runtime's timers are a millisecond wide.
fn pace(lasts: Duration, step: Duration) -> mpsc::Receiver<Instant> {
    let (sender, ticks) = mpsc::channel(100_000);
    std::thread::spawn(move || {
        let (mut due, end) = (Instant::now(), Instant::now() + lasts);
        while due < end {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if sender.blocking_send(due).is_err() {
                return;
            }
            due += step;
        }
    });
    ticks
}

/// One round; the CPU of `sidecar` counts too.
async fn round<C>(channel: C, per_second: u32, lasts: Duration, sidecar: Option<u32>) -> Measured
where
    C: GrpcService<Body, Future: Send> + Clone + Send + 'static,
    C::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError> + Send,
{
    // A grid of 1 ms, or as wide as a profiler that slows everything down needs it.
    let burst = (per_second / 1000).max(1);
    let used = || cpu(std::process::id()) + sidecar.map(cpu).unwrap_or_default();
    let before = used();
    let mut ticks = pace(lasts, Duration::from_secs(1) * burst / per_second);
    // Nothing is kept of a call that has ended, as a server keeps nothing.
    let (ended, mut ends) = mpsc::channel((lasts.as_secs() as u32 * per_second * 2) as usize);
    while let Some(due) = ticks.recv().await {
        for _ in 0..burst {
            let (channel, ended) = (channel.clone(), ended.clone());
            tokio::spawn(async move {
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
                ended.try_send(due.elapsed()).unwrap();
            });
        }
    }
    drop(ended);
    let mut took = Vec::new();
    while let Some(one) = ends.recv().await {
        took.push(one);
    }
    let cpu = (used() - before) / took.len() as u32;
    took.sort_unstable();
    Measured {
        p50: took[took.len() / 2],
        p99: took[took.len() * 99 / 100],
        cpu,
    }
}

/// The value below which this part of them lies.
fn quantile(all: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    all[((all.len() - 1) as f64 * part).round() as usize]
}

fn median(all: impl Iterator<Item = f64>) -> f64 {
    quantile(all, 0.5)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Returns whether the stack cost no more than it may.
async fn run() -> bool {
    // As a process of the mesh has it without a receiver of traces.
    let _telemetry = mediamesh_telemetry::init(&TelemetryOptions::default()).unwrap();
    let metrics = Metrics::new();
    let server = bare().await;
    let bare = channel(server);
    let bare_of_two = bare_of_two().await;
    let (_registry, stacked) = stacked(&metrics).await;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [only, rate, ..] = arguments.as_slice()
        && let Ok(per_second) = rate.parse()
    {
        loop {
            let measured = match only.as_str() {
                "bare" => round(bare.clone(), per_second, ROUND, None).await,
                "two" => round(bare_of_two.clone(), per_second, ROUND, None).await,
                _ => round(stacked.clone(), per_second, ROUND, None).await,
            };
            row(per_second, only, &[measured]);
        }
    }
    let mut sidecars = Vec::new();
    for name in ["nginx", "haproxy"] {
        sidecars.extend(Sidecar::start(name, server).await);
    }
    println!(
        "| calls/s | client and server | p50, us | p99, us | CPU per call, us |\n|---|---|---|---|---|"
    );
    let mut held = true;
    for per_second in [1000, 5000] {
        let mut of_bare = Vec::new();
        let mut others: Vec<(&str, Vec<Measured>)> =
            vec![(STACK, Vec::new()), ("bare tonic, two servers", Vec::new())];
        others.extend(sidecars.iter().map(|sidecar| (sidecar.name, Vec::new())));
        for turn in 0..=ROUNDS {
            // The first turn warms up and is forgotten.
            let lasts = if turn == 0 { WARM_UP } else { ROUND };
            let mut order: Vec<usize> = (0..3 + sidecars.len()).collect();
            fastrand::shuffle(&mut order);
            for which in order {
                let measured = match which {
                    0 => round(bare.clone(), per_second, lasts, None).await,
                    1 => round(stacked.clone(), per_second, lasts, None).await,
                    2 => round(bare_of_two.clone(), per_second, lasts, None).await,
                    _ => {
                        let sidecar = &sidecars[which - 3];
                        let through = channel(sidecar.address);
                        round(through, per_second, lasts, Some(sidecar.process.id())).await
                    }
                };
                match which {
                    _ if turn == 0 => {}
                    0 => of_bare.push(measured),
                    _ => others[which - 1].1.push(measured),
                }
            }
        }
        row(per_second, "bare tonic", &of_bare);
        for (name, rounds) in &others {
            row(per_second, name, rounds);
            let (micros, percent) = more(per_second, name, rounds, "bare", &of_bare);
            if *name == STACK {
                held &= micros <= MORE_MICROS && percent <= MORE_CPU_PERCENT;
            }
        }
        more(
            per_second,
            others[0].0,
            &others[0].1,
            others[1].0,
            &others[1].1,
        );
    }
    println!(
        "at most +{MORE_MICROS} us and +{MORE_CPU_PERCENT} % CPU: {}",
        if held { "held" } else { "MISSED" }
    );
    held
}

/// What one costs more than the other, by pairs of rounds: medians of p50, in microseconds, and of CPU per
/// call, in percent.
fn more(
    per_second: u32,
    name: &str,
    rounds: &[Measured],
    than: &str,
    others: &[Measured],
) -> (f64, f64) {
    let pairs = || rounds.iter().zip(others);
    let more = |of: fn(&Measured) -> Duration| {
        let differences = || pairs().map(|(one, other)| micros(of(one)) - micros(of(other)));
        [0.25, 0.5, 0.75].map(|part| quantile(differences(), part))
    };
    let share = || pairs().map(|(one, other)| (micros(one.cpu) / micros(other.cpu) - 1.0) * 100.0);
    let [p50, p99, cpu] = [
        more(|one| one.p50),
        more(|one| one.p99),
        more(|one| one.cpu),
    ];
    println!(
        "| {per_second} | {name}, more than {than} (quartiles) | {:+.0} ({:+.0} to {:+.0}) | \
         {:+.0} ({:+.0} to {:+.0}) | {:+.1}: {:+.0} % ({:+.0} to {:+.0} %) |",
        p50[1],
        p50[0],
        p50[2],
        p99[1],
        p99[0],
        p99[2],
        cpu[1],
        median(share()),
        quantile(share(), 0.25),
        quantile(share(), 0.75),
    );
    (p50[1], median(share()))
}

fn row(per_second: u32, name: &str, rounds: &[Measured]) {
    println!(
        "| {per_second} | {name} | {:.0} | {:.0} | {:.1} |",
        median(rounds.iter().map(|one| micros(one.p50))),
        median(rounds.iter().map(|one| micros(one.p99))),
        median(rounds.iter().map(|one| micros(one.cpu))),
    );
}

fn main() -> ExitCode {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    match tokio::runtime::Runtime::new().unwrap().block_on(run()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
