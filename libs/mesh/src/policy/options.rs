//! What a person may write; everything is optional. Names are those of gRPC's service config.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::{
    BreakerPolicy, ClientPolicy, ConnectionPolicy, HedgingPolicy, RetryPolicy, RetryThrottling,
};
use crate::ServiceName;
use crate::fault::FaultOptions;
use crate::tls::TlsOptions;

/// Overrides of the defaults; all fields optional.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyOptions {
    /// Where services are that do not run in this process, by service name: a list of
    /// `http://host:port`, or `dns:///host:port` for every address of a name. With `tls` it is
    /// `https://`.
    pub endpoints: BTreeMap<ServiceName, Vec<String>>,
    /// Certificates of connections between services.
    pub tls: TlsOptions,
    /// By service name, e.g. `search`.
    pub services: BTreeMap<ServiceName, ServicePolicyOptions>,
    /// By method path without the leading slash, e.g. `mediamesh.search.v1.SearchService/SearchMedia`.
    pub methods: BTreeMap<String, MethodPolicyOptions>,
    /// How long a server may take to finish running calls at shutdown, milliseconds.
    pub drain_ms: Option<u64>,
    /// How long a client may read nothing of a stream, or send nothing, before it is given up,
    /// milliseconds.
    pub stream_idle_ms: Option<u64>,
    /// Faults that servers inject; only builds with the feature `fault` take any.
    pub faults: FaultOptions,
}

/// Overrides for one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServicePolicyOptions {
    /// Deadline of unary methods, milliseconds; 0 means none.
    pub deadline_ms: Option<u64>,
    /// Most calls that run at once; the adaptive limit moves below it.
    pub max_running: Option<usize>,
    /// Calls that run or wait; more are refused.
    pub max_in_flight: Option<usize>,
    /// Calls with a stream (uploads, downloads, results one by one) that may be open at once.
    pub max_streams: Option<usize>,
    /// Calls that may run at once however slow they are; equal to `max_running` = a fixed limit.
    pub min_running: Option<usize>,
    /// The adaptive limit at the start of the process.
    pub initial_running: Option<usize>,
    /// Part of the limit that calls of background work may hold, percent.
    pub background_percent: Option<u8>,
    /// Longest wait of a call for its turn, milliseconds; a quarter of it while the queue stands.
    pub max_wait_ms: Option<u64>,
    /// Retries of its methods.
    pub retry_policy: RetryPolicyOptions,
    /// Budget of extra attempts.
    pub retry_throttling: RetryThrottlingOptions,
    /// Circuit breakers of its endpoints.
    pub outlier_detection: OutlierDetectionOptions,
    /// Connections to its endpoints.
    pub connection: ConnectionOptions,
}

/// Overrides for one method.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MethodPolicyOptions {
    /// Deadline, milliseconds; 0 means none.
    pub deadline_ms: Option<u64>,
    /// Longest one attempt may take before it is given up and retried, milliseconds; 0 means none.
    /// Default: half of what the call has left, if it may be repeated and there is another endpoint.
    pub attempt_timeout_ms: Option<u64>,
    /// Retries.
    pub retry_policy: RetryPolicyOptions,
    /// A second attempt beside a slow first one; only for methods without side effects.
    pub hedging_policy: HedgingPolicyOptions,
}

/// Retries; gRFC A6, `retryPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicyOptions {
    /// Attempts in all, the first included; 1 means no retry.
    pub max_attempts: Option<u32>,
    /// Upper bound of the first wait, milliseconds; waits are drawn from zero to their bound.
    pub initial_backoff_ms: Option<u64>,
    /// Largest bound, milliseconds.
    pub max_backoff_ms: Option<u64>,
    /// By how much the bound grows with each attempt.
    pub backoff_multiplier: Option<f64>,
}

/// Hedging; gRFC A6, `hedgingPolicy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HedgingPolicyOptions {
    /// Attempts at the same time, the first included; 1 means no hedging.
    pub max_attempts: Option<u32>,
    /// When the next attempt is sent, milliseconds; absent = the observed 95th percentile.
    pub hedging_delay_ms: Option<u64>,
    /// Least such delay, whatever was observed or written, milliseconds.
    pub min_hedging_delay_ms: Option<u64>,
    /// Calls of a hundred that may be hedged; as Envoy's `retry_budget`.
    pub budget_percent: Option<f64>,
}

/// The budget of extra attempts; gRFC A6, `retryThrottling`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryThrottlingOptions {
    /// Tokens of a full bucket; each failure takes one, and extra attempts need more than half.
    pub max_tokens: Option<u32>,
    /// Tokens that a success gives back.
    pub token_ratio: Option<f64>,
    /// Tokens that come back each second whatever happens.
    pub tokens_per_second: Option<f64>,
}

/// Circuit breakers of endpoints; terms of gRFC A50 where it has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutlierDetectionOptions {
    /// Hard failures in a row that open it.
    pub consecutive_failures: Option<u32>,
    /// Share of successes below which it opens, 0 to 1; 0 turns the signal off.
    pub success_rate_floor: Option<f64>,
    /// Calls that the rate is about, and before which it means nothing.
    pub minimum_calls: Option<u32>,
    /// How long it stays open at first, milliseconds.
    pub base_ejection_time_ms: Option<u64>,
    /// How long it stays open at most, milliseconds.
    pub max_ejection_time_ms: Option<u64>,
    /// Share of that time which is drawn by lot and taken off, 0 to 0.9, so that not all clients of one
    /// endpoint probe it at the same moment.
    pub max_ejection_time_jitter: Option<f64>,
    /// Share of a service's endpoints that the success rate may take out, percent.
    pub max_ejection_percent: Option<u32>,
}

/// Connections to endpoints.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionOptions {
    /// Longest wait for a connection, milliseconds.
    pub connect_timeout_ms: Option<u64>,
    /// Wait before connecting again after a failure, at first, milliseconds.
    pub initial_backoff_ms: Option<u64>,
    /// Longest such wait, milliseconds.
    pub max_backoff_ms: Option<u64>,
    /// How long an endpoint with calls in flight may say nothing before it is asked for a sign of
    /// life, milliseconds.
    pub silence_ms: Option<u64>,
    /// How long that sign may take before the endpoint counts as gone, milliseconds.
    pub probe_timeout_ms: Option<u64>,
    /// How long a connection without a sign of life is left to the calls on it that may not be repeated,
    /// milliseconds.
    pub keep_alive_timeout_ms: Option<u64>,
    /// Calls in flight to one endpoint.
    pub max_in_flight: Option<u32>,
    /// Time in which a slow answer loses two thirds of its weight in the choice of an endpoint, milliseconds.
    pub latency_decay_ms: Option<u64>,
    /// Differences of latency below this do not matter to that choice, microseconds.
    pub latency_floor_us: Option<u64>,
    /// How often a connected endpoint is asked whether it is serving, milliseconds.
    pub health_interval_ms: Option<u64>,
    /// How often names are resolved anew, milliseconds.
    pub resolve_interval_ms: Option<u64>,
    /// Longest a name may take to resolve, milliseconds.
    pub resolve_timeout_ms: Option<u64>,
}

fn ms(own: Option<u64>, base: Duration) -> Duration {
    own.map_or(base, Duration::from_millis)
}

impl RetryPolicyOptions {
    pub(super) fn over(&self, base: RetryPolicy) -> RetryPolicy {
        RetryPolicy {
            max_attempts: self.max_attempts.unwrap_or(base.max_attempts).max(1),
            initial_backoff: ms(self.initial_backoff_ms, base.initial_backoff),
            max_backoff: ms(self.max_backoff_ms, base.max_backoff),
            backoff_multiplier: self.backoff_multiplier.unwrap_or(base.backoff_multiplier),
        }
    }
}

impl HedgingPolicyOptions {
    pub(super) fn over(
        &self,
        default: HedgingPolicy,
        marked: Option<HedgingPolicy>,
    ) -> Option<HedgingPolicy> {
        let base = match (marked, self.max_attempts) {
            (Some(marked), _) => marked,
            (None, Some(_)) => default,
            (None, None) => return None,
        };
        let max_attempts = self.max_attempts.unwrap_or(base.max_attempts);
        (max_attempts > 1).then_some(HedgingPolicy {
            max_attempts,
            hedging_delay: self
                .hedging_delay_ms
                .map(Duration::from_millis)
                .or(base.hedging_delay),
            min_delay: ms(self.min_hedging_delay_ms, base.min_delay),
            max_share: self
                .budget_percent
                .map_or(base.max_share, |percent| percent / 100.0),
        })
    }
}

impl ServicePolicyOptions {
    pub(super) fn client(&self, base: ClientPolicy) -> ClientPolicy {
        let (throttling, outliers, connection) = (
            &self.retry_throttling,
            &self.outlier_detection,
            &self.connection,
        );
        ClientPolicy {
            throttling: RetryThrottling {
                max_tokens: throttling.max_tokens.unwrap_or(base.throttling.max_tokens),
                token_ratio: throttling
                    .token_ratio
                    .unwrap_or(base.throttling.token_ratio),
                tokens_per_second: throttling
                    .tokens_per_second
                    .unwrap_or(base.throttling.tokens_per_second),
            },
            breaker: BreakerPolicy {
                consecutive_failures: outliers
                    .consecutive_failures
                    .unwrap_or(base.breaker.consecutive_failures),
                success_rate_floor: outliers
                    .success_rate_floor
                    .unwrap_or(base.breaker.success_rate_floor),
                minimum_calls: outliers.minimum_calls.unwrap_or(base.breaker.minimum_calls),
                base_open: ms(outliers.base_ejection_time_ms, base.breaker.base_open),
                max_open: ms(outliers.max_ejection_time_ms, base.breaker.max_open),
                jitter: outliers
                    .max_ejection_time_jitter
                    .unwrap_or(base.breaker.jitter),
                max_ejection_percent: outliers
                    .max_ejection_percent
                    .unwrap_or(base.breaker.max_ejection_percent),
            },
            connection: ConnectionPolicy {
                connect_timeout: ms(
                    connection.connect_timeout_ms,
                    base.connection.connect_timeout,
                ),
                initial_backoff: ms(
                    connection.initial_backoff_ms,
                    base.connection.initial_backoff,
                ),
                max_backoff: ms(connection.max_backoff_ms, base.connection.max_backoff),
                silence: ms(connection.silence_ms, base.connection.silence),
                probe_timeout: ms(connection.probe_timeout_ms, base.connection.probe_timeout),
                keep_alive_timeout: ms(
                    connection.keep_alive_timeout_ms,
                    base.connection.keep_alive_timeout,
                ),
                max_in_flight: connection
                    .max_in_flight
                    .unwrap_or(base.connection.max_in_flight),
                latency_decay: ms(connection.latency_decay_ms, base.connection.latency_decay),
                latency_floor: connection
                    .latency_floor_us
                    .map_or(base.connection.latency_floor, Duration::from_micros),
                health_interval: ms(
                    connection.health_interval_ms,
                    base.connection.health_interval,
                ),
                resolve_interval: ms(
                    connection.resolve_interval_ms,
                    base.connection.resolve_interval,
                ),
                resolve_timeout: ms(
                    connection.resolve_timeout_ms,
                    base.connection.resolve_timeout,
                ),
            },
        }
    }
}
