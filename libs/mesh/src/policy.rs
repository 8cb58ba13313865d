//! Deadlines and limits by service and method.
//!
//! [`PolicyOptions`] is what a person may write; [`Policy`] is that, the defaults and the
//! descriptors worked into one table. [`defaults`] is the only file with numbers.

pub mod defaults;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ServiceName;
use crate::method::{MethodKind, MethodTable, split_path};

/// Overrides of the defaults; all fields optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyOptions {
    /// By service name, e.g. `search`.
    pub services: BTreeMap<ServiceName, ServicePolicyOptions>,
    /// By method path without the leading slash, e.g. `mediamesh.search.v1.SearchService/Search`.
    pub methods: BTreeMap<String, MethodPolicyOptions>,
    /// How long a server may take to finish running calls at shutdown, milliseconds.
    pub drain_ms: Option<u64>,
}

/// Overrides for one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServicePolicyOptions {
    /// Deadline of unary methods, milliseconds.
    pub deadline_ms: Option<u64>,
    /// Most calls that run at once; the adaptive limit moves below it.
    pub max_running: Option<usize>,
    /// Calls that run or wait; more are refused.
    pub max_in_flight: Option<usize>,
    /// Calls that may run at once however slow they are; equal to `max_running` = a fixed limit.
    pub min_running: Option<usize>,
    /// The adaptive limit at the start of the process.
    pub initial_running: Option<usize>,
    /// Part of the limit that calls of background work may hold, percent.
    pub background_percent: Option<u8>,
    /// Longest wait of a call for its turn, milliseconds; a quarter of it while the queue stands.
    pub max_wait_ms: Option<u64>,
}

/// Overrides for one method.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MethodPolicyOptions {
    /// Deadline, milliseconds; 0 means none.
    pub deadline_ms: Option<u64>,
}

/// What applies to one method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodPolicy {
    /// Time a call gets when its caller sets none; `None` is no limit.
    pub deadline: Option<Duration>,
    /// Whether the call counts against the limits of its service.
    pub limited: bool,
    /// Which way it streams.
    pub kind: MethodKind,
}

/// How many calls one service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most calls that run at once, streams that are still being read included.
    pub max_running: usize,
    /// Calls that run or wait; more are refused.
    pub max_in_flight: usize,
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
    methods: HashMap<String, MethodPolicy>,
}

impl Policy {
    /// Works the options, the defaults and the known methods into one table.
    ///
    /// A method missing from `methods` is taken as unary.
    pub fn new(options: &PolicyOptions, methods: &MethodTable) -> Self {
        let methods = methods
            .iter()
            .chain(defaults::OWN_METHODS)
            .map(|(path, kind)| (path.to_owned(), resolve(options, path, kind)))
            .collect();
        Self {
            table: Arc::new(Table {
                options: options.clone(),
                methods,
            }),
        }
    }

    /// Works the options, the defaults and the project's own contract into one table.
    pub fn from_options(options: &PolicyOptions) -> Self {
        Self::new(options, &MethodTable::of_contract())
    }

    /// Returns what applies to the method at `path`.
    pub fn method(&self, path: &str) -> MethodPolicy {
        self.table
            .methods
            .get(path)
            .copied()
            .unwrap_or_else(|| resolve(&self.table.options, path, MethodKind::Unary))
    }

    /// Returns whether `path` is a method of the descriptors this policy was made from.
    pub fn knows(&self, path: &str) -> bool {
        self.table.methods.contains_key(path)
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

    /// Returns the paths of the methods this policy was made from.
    pub(crate) fn known_methods(&self) -> impl Iterator<Item = &str> {
        self.table.methods.keys().map(String::as_str)
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

fn resolve(options: &PolicyOptions, path: &str, kind: MethodKind) -> MethodPolicy {
    let (service, _) = split_path(path);
    let name = ServiceName::from_grpc_service(service);
    let limited = !service.starts_with(defaults::UNLIMITED_PREFIX);
    if let Some(millis) = options
        .methods
        .get(path.trim_start_matches('/'))
        .and_then(|method| method.deadline_ms)
    {
        let deadline = (millis > 0).then(|| Duration::from_millis(millis));
        return MethodPolicy {
            deadline,
            limited,
            kind,
        };
    }
    let of_service = name
        .and_then(|name| options.services.get(&name))
        .and_then(|service| service.deadline_ms);
    let deadline = match (kind, of_service) {
        (MethodKind::Unary, Some(millis)) => Some(Duration::from_millis(millis)),
        _ => defaults::deadline(name, kind, limited),
    };
    MethodPolicy {
        deadline,
        limited,
        kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(!policy.method("/grpc.health.v1.Health/Watch").limited);
        assert_eq!(deadline("/grpc.health.v1.Health/Watch"), None);
    }

    #[test]
    fn uploads_of_the_contract_may_take_longer_than_unary_calls() {
        let policy = Policy::default();
        let upload = "/mediamesh.media.v1.MediaService/UploadMedia";
        assert!(policy.knows(upload));
        assert_eq!(
            policy.method(upload).deadline,
            Some(defaults::STREAM_DEADLINE)
        );
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
}
