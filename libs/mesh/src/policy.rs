//! Deadlines, retries and limits by service and method.
//!
//! - [`options`]: what a person may write
//! - [`client`]: what the client stack of a service does
//! - `validate`: what is wrong with it
//! - [`defaults`]: the only file with numbers
//!
//! [`Policy`] is all of that and the descriptors worked into one table.

pub mod client;
pub mod defaults;
pub mod options;
mod validate;

use std::sync::Arc;
use std::time::Duration;

pub use client::{
    BreakerPolicy, ClientPolicy, ConnectionPolicy, HedgingPolicy, RetryPolicy, RetryThrottling,
};
pub use options::{MethodPolicyOptions, PolicyOptions, ServicePolicyOptions};

use crate::ServiceName;
use crate::fault::Faults;
use crate::method::{Idempotency, Method, MethodKind, MethodTable, PathMap, split_path};

/// What applies to one method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MethodPolicy {
    /// What the descriptors say of it.
    pub method: Method,
    /// Time a call gets when its caller sets none; `None` is no limit.
    pub deadline: Option<Duration>,
    /// Time one attempt gets.
    pub attempt_timeout: AttemptTimeout,
    /// Retries.
    pub retry: RetryPolicy,
    /// Hedging; `None` is none.
    pub hedging: Option<HedgingPolicy>,
    /// Whether the call counts against the limits of its service.
    pub limited: bool,
}

/// How long one attempt may take before it is given up and the call is sent elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptTimeout {
    /// Half of what the call has left, where it may be repeated and another endpoint could take it: a
    /// server that hangs must not use up the time in which another would answer.
    Half,
    /// As long as the call.
    None,
    /// This long.
    After(Duration),
}

/// How many calls one service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most calls that run at once, streams that are still being read included.
    pub max_running: usize,
    /// Calls that run or wait; more are refused.
    pub max_in_flight: usize,
    /// Calls with a stream that may be open at once; more are refused.
    pub max_streams: usize,
    /// The adaptive limit never falls below this.
    pub min_running: usize,
    /// The adaptive limit at the start of the process.
    pub initial_running: usize,
    /// Part of the adaptive limit that background calls may hold, percent.
    pub background_percent: u8,
    /// Longest wait of a call for its turn.
    pub max_wait: Duration,
}

/// Policies of every method; clones share one table.
#[derive(Debug, Clone)]
pub struct Policy {
    table: Arc<Table>,
}

#[derive(Debug)]
struct Table {
    options: PolicyOptions,
    /// Known methods by path.
    methods: PathMap<Arc<MethodPolicy>>,
    faults: Faults,
}

impl Policy {
    /// Works the options, the defaults and the known methods into one table.
    ///
    /// A method missing from `methods` is taken as unary.
    pub fn new(options: &PolicyOptions, methods: &MethodTable) -> Self {
        let methods = methods
            .iter()
            .chain(defaults::OWN_METHODS)
            .map(|(path, method)| (path.to_owned(), Arc::new(resolve(options, path, method))))
            .collect();
        Self {
            table: Arc::new(Table {
                options: options.clone(),
                methods,
                faults: Faults::new(&options.faults),
            }),
        }
    }

    /// Works the options, the defaults and the project's own contract into one table.
    pub fn from_options(options: &PolicyOptions) -> Self {
        Self::new(options, &MethodTable::of_contract())
    }

    /// Returns what applies to the method at `path`.
    pub fn method(&self, path: &str) -> Arc<MethodPolicy> {
        self.table
            .methods
            .get(path)
            .cloned()
            .unwrap_or_else(|| Arc::new(resolve(&self.table.options, path, Method::UNKNOWN)))
    }

    /// Returns what applies to the method at `path` if it is one of the descriptors this policy was made
    /// from.
    pub(crate) fn known(&self, path: &str) -> Option<&MethodPolicy> {
        self.table.methods.get(path).map(|of| &**of)
    }

    /// Returns every known method with what applies to it, by path.
    pub fn methods(&self) -> impl Iterator<Item = (&str, &MethodPolicy)> {
        self.table
            .methods
            .iter()
            .map(|(path, policy)| (path.as_str(), &**policy))
    }

    /// Returns what the client stack of a service does; `None` stands for services the mesh has no
    /// name for.
    pub fn client(&self, service: Option<ServiceName>) -> ClientPolicy {
        match service.and_then(|service| self.table.options.services.get(&service)) {
            Some(options) => options.client(defaults::CLIENT),
            None => defaults::CLIENT,
        }
    }

    /// Returns the limits of a service; `None` stands for services the mesh has no name for.
    pub fn limits(&self, service: Option<ServiceName>) -> Limits {
        let defaults = defaults::limits(service);
        let options = service.and_then(|service| self.table.options.services.get(&service));
        let set = |of: fn(&ServicePolicyOptions) -> Option<usize>| options.and_then(of);
        let max_running = set(|options| options.max_running)
            .unwrap_or(defaults.max_running)
            .max(1);
        let max_in_flight = set(|options| options.max_in_flight).unwrap_or(defaults.max_in_flight);
        let min_running = set(|options| options.min_running)
            .unwrap_or(defaults.min_running)
            .clamp(1, max_running);
        let initial_running = set(|options| options.initial_running)
            .unwrap_or(defaults.initial_running)
            .clamp(min_running, max_running);
        Limits {
            max_running,
            // A queue shorter than the room to run would refuse calls that could run.
            max_in_flight: max_in_flight.max(max_running),
            max_streams: set(|options| options.max_streams)
                .unwrap_or(defaults.max_streams)
                .max(1),
            min_running,
            initial_running,
            background_percent: options
                .and_then(|options| options.background_percent)
                .unwrap_or(defaults.background_percent)
                .min(100),
            max_wait: options
                .and_then(|options| options.max_wait_ms)
                .map_or(defaults.max_wait, Duration::from_millis),
        }
    }

    /// Returns the faults that servers with this policy inject.
    pub fn faults(&self) -> Faults {
        self.table.faults.clone()
    }

    /// Returns how long a stream's client may be quiet before it is given up.
    pub fn stream_idle(&self) -> Duration {
        self.table
            .options
            .stream_idle_ms
            .map_or(defaults::STREAM_IDLE, Duration::from_millis)
    }

    /// Returns how long running calls may take to finish at shutdown.
    pub fn drain_limit(&self) -> Duration {
        self.table
            .options
            .drain_ms
            .map_or(defaults::DRAIN, Duration::from_millis)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::from_options(&PolicyOptions::default())
    }
}

/// Returns whether the method is one of the protocol itself; see [`defaults::UNLIMITED_PREFIX`].
pub(crate) fn is_unlimited(path: &str) -> bool {
    path.strip_prefix('/')
        .unwrap_or(path)
        .starts_with(defaults::UNLIMITED_PREFIX)
}

fn resolve(options: &PolicyOptions, path: &str, method: Method) -> MethodPolicy {
    let (service, _) = split_path(path);
    let name = ServiceName::from_grpc_service(service);
    let limited = !is_unlimited(path);
    let of_service = name.and_then(|name| options.services.get(&name));
    let own = options.methods.get(path.trim_start_matches('/'));
    let own_deadline = own.and_then(|own| own.deadline_ms);
    let service_deadline = of_service.and_then(|service| service.deadline_ms);
    let whole_files = defaults::WHOLE_FILES.contains(&path);
    let deadline = match (own_deadline, method.kind, service_deadline) {
        (Some(millis), _, _) => positive(millis),
        _ if whole_files => Some(defaults::STREAM_DEADLINE),
        (None, MethodKind::Unary, Some(millis)) => positive(millis),
        _ => defaults::deadline(name, method.kind, limited),
    };
    let mut retry = defaults::RETRY;
    if let Some(service) = of_service {
        retry = service.retry_policy.over(retry);
    }
    if let Some(own) = own {
        retry = own.retry_policy.over(retry);
    }
    // A method with side effects is never sent twice, whatever a file says.
    let marked = defaults::HEDGED
        .contains(&path)
        .then_some(defaults::HEDGING);
    let hedging = match own {
        _ if !may_hedge(method) => None,
        Some(own) => own.hedging_policy.over(defaults::HEDGING, marked),
        None => marked,
    };
    let attempt_timeout = match own.and_then(|own| own.attempt_timeout_ms) {
        Some(millis) => positive(millis).map_or(AttemptTimeout::None, AttemptTimeout::After),
        None if whole_files => AttemptTimeout::None,
        None if may_ask_another(method) && retry.max_attempts > 1 => AttemptTimeout::Half,
        None => AttemptTimeout::None,
    };
    MethodPolicy {
        method,
        deadline,
        attempt_timeout,
        retry,
        hedging,
        limited,
    }
}

fn may_ask_another(method: Method) -> bool {
    method.idempotency != Idempotency::Unknown && method.kind == MethodKind::Unary
}

fn may_hedge(method: Method) -> bool {
    method.idempotency == Idempotency::NoSideEffects && matches!(method.kind, MethodKind::Unary)
}

fn positive(millis: u64) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_copies_a_file_has_the_time_of_an_upload() {
        let policy = Policy::new(&PolicyOptions::default(), &MethodTable::of_contract());
        for path in defaults::WHOLE_FILES {
            let of = policy.method(path);
            assert_eq!(of.method.idempotency, Idempotency::Idempotent, "{path}");
            assert_eq!(of.deadline, Some(defaults::STREAM_DEADLINE), "{path}");
            assert_eq!(of.attempt_timeout, AttemptTimeout::None, "{path}");
        }
    }

    #[test]
    fn the_nearest_override_wins() {
        let mut options = PolicyOptions::default();
        options.services.insert(
            ServiceName::Search,
            ServicePolicyOptions {
                deadline_ms: Some(5_000),
                ..Default::default()
            },
        );
        options.methods.insert(
            "mediamesh.search.v1.SearchService/Explain".into(),
            MethodPolicyOptions {
                deadline_ms: Some(0),
                ..Default::default()
            },
        );
        let policy = Policy::new(&options, &MethodTable::default());
        let deadline = |path| policy.method(path).deadline;
        assert_eq!(deadline("/mediamesh.search.v1.SearchService/Explain"), None);
        assert_eq!(
            deadline("/mediamesh.search.v1.SearchService/Search"),
            Some(Duration::from_secs(5))
        );
        assert_eq!(
            deadline("/mediamesh.media.v1.MediaService/Get"),
            Some(defaults::UNARY_DEADLINE)
        );
        options.services.insert(
            ServiceName::Search,
            ServicePolicyOptions {
                deadline_ms: Some(0),
                ..Default::default()
            },
        );
        let unlimited = Policy::new(&options, &MethodTable::default());
        let search = "/mediamesh.search.v1.SearchService/Search";
        assert_eq!(unlimited.method(search).deadline, None);
        assert!(!policy.method("/grpc.health.v1.Health/Watch").limited);
        assert_eq!(deadline("/grpc.health.v1.Health/Watch"), None);
    }

    #[test]
    fn uploads_of_the_contract_may_take_longer_than_unary_calls() {
        let policy = Policy::default();
        let upload = "/mediamesh.media.v1.MediaService/UploadMedia";
        assert!(policy.known(upload).is_some());
        assert_eq!(
            policy.method(upload).deadline,
            Some(defaults::STREAM_DEADLINE)
        );
    }

    #[test]
    fn marked_reads_are_hedged_and_nothing_with_side_effects_ever_is() {
        let policy = Policy::default();
        for path in defaults::HEDGED {
            assert!(policy.method(path).hedging.is_some(), "{path}");
        }
        let mut options = PolicyOptions::default();
        for path in [
            "mediamesh.media.v1.MediaService/DeleteMediaItem",
            "mediamesh.search.v1.SearchService/SearchMedia",
        ] {
            let method = options.methods.entry(path.into()).or_default();
            method.hedging_policy.max_attempts = Some(2);
        }
        let policy = Policy::from_options(&options);
        let hedged = |method: &str| policy.method(method).hedging.is_some();
        assert!(!hedged("/mediamesh.media.v1.MediaService/DeleteMediaItem"));
        assert!(hedged("/mediamesh.search.v1.SearchService/SearchMedia"));
    }

    #[test]
    fn what_is_configured_of_hedging_is_in_force() {
        let read = "mediamesh.media.v1.MediaService/GetMediaItem";
        let options = serde_json::json!({"methods": {read: {"hedging_policy": {
            "hedging_delay_ms": 31,
            "min_hedging_delay_ms": 32,
            "budget_percent": 12.5,
        }}}});
        let policy = Policy::from_options(&serde_json::from_value(options).unwrap());
        let expected = HedgingPolicy {
            max_attempts: defaults::HEDGING.max_attempts,
            hedging_delay: Some(Duration::from_millis(31)),
            min_delay: Duration::from_millis(32),
            max_share: 0.125,
        };
        assert_eq!(policy.method(&format!("/{read}")).hedging, Some(expected));
    }

    #[test]
    fn the_queue_is_never_shorter_than_the_room_to_run() {
        let mut options = PolicyOptions::default();
        options.services.insert(
            ServiceName::Media,
            ServicePolicyOptions {
                max_running: Some(9_999),
                ..Default::default()
            },
        );
        let limits =
            Policy::new(&options, &MethodTable::default()).limits(Some(ServiceName::Media));
        assert_eq!((limits.max_running, limits.max_in_flight), (9_999, 9_999));
    }

    #[test]
    fn what_is_configured_of_a_service_is_in_force() {
        let options = serde_json::json!({"services": {"media": {
            "retry_throttling": {"max_tokens": 11, "token_ratio": 0.25, "tokens_per_second": 2.5},
            "outlier_detection": {
                "consecutive_failures": 12,
                "success_rate_floor": 0.75,
                "minimum_calls": 13,
                "base_ejection_time_ms": 1014,
                "max_ejection_time_ms": 1015,
                "max_ejection_time_jitter": 0.125,
                "max_ejection_percent": 16,
            },
            "connection": {
                "connect_timeout_ms": 1017,
                "initial_backoff_ms": 18,
                "max_backoff_ms": 1019,
                "silence_ms": 1020,
                "probe_timeout_ms": 1021,
                "keep_alive_timeout_ms": 1026,
                "max_in_flight": 22,
                "latency_decay_ms": 1027,
                "latency_floor_us": 1028,
                "health_interval_ms": 1023,
                "resolve_interval_ms": 1024,
                "resolve_timeout_ms": 1025,
            },
        }}});
        let options: PolicyOptions = serde_json::from_value(options).unwrap();
        let policy = Policy::new(&options, &MethodTable::default());
        let ours = policy.client(Some(ServiceName::Media));
        let ms = Duration::from_millis;
        let throttling = RetryThrottling {
            max_tokens: 11,
            token_ratio: 0.25,
            tokens_per_second: 2.5,
        };
        assert_eq!(ours.throttling, throttling);
        let breaker = BreakerPolicy {
            consecutive_failures: 12,
            success_rate_floor: 0.75,
            minimum_calls: 13,
            base_open: ms(1014),
            max_open: ms(1015),
            jitter: 0.125,
            max_ejection_percent: 16,
        };
        assert_eq!(ours.breaker, breaker);
        let connection = ConnectionPolicy {
            connect_timeout: ms(1017),
            initial_backoff: ms(18),
            max_backoff: ms(1019),
            silence: ms(1020),
            probe_timeout: ms(1021),
            keep_alive_timeout: ms(1026),
            max_in_flight: 22,
            latency_decay: ms(1027),
            latency_floor: Duration::from_micros(1028),
            health_interval: ms(1023),
            resolve_interval: ms(1024),
            resolve_timeout: ms(1025),
        };
        assert_eq!(ours.connection, connection);
    }
}
