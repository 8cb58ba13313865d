//! A network that lets nothing pass and tells nobody.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mediamesh_mesh::policy::ServicePolicyOptions;
use mediamesh_mesh::{PolicyOptions, ServiceName};
use mediamesh_proto::ErrorReason;
use mediamesh_proto::status::reason_of;
use mediamesh_testkit::Proxy;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::fleet::{Fleet, Kind};
use crate::measured::measured;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// An address whose packets are dropped: the queue of its listener is full, so the kernel answers no SYN.
struct Blackhole {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Blackhole {
    async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = vec![];
        while let Ok(stream) = timeout(200 * MS, TcpStream::connect(address)).await {
            queued.push(stream.unwrap());
            assert!(queued.len() < 64, "the queue never fills");
        }
        Self {
            address,
            _listener: listener,
            _queued: queued,
        }
    }
}

fn keep_alive(ms: u64) -> PolicyOptions {
    let mut service = ServicePolicyOptions::default();
    service.connection.keep_alive_timeout_ms = Some(ms);
    service.connection.health_interval_ms = Some(200);
    let mut options = PolicyOptions::default();
    options.services.insert(ServiceName::Media, service);
    options
}

/// Counts the warnings of this thread.
#[derive(Clone, Default)]
struct Warnings(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Warnings {
    fn on_event(
        &self,
        event: &tracing::Event<'_>,
        _context: tracing_subscriber::layer::Context<'_, S>,
    ) {
        if *event.metadata().level() == tracing::Level::WARN {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test]
async fn every_outage_is_told_of_and_none_makes_the_next_one_longer() {
    use tracing_subscriber::layer::SubscriberExt as _;
    measured(async || {
        let warnings = Warnings::default();
        let subscriber = tracing_subscriber::registry().with(warnings.clone());
        let _guard = tracing::subscriber::set_default(subscriber);
        let fleet = Fleet::start(1).await;
        fleet.warm_up().await;
        for outage in 1..=3 {
            // a connection that lasts
            tokio::time::sleep(S).await;
            fleet.replicas[0].freeze(1500 * MS);
            tokio::time::sleep(20 * MS).await;
            let _ = fleet.read_within(1200 * MS).await;
            assert_eq!(warnings.0.load(Ordering::SeqCst), outage);
            while fleet.read_within(200 * MS).await.is_err() {}
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_answers_no_syn_delays_nothing() {
    measured(async || {
        let hole = Blackhole::new().await;
        let fleet = Fleet::start(1).await;
        fleet.at([hole.address, fleet.replicas[0].address]);
        for _ in 0..20 {
            let began = Instant::now();
            fleet.read().await.unwrap();
            fleet.write().await.unwrap();
            assert_eq!(fleet.upload(10).await.unwrap(), "45");
            assert!(began.elapsed() < S, "{:?}", began.elapsed());
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_that_answers_no_syn_and_stands_alone_fails_at_the_connect_time_out() {
    measured(async || {
        let hole = Blackhole::new().await;
        let mut service = ServicePolicyOptions::default();
        service.connection.connect_timeout_ms = Some(400);
        let mut options = PolicyOptions::default();
        options.services.insert(ServiceName::Media, service);
        let fleet = Fleet::start_with(1, options).await;
        fleet.at([hole.address]);
        // both kinds: none was started
        let began = Instant::now();
        let (read, write) = tokio::join!(fleet.read(), fleet.write());
        let took = began.elapsed();
        for status in [read.unwrap_err(), write.unwrap_err()] {
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            assert_eq!(
                reason_of(&status),
                Some(ErrorReason::DependencyDown),
                "{status:?}"
            );
            assert!(status.get_details_retry_info().is_some());
        }
        // four attempts, and each may wait for one connection
        assert!(took >= 400 * MS && took < 4 * 400 * MS + S, "{took:?}");
        let state = serde_json::to_value(fleet.registry.snapshot()).unwrap();
        let endpoint = &state[0]["endpoints"][0];
        let why = endpoint["error"].as_str().unwrap_or_default();
        assert!(why.contains("no connection within 400ms"), "{endpoint}");
    })
    .await;
}

#[tokio::test]
async fn an_idle_server_that_is_cut_off_is_found_within_three_seconds() {
    measured(async || {
        let fleet = Fleet::start(2).await;
        let proxy = Proxy::start(fleet.replicas[0].address).await.unwrap();
        fleet.at([proxy.address(), fleet.replicas[1].address]);
        fleet.warm_up().await;
        let ready = || {
            let state = serde_json::to_value(fleet.registry.snapshot()).unwrap();
            let endpoints = state[0]["endpoints"].as_array().unwrap().clone();
            let ready = endpoints
                .iter()
                .filter(|one| one["connectivity"] == "ready");
            ready.count()
        };
        tokio::time::sleep(S).await;
        assert_eq!(ready(), 2);
        proxy.cut();
        let began = Instant::now();
        while ready() == 2 {
            assert!(began.elapsed() < 3 * S, "it still counts as ready");
            tokio::time::sleep(20 * MS).await;
        }
        // one answer may be lost on the way
        assert!(began.elapsed() > S, "{:?}", began.elapsed());
        assert_eq!(ready(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_server_is_found_in_under_a_second_and_costs_no_read() {
    measured(async || {
        let fleet = Fleet::start(2).await;
        let proxy = Proxy::start(fleet.replicas[0].address).await.unwrap();
        fleet.at([proxy.address(), fleet.replicas[1].address]);
        fleet.warm_up().await;
        let load = fleet.load(300, 4 * S);
        tokio::time::sleep(S).await;
        proxy.cut();
        tokio::time::sleep(2 * S).await;
        proxy.heal();
        let outcomes = load.await.unwrap();
        let reads = || outcomes.iter().filter(|one| one.kind == Kind::Read);
        let failed = reads().filter(|one| one.result.is_err()).count();
        assert_eq!(failed, 0, "of {} reads", reads().count());
        let slowest = reads().map(|one| one.took).max().unwrap();
        assert!(slowest < S, "{slowest:?}");
        let late = reads().filter(|one| one.sent > 2 * S && one.took > 300 * MS);
        assert_eq!(late.count(), 0, "it is avoided from then on");
    })
    .await;
}

#[tokio::test]
async fn a_write_on_a_dead_connection_fails_long_before_its_deadline() {
    let fleet = Fleet::start_with(1, keep_alive(300)).await;
    let proxy = Proxy::start(fleet.replicas[0].address).await.unwrap();
    fleet.at([proxy.address()]);
    fleet.warm_up().await;
    let delay = &fleet.replicas[0].conduct.delay_ms;
    delay.store(60_000, Ordering::SeqCst);
    let began = Instant::now();
    let write = fleet.write();
    let cut = async {
        tokio::time::sleep(100 * MS).await;
        proxy.cut();
    };
    let (answer, ()) = tokio::join!(write, cut);
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    assert!(began.elapsed() < 5 * S, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_write_outlives_a_pause_of_the_network() {
    let fleet = Fleet::start_with(1, keep_alive(20_000)).await;
    let proxy = Proxy::start(fleet.replicas[0].address).await.unwrap();
    fleet.at([proxy.address()]);
    fleet.warm_up().await;
    let conduct = &fleet.replicas[0].conduct;
    conduct.delay_ms.store(500, Ordering::SeqCst);
    let before = conduct.calls();
    let pause = async {
        tokio::time::sleep(100 * MS).await;
        proxy.cut();
        tokio::time::sleep(2 * S).await;
        proxy.heal();
    };
    let (answer, ()) = tokio::join!(fleet.write(), pause);
    assert_eq!(answer.unwrap(), 0);
    assert_eq!(conduct.calls() - before, 1, "a write is never made twice");
}

#[tokio::test]
async fn a_write_to_a_server_that_was_removed_ends_when_its_connection_dies() {
    let fleet = Fleet::start_with(1, keep_alive(300)).await;
    let proxy = Proxy::start(fleet.replicas[0].address).await.unwrap();
    fleet.at([proxy.address()]);
    fleet.warm_up().await;
    let delay = &fleet.replicas[0].conduct.delay_ms;
    delay.store(60_000, Ordering::SeqCst);
    let began = Instant::now();
    let cut = async {
        tokio::time::sleep(100 * MS).await;
        fleet.at([fleet.replicas[0].address]);
        tokio::time::sleep(100 * MS).await;
        proxy.cut();
    };
    let (answer, ()) = tokio::join!(fleet.write(), cut);
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    assert!(began.elapsed() < 5 * S, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_is_lost_while_nobody_calls_is_not_called() {
    let fleet = Fleet::start_with(2, keep_alive(20_000)).await;
    let proxy = Proxy::start(fleet.replicas[0].address).await.unwrap();
    fleet.at([proxy.address(), fleet.replicas[1].address]);
    fleet.warm_up().await;
    proxy.cut();
    // Two health checks in vain.
    tokio::time::sleep(3 * S).await;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(fleet.write().await.unwrap(), 1);
        assert!(began.elapsed() < S, "{:?}", began.elapsed());
    }
}
