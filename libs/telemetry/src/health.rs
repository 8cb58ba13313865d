//! Named components, and the liveness, readiness and startup states made of them.
//!
//! - live: the process answers; nothing it reports is healed by a restart, so this is always so
//! - started: everything that must be up once has been up; never goes back
//! - ready: started, not draining, and no component is `NotServing`; `Degraded` still serves
//!
//! Reads clone one `Arc`; writers publish a whole new snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

/// State of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Works.
    Serving,
    /// Works with less, e.g. keyword search only; traffic is still welcome.
    Degraded,
    /// Does not work; traffic should go elsewhere.
    NotServing,
}

/// State of one component and one sentence about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Component {
    /// The state.
    pub status: HealthStatus,
    /// One sentence for people; empty when there is nothing to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Everything the registry knew at one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct HealthSnapshot {
    /// Components by name.
    pub components: BTreeMap<String, Component>,
    /// Start-up is over.
    pub started: bool,
    /// The process is going down and takes no new work.
    pub draining: bool,
}

impl HealthSnapshot {
    /// Returns whether the process should be left running.
    pub fn is_live(&self) -> bool {
        true
    }

    /// Returns whether traffic should come here.
    pub fn is_ready(&self) -> bool {
        self.started && !self.draining && self.worst() != HealthStatus::NotServing
    }

    /// Returns the state of the whole: the worst of its components.
    pub fn status(&self) -> HealthStatus {
        if self.is_ready() {
            self.worst()
        } else {
            HealthStatus::NotServing
        }
    }

    fn worst(&self) -> HealthStatus {
        let any = |status| {
            self.components
                .values()
                .any(|component| component.status == status)
        };
        if any(HealthStatus::NotServing) {
            HealthStatus::NotServing
        } else if any(HealthStatus::Degraded) {
            HealthStatus::Degraded
        } else {
            HealthStatus::Serving
        }
    }
}

/// Handle of the health of this process; clones share it.
#[derive(Debug, Clone)]
pub struct HealthRegistry {
    state: Arc<watch::Sender<Arc<HealthSnapshot>>>,
}

impl Default for HealthRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl HealthRegistry {
    /// Returns a registry with no components, not started.
    pub fn new() -> Self {
        Self {
            state: Arc::new(watch::Sender::new(Arc::default())),
        }
    }

    /// Sets one component, making it known if it is new.
    pub fn set(&self, name: &str, status: HealthStatus, detail: impl Into<String>) {
        let component = Component {
            status,
            detail: detail.into(),
        };
        self.state.send_if_modified(|current| {
            if current.components.get(name) == Some(&component) {
                return false;
            }
            Arc::make_mut(current)
                .components
                .insert(name.to_owned(), component);
            true
        });
    }

    /// Marks a component as serving.
    pub fn serving(&self, name: &str) {
        self.set(name, HealthStatus::Serving, "");
    }

    /// Marks a component as degraded and says why.
    pub fn degraded(&self, name: &str, detail: impl Into<String>) {
        self.set(name, HealthStatus::Degraded, detail);
    }

    /// Marks a component as not serving and says why.
    pub fn not_serving(&self, name: &str, detail: impl Into<String>) {
        self.set(name, HealthStatus::NotServing, detail);
    }

    /// Marks start-up as over; it stays so.
    pub fn set_started(&self) {
        self.state
            .send_modify(|current| Arc::make_mut(current).started = true);
    }

    /// Marks the process as going down: readiness goes first, the work ends after it.
    pub fn set_draining(&self) {
        self.state
            .send_modify(|current| Arc::make_mut(current).draining = true);
    }

    /// Returns the state of now; one reference count.
    pub fn snapshot(&self) -> Arc<HealthSnapshot> {
        self.state.borrow().clone()
    }

    /// Returns a receiver that sees each change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<HealthSnapshot>> {
        self.state.subscribe()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn readiness_waits_for_start_and_leaves_first_at_the_end() {
        let health = HealthRegistry::new();
        health.serving("store");
        assert!(!health.snapshot().is_ready(), "start-up is not over");
        health.set_started();
        assert!(health.snapshot().is_ready());
        health.degraded("embedding", "no model installed");
        assert!(health.snapshot().is_ready(), "a degraded part still serves");
        assert_eq!(health.snapshot().status(), HealthStatus::Degraded);
        health.not_serving("store", "disk full");
        assert!(!health.snapshot().is_ready());
        health.serving("store");
        health.set_draining();
        assert!(!health.snapshot().is_ready());
        assert!(health.snapshot().is_live());
    }

    #[test]
    fn watchers_hear_changes_and_nothing_else() {
        let health = HealthRegistry::new();
        health.serving("store");
        let mut changes = health.subscribe();
        health.serving("store");
        assert!(!changes.has_changed().unwrap());
        health.not_serving("store", "disk full");
        assert_eq!(
            changes.borrow_and_update().components["store"].detail,
            "disk full"
        );
    }
}
