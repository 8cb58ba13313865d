//! Settings of the edge.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{request_log::RequestLogOptions, session::options::SessionCookieOptions};

/// Settings of the edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Largest JSON body, in bytes.
    pub max_json_bytes: usize,
    /// Largest uploaded file, in bytes; an announced size over it is refused before a byte is read.
    pub max_upload_bytes: u64,
    /// Longest time a client may ask for with `X-Request-Timeout` or `grpc-timeout`, in seconds.
    pub max_request_timeout_secs: u64,
    /// Longest silence in the middle of a request body, in seconds.
    pub idle_timeout_secs: u64,
    /// Requests that run at once; more are answered 503. Health and metrics are not counted.
    pub max_concurrency: usize,
    /// Most of a request's head that goes on into the mesh, in bytes as HTTP/2 counts them (name,
    /// value and 32 each): with gRPC every header but those that end at the edge, with REST the few
    /// that are forwarded, with both the trace context. More is answered 431.
    pub max_metadata_bytes: usize,
    /// How long the edge goes on accepting connections after the signal to end, in milliseconds, with
    /// its readiness off: the time in which a load balancer takes it out. 5000 suits Kubernetes,
    /// whose `terminationGracePeriodSeconds` must be above this and `mesh.drain_ms` together.
    pub drain_delay_ms: u64,
    /// Smallest body that is compressed, in bytes (S0-32).
    pub compression_min_bytes: u64,
    /// Host names answered beside localhost, 127.0.0.1 and `[::1]`, without port; `*` answers all.
    /// When empty, an edge bound to another address than loopback answers all.
    pub allowed_hosts: Vec<String>,
    /// Origins, such as `https://photos.example`, whose pages may call; none by default.
    pub cors_origins: Vec<String>,
    /// The cookie of sessions.
    pub session: SessionCookieOptions,
    /// The log of requests.
    pub request_log: RequestLogOptions,
}

/// Default and upper bound of [`Options::max_metadata_bytes`].
const MAX_METADATA_BYTES: usize = 8 * 1024;
/// Lower bound: every client sends some headers.
const MIN_METADATA_BYTES: usize = 1024;

/// Upper bound of [`Options::drain_delay_ms`]: twice the grace that Kubernetes gives by itself.
const MAX_DRAIN_DELAY_MS: u64 = 60_000;

impl Default for Options {
    fn default() -> Self {
        Self {
            // 100 times the largest sensible search; images as base64 belong in a byte route
            max_json_bytes: 1 << 20,
            // the media service's own limit: checked here too, so that nothing is sent in vain
            max_upload_bytes: 4 << 30,
            // the longest deadline of the mesh
            max_request_timeout_secs: 3600,
            // a phone in a tunnel; a slot must not be held for ever
            idle_timeout_secs: 60,
            // twice what one service runs or lets wait
            max_concurrency: 2048,
            // half of the 16 KiB that servers take; the mesh adds about 1.5 KiB of its own
            max_metadata_bytes: MAX_METADATA_BYTES,
            // nobody balances loads on a laptop
            drain_delay_ms: 0,
            compression_min_bytes: 10_000,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            session: SessionCookieOptions::default(),
            request_log: RequestLogOptions::default(),
        }
    }
}

impl Options {
    /// Every fault of these settings, one sentence each.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let positive = [
            ("max_json_bytes", self.max_json_bytes as u64),
            ("max_upload_bytes", self.max_upload_bytes),
            ("max_request_timeout_secs", self.max_request_timeout_secs),
            ("idle_timeout_secs", self.idle_timeout_secs),
            ("max_concurrency", self.max_concurrency as u64),
        ];
        for (name, value) in positive {
            if value == 0 {
                faults.push(format!("edge.{name} must be at least 1"));
            }
        }
        // a JSON body becomes one message of the mesh
        if self.max_json_bytes > mediamesh_mesh::MAX_MESSAGE_BYTES {
            faults.push(format!(
                "edge.max_json_bytes is {}; limit is {}",
                self.max_json_bytes,
                mediamesh_mesh::MAX_MESSAGE_BYTES
            ));
        }
        if !(MIN_METADATA_BYTES..=MAX_METADATA_BYTES).contains(&self.max_metadata_bytes) {
            faults.push(format!(
                "edge.max_metadata_bytes is {}; it must be {MIN_METADATA_BYTES} to \
                 {MAX_METADATA_BYTES}",
                self.max_metadata_bytes
            ));
        }
        if self.drain_delay_ms > MAX_DRAIN_DELAY_MS {
            faults.push(format!(
                "edge.drain_delay_ms is {}; it must be 0 to {MAX_DRAIN_DELAY_MS}",
                self.drain_delay_ms
            ));
        }
        // some KiB each
        if !(1..=1_000_000).contains(&self.request_log.queue) {
            faults.push(format!(
                "edge.request_log.queue is {}; it must be 1 to 1000000",
                self.request_log.queue
            ));
        }
        for host in &self.allowed_hosts {
            if host.is_empty() || host.contains('/') {
                faults.push(format!(
                    "edge.allowed_hosts has {host:?}; a host name is expected"
                ));
            }
        }
        for origin in &self.cors_origins {
            if !origin.starts_with("http://") && !origin.starts_with("https://") {
                faults.push(format!(
                    "edge.cors_origins has {origin:?}; http://host or https://host is expected"
                ));
            }
        }
        faults.extend(self.session.validate());
        faults
    }

    pub(crate) fn max_request_timeout(&self) -> Duration {
        Duration::from_secs(self.max_request_timeout_secs)
    }

    /// How long connections are accepted after the signal to end.
    #[must_use]
    pub fn drain_delay(&self) -> Duration {
        Duration::from_millis(self.drain_delay_ms)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_secs)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_listed_and_unknown_keys_are_refused() {
        assert_eq!(Options::default().validate(), Vec::<String>::new());
        let options = Options {
            max_json_bytes: 1 << 30,
            max_concurrency: 0,
            allowed_hosts: vec!["http://x/".to_owned()],
            cors_origins: vec!["x".to_owned()],
            ..Options::default()
        };
        assert_eq!(options.validate().len(), 4);
        assert!(serde_json::from_str::<Options>(r#"{"max_json_byte": 1}"#).is_err());
    }
}
