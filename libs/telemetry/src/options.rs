//! What [`crate::init`] reads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How log lines look on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One coloured line per event, for people.
    #[default]
    Pretty,
    /// One JSON object per line, for machines.
    Json,
}

/// Options of logs and traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryOptions {
    /// Log filter in `tracing` directive syntax, e.g. `info,mediamesh_media=debug`.
    pub log_filter: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// OTLP gRPC endpoint, e.g. `http://127.0.0.1:4317`; traces are not exported when absent.
    pub otlp_endpoint: Option<String>,
    /// `service.name` of the exported resource; `serve` adds its services to the default, as in
    /// `mediamesh-search`.
    pub service_name: String,
    /// Share of new traces that are recorded and exported, 0 to 1; a caller's decision wins.
    pub sample_ratio: f64,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self {
            log_filter: "info".to_owned(),
            log_format: LogFormat::Pretty,
            otlp_endpoint: None,
            service_name: "mediamesh".to_owned(),
            sample_ratio: 1.0,
        }
    }
}
