//! Traces, logs, metrics and health of one process.
//!
//! - [`init`]: installs the subscriber (logs on stderr, OTLP when configured) and returns the guard that flushes it
//! - [`options`]: what `init` reads
//! - [`propagation`]: W3C trace context in headers, job rows and error bodies
//! - [`trace_scope`]: where a request runs: in a span, or with ids alone
//! - [`metrics`]: the registry handle, histogram buckets, process and runtime collectors
//! - [`health`]: named components and the liveness, readiness and startup states made of them

mod format;
pub mod health;
mod init;
pub mod metrics;
pub mod options;
pub mod propagation;
pub mod trace_scope;

pub use health::{Component, HealthRegistry, HealthSnapshot, HealthStatus};
pub use init::{Error, SHUTDOWN_LIMIT, TelemetryGuard, init};
pub use metrics::Metrics;
pub use options::{LogFormat, TelemetryOptions};
pub use trace_scope::TraceScope;
