//! Every number that is a policy of the mesh: value, unit, reason. Those that make up an algorithm stand with
//! it.

use std::time::Duration;

use super::Limits;
use super::client::{
    BreakerPolicy, ClientPolicy, ConnectionPolicy, HedgingPolicy, RetryPolicy, RetryThrottling,
};
use crate::ServiceName;
use crate::method::{Idempotency, Method, MethodKind};

// === deadlines ===

/// Unary calls: longer than any healthy one by far, shorter than a person's patience with a spinner.
pub const UNARY_DEADLINE: Duration = Duration::from_secs(30);
/// Search: people have left after ten seconds; the target is 25 ms.
pub const SEARCH_DEADLINE: Duration = Duration::from_secs(10);
/// Embedding: a cold model load plus a full batch on a slow CPU.
pub const EMBEDDING_DEADLINE: Duration = Duration::from_secs(60);
/// Search streams: as long as the search, and time to send what was found.
pub const SEARCH_STREAM_DEADLINE: Duration = Duration::from_secs(60);
/// Uploads and downloads: 2 GiB at 5 Mbit/s is just under an hour.
pub const STREAM_DEADLINE: Duration = Duration::from_secs(3600);

// === limits of one service in one process ===

/// Calls that run at once: most wait for the database, so far more than cores.
pub const MAX_RUNNING: usize = 256;
/// Calls that run or wait: at 1 ms each the last one still starts within a few milliseconds.
pub const MAX_IN_FLIGHT: usize = 1024;
/// Streams that are open at once: each may hold a few MiB for a client that reads slowly, and all of
/// them together stay below a GiB.
pub const MAX_STREAMS: usize = 256;
/// How long a client may read nothing of a stream, or send nothing, before it is given up: longer than
/// a phone needs to change its network.
pub const STREAM_IDLE: Duration = Duration::from_secs(60);
/// An answer of one message up to this many bytes gives its place back at once, whether or not its client
/// reads it: HTTP/2's first window, so that a client that reads at all has it.
pub const SMALL_ANSWER_BYTES: usize = 64 * 1024;
/// Embedding calls that run at once: the batcher merges them, beyond this only memory grows.
pub const EMBEDDING_MAX_RUNNING: usize = 64;
/// Cache calls that run at once: they take microseconds and are called by everybody.
pub const CACHE_MAX_RUNNING: usize = 1024;
/// Cache calls that run or wait.
pub const CACHE_MAX_IN_FLIGHT: usize = 4096;
/// The adaptive limit never falls below this: a few calls per core, for even a service that only
/// computes needs some that wait for I/O meanwhile.
pub const MIN_RUNNING: usize = 8;
/// The adaptive limit at the start: low, because latency under a full load would be taken for that
/// of an idle service; it doubles ten times a second while latency allows.
pub const INITIAL_RUNNING: usize = 32;
/// Embedding calls that may always run: two full batches, or batching would be measured as load.
pub const EMBEDDING_MIN_RUNNING: usize = 16;
/// Part of the limit for background calls, percent: bulk work goes on at half speed beside people,
/// and leaves every other place to them at once.
pub const BACKGROUND_PERCENT: u8 = 50;
/// Longest wait for a turn: a burst of this length is served whole; people would wait longer for a
/// repetition. While the queue stands it is a quarter of this.
pub const MAX_WAIT: Duration = Duration::from_secs(1);
/// Advice in a refusal: about the time in which a full queue drains.
pub const SHED_RETRY_AFTER: Duration = Duration::from_millis(200);
/// Advice when a service cannot be reached: about the time of a restart's first attempt.
pub const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(1);

// === connections ===

/// Connect timeout: one lost SYN (1 s) and its repetition.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// TLS handshake: two round trips and a signature, on a host that is busy; the client gives up then.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = CONNECT_TIMEOUT;
/// Longest that a server waits for the first bytes of a connection: every client has them ready. Browsers
/// that connect before they have anything to ask connect again.
pub const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(10);
/// TLS handshakes at once: a few hundred clients may come back together after a restart. Beyond, the
/// oldest makes room.
pub const TLS_MAX_HANDSHAKES: usize = 512;
/// HTTP/2 PING interval of servers: well below the 60 s after which NAT boxes forget idle connections.
pub const HTTP2_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long a PING of a server may stay unanswered before the connection ends; and how long a client leaves
/// a connection to the calls on it after it found its peer silent: a pause of the network may be over by then.
pub const HTTP2_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// TCP keep-alive: catches peers that vanished while no stream was open.
pub const TCP_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Largest HTTP/2 frame, bytes: upload chunks of 256 KiB in four frames instead of sixteen.
pub const MAX_FRAME_BYTES: u32 = 64 * 1024;
/// Largest header list or trailers either side takes, bytes, as RFC 9113 counts them: above anything
/// that the mesh sends, on both sides alike, since too long a list ends a stream or even a connection.
pub const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;
/// Largest message, bytes: a batch of 1000 vectors of 1024 f32, with room; files are streamed.
/// Services set it on their generated servers and clients (tonic's own default is 4 MiB).
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Flow-control window of one stream, bytes: 2 MiB keep 1 Gbit/s busy at 16 ms round trip.
pub const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Flow-control window of one connection, bytes: several full streams.
pub const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Streams of one connection: above every in-flight limit, so that shedding answers, not silence.
pub const MAX_STREAMS_PER_CONNECTION: u32 = 8192;
/// How long running calls may take to finish at shutdown: below Kubernetes' 30 s grace.
pub const DRAIN: Duration = Duration::from_secs(20);

/// Services of the protocol itself (health, reflection): never limited, never authenticated,
/// because probes must get through exactly when the rest does not.
pub const UNLIMITED_PREFIX: &str = "grpc.";

/// Methods the server builder adds itself.
pub(super) const OWN_METHODS: [(&str, Method); 4] = [
    (
        "/grpc.health.v1.Health/Check",
        Method::new(MethodKind::Unary, Idempotency::NoSideEffects),
    ),
    (
        "/grpc.health.v1.Health/Watch",
        Method::new(MethodKind::ServerStream, Idempotency::NoSideEffects),
    ),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Method::new(MethodKind::Bidi, Idempotency::NoSideEffects),
    ),
    (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Method::new(MethodKind::Bidi, Idempotency::NoSideEffects),
    ),
];

// === retries and hedging ===

/// Retries: two more attempts outlive one dead endpoint and one unlucky choice, a third one that was shed;
/// the first wait is about a healthy call, the last still well inside every deadline.
pub const RETRY: RetryPolicy = RetryPolicy {
    max_attempts: 4,
    initial_backoff: Duration::from_millis(10),
    max_backoff: Duration::from_millis(500),
    backoff_multiplier: 2.0,
};
/// Budget of extra attempts: 50 failures in a row stop them, a tenth of successes keeps them; gRFC
/// A6's own example.
pub const RETRY_THROTTLING: RetryThrottling = RetryThrottling {
    max_tokens: 100,
    token_ratio: 0.1,
    // Half the bucket in ten seconds.
    tokens_per_second: 5.0,
};
/// Hedging: after the observed 95th percentile, never before 2 ms, for at most one call in twenty.
pub const HEDGING: HedgingPolicy = HedgingPolicy {
    max_attempts: 2,
    hedging_delay: None,
    min_delay: Duration::from_millis(2),
    max_share: 0.05,
};
/// Reads that are hedged: they wait for one row, so a second costs little. Searches and embeddings
/// are work for a core, and a second would slow both down; reading a cache entry may take a lease.
pub(super) const HEDGED: [&str; 3] = [
    "/mediamesh.media.v1.MediaService/GetMediaItem",
    "/mediamesh.media.v1.MediaService/BatchGetMediaItems",
    "/mediamesh.media.v1.JobService/GetJob",
];
/// Unary calls that read and write whole files: they have the time of an upload, and no server gets only a
/// part of it, because the next would begin anew.
pub(super) const WHOLE_FILES: [&str; 1] = ["/mediamesh.media.v1.PresignService/CompleteUpload"];
/// Largest request that is kept for a retry, bytes: the largest message.
pub const MAX_REPLAY_BYTES: usize = MAX_MESSAGE_BYTES;

// === endpoints ===

/// What the client stack of a service does.
pub const CLIENT: ClientPolicy = ClientPolicy {
    throttling: RETRY_THROTTLING,
    breaker: BreakerPolicy {
        // S2-14.
        consecutive_failures: 5,
        // S2-14 opens at half. One that fails a third of its calls alone is sick, and keeping it would
        // cost more retries than the budget has.
        success_rate_floor: 0.7,
        // Fewer say little of a rate: at 20 calls chance moves it by 11 points.
        minimum_calls: 20,
        // S2-14 says 60 s, for a provider that is paid by the call. A probe here is one call that is
        // repeated elsewhere, and a replica that is well again must have its share within a second.
        base_open: Duration::from_millis(250),
        max_open: Duration::from_millis(500),
        jitter: 0.2,
        max_ejection_percent: 50,
    },
    connection: ConnectionPolicy {
        connect_timeout: CONNECT_TIMEOUT,
        // A restart takes longer; a lost connection to a living peer does not.
        initial_backoff: Duration::from_millis(50),
        // A replica that is back must share the load within a second.
        max_backoff: Duration::from_millis(500),
        // With the next, a dead peer is found in under a second.
        silence: Duration::from_millis(250),
        probe_timeout: Duration::from_millis(500),
        keep_alive_timeout: HTTP2_KEEP_ALIVE_TIMEOUT,
        // Above every server's own limit, so that the server sheds, who knows best.
        max_in_flight: 4096,
        // Two seconds of it fade to the floor in 0.8 s: a server that was slow has its share again within one.
        latency_decay: Duration::from_millis(100),
        latency_floor: Duration::from_millis(1),
        // Nothing to a peer, and one that lost what it depends on is avoided before many calls have
        // failed.
        health_interval: Duration::from_secs(1),
        // Added endpoints are used within 5 s, with one lost answer.
        resolve_interval: Duration::from_secs(2),
        // With a lost answer the name is asked for anew within 4 s.
        resolve_timeout: Duration::from_secs(2),
    },
};
/// What an endpoint that fails every call costs beyond its latency: as much as one that answers after so
/// long. It fades to the floor in 0.8 s, so a sick one that the ejection cap leaves in is asked about once a
/// second.
pub const FAILURE_COST: Duration = Duration::from_secs(2);
/// How often endpoints are looked at for silence.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Returns the deadline of a method by its service and kind.
pub(super) fn deadline(
    service: Option<ServiceName>,
    kind: MethodKind,
    limited: bool,
) -> Option<Duration> {
    match kind {
        MethodKind::Unary => Some(match service {
            Some(ServiceName::Search) => SEARCH_DEADLINE,
            Some(ServiceName::Embedding) => EMBEDDING_DEADLINE,
            _ => UNARY_DEADLINE,
        }),
        MethodKind::ClientStream | MethodKind::ServerStream | MethodKind::Bidi => limited
            .then_some(match service {
                Some(ServiceName::Search) => SEARCH_STREAM_DEADLINE,
                _ => STREAM_DEADLINE,
            }),
    }
}

/// Returns the limits of a service.
pub(super) fn limits(service: Option<ServiceName>) -> Limits {
    let most = Limits {
        max_running: MAX_RUNNING,
        max_in_flight: MAX_IN_FLIGHT,
        max_streams: MAX_STREAMS,
        min_running: MIN_RUNNING,
        initial_running: INITIAL_RUNNING,
        background_percent: BACKGROUND_PERCENT,
        max_wait: MAX_WAIT,
    };
    match service {
        // Fixed: its latency is mostly the wait for another call's lease and says nothing of load.
        Some(ServiceName::Cache) => Limits {
            max_running: CACHE_MAX_RUNNING,
            max_in_flight: CACHE_MAX_IN_FLIGHT,
            min_running: CACHE_MAX_RUNNING,
            initial_running: CACHE_MAX_RUNNING,
            ..most
        },
        Some(ServiceName::Embedding) => Limits {
            max_running: EMBEDDING_MAX_RUNNING,
            min_running: EMBEDDING_MIN_RUNNING,
            ..most
        },
        _ => most,
    }
}
