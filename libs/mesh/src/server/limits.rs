//! The gates of every service, found by path.

use std::sync::Arc;

use mediamesh_telemetry::Metrics;

use super::gate::{Flow, Gate};
use super::load::{LoadMetrics, ServiceLoad};
use crate::ServiceName;
use crate::method::{PathMap, split_path};
use crate::policy::{Policy, is_unlimited};

/// Name of services the mesh has no name for, in metrics and messages.
const UNNAMED: &str = "other";

/// Gates of every service; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Limiters {
    all: Arc<All>,
}

#[derive(Debug)]
struct All {
    /// By `ServiceName::index`, and one more for services the mesh has no name for.
    gates: Vec<Arc<Gate>>,
    /// Known methods by path.
    methods: PathMap<Target>,
}

/// What a call goes through.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) gate: Arc<Gate>,
    /// Index of the method within its service; 0 are all methods nobody knows.
    pub(crate) method: usize,
    pub(crate) flow: Flow,
}

impl Limiters {
    pub(crate) fn new(policy: &Policy, metrics: &Metrics) -> Self {
        let mut paths: Vec<Vec<&str>> = vec![vec![]; ServiceName::ALL.len() + 1];
        for (path, method) in policy.methods() {
            if method.limited {
                paths[index(path)].push(path);
            }
        }
        let names = ServiceName::ALL.into_iter().map(Some).chain([None]);
        let gates: Vec<_> = names
            .zip(&paths)
            .map(|(name, paths)| {
                let label = name.map_or(UNNAMED, ServiceName::as_str);
                let metrics = LoadMetrics::new(metrics, label);
                let gate = Gate::new(label, policy.limits(name), paths.len() + 1, metrics);
                Arc::new(gate)
            })
            .collect();
        let methods = gates
            .iter()
            .zip(paths)
            .flat_map(|(gate, paths)| {
                paths.into_iter().enumerate().map(|(method, path)| {
                    let kind = policy.method(path).method.kind;
                    let target = Target {
                        gate: Arc::clone(gate),
                        method: method + 1,
                        flow: Flow::of(kind),
                    };
                    (path.to_owned(), target)
                })
            })
            .collect();
        Self {
            all: Arc::new(All { gates, methods }),
        }
    }

    /// Returns what a call of `path` goes through; `None` if it is not limited.
    pub(crate) fn of(&self, path: &str) -> Option<Target> {
        if let Some(target) = self.all.methods.get(path) {
            return Some(target.clone());
        }
        if is_unlimited(path) {
            return None;
        }
        self.all.gates.get(index(path)).map(|gate| Target {
            gate: Arc::clone(gate),
            method: 0,
            flow: Flow::Unary,
        })
    }

    /// Returns the load of each service, served here or not.
    pub(crate) fn loads(&self) -> Vec<ServiceLoad> {
        self.all.gates.iter().map(|gate| gate.load()).collect()
    }
}

fn index(path: &str) -> usize {
    let (service, _) = split_path(path);
    ServiceName::from_grpc_service(service).map_or(ServiceName::ALL.len(), ServiceName::index)
}
