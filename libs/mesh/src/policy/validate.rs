//! What is wrong with what a person wrote, all of it at once, before anything starts.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::options::{
    ConnectionOptions, HedgingPolicyOptions, MethodPolicyOptions, OutlierDetectionOptions,
    PolicyOptions, RetryPolicyOptions, RetryThrottlingOptions, ServicePolicyOptions,
};
use super::{defaults, may_hedge};
use crate::ServiceName;
use crate::client::EndpointError;
use crate::method::{Method, MethodTable};

/// A deadline of more than a day is a typing error.
const MAX_DEADLINE_MS: u64 = 24 * 3600 * 1000;
/// Waits beyond ten minutes outlive every call.
const MAX_WAIT_MS: u64 = 600_000;
/// An hour: what is shut out for longer should be taken out of the list.
const MAX_EJECTION_MS: u64 = 3_600_000;
/// No host has memory for more calls than this.
const MAX_CALLS: usize = 1_000_000;
/// Attempts beyond this are an attack on one's own service.
const MAX_ATTEMPTS: u32 = 10;

impl PolicyOptions {
    /// Returns every fault of these options, one sentence each: key, value and what is allowed.
    pub fn validate(&self) -> Vec<String> {
        let mut faults = self.faults.validate();
        faults.extend(self.tls.validate());
        self.endpoints(&mut faults);
        for (name, service) in &self.services {
            let mut found = Found::at(format!("mesh.services.{name}"), &mut faults);
            service.validate(&mut found);
        }
        self.methods(&mut faults);
        let mut found = Found::at("mesh".to_owned(), &mut faults);
        found.within("drain_ms", self.drain_ms, 0..=MAX_WAIT_MS);
        let idle = self.stream_idle_ms;
        found.within("stream_idle_ms", idle, 1000..=MAX_EJECTION_MS);
        faults
    }

    fn endpoints(&self, faults: &mut Vec<String>) {
        let all: &BTreeMap<ServiceName, Vec<String>> = &self.endpoints;
        for (name, endpoints) in all {
            for endpoint in endpoints {
                if let Err(error) = EndpointError::check(endpoint, self.tls.enabled()) {
                    faults.push(format!("mesh.endpoints.{name}: {error}"));
                }
            }
        }
    }

    fn methods(&self, faults: &mut Vec<String>) {
        let contract = MethodTable::of_contract();
        let known: BTreeMap<&str, Method> = contract.iter().chain(defaults::OWN_METHODS).collect();
        for (name, options) in &self.methods {
            let key = format!("mesh.methods.\"{name}\"");
            match known.get(format!("/{name}").as_str()) {
                Some(method) => {
                    options.validate(*method, &mut Found::at(key, faults));
                }
                None => faults.push(format!(
                    "{key} is no method; expected one such as \
                     `mediamesh.search.v1.SearchService/SearchMedia`, `mediamesh config print` \
                     lists all"
                )),
            }
        }
    }
}

impl ServicePolicyOptions {
    fn validate(&self, found: &mut Found<'_>) {
        found.within("deadline_ms", self.deadline_ms, 0..=MAX_DEADLINE_MS);
        found.within("max_running", self.max_running, 1..=MAX_CALLS);
        found.within("max_in_flight", self.max_in_flight, 1..=MAX_CALLS);
        found.within("max_streams", self.max_streams, 1..=MAX_CALLS);
        found.within("min_running", self.min_running, 1..=MAX_CALLS);
        found.within("initial_running", self.initial_running, 1..=MAX_CALLS);
        found.ordered(
            ("min_running", self.min_running),
            ("max_running", self.max_running),
        );
        found.ordered(
            ("initial_running", self.initial_running),
            ("max_running", self.max_running),
        );
        found.ordered(
            ("max_running", self.max_running),
            ("max_in_flight", self.max_in_flight),
        );
        found.within("background_percent", self.background_percent, 0..=100);
        found.within("max_wait_ms", self.max_wait_ms, 0..=MAX_WAIT_MS);
        self.retry_policy.validate(found);
        self.retry_throttling.validate(found);
        self.outlier_detection.validate(found);
        self.connection.validate(found);
    }
}

impl MethodPolicyOptions {
    fn validate(&self, method: Method, found: &mut Found<'_>) {
        found.within("deadline_ms", self.deadline_ms, 0..=MAX_DEADLINE_MS);
        let attempt = self.attempt_timeout_ms;
        found.within("attempt_timeout_ms", attempt, 0..=MAX_DEADLINE_MS);
        self.retry_policy.validate(found);
        self.hedging_policy.validate(method, found);
    }
}

impl RetryPolicyOptions {
    fn validate(&self, found: &mut Found<'_>) {
        let (initial, max) = (self.initial_backoff_ms, self.max_backoff_ms);
        let attempts = self.max_attempts;
        found.within("retry_policy.max_attempts", attempts, 1..=MAX_ATTEMPTS);
        found.within("retry_policy.initial_backoff_ms", initial, 1..=MAX_WAIT_MS);
        found.within("retry_policy.max_backoff_ms", max, 1..=MAX_WAIT_MS);
        found.ordered(
            ("retry_policy.initial_backoff_ms", initial),
            ("retry_policy.max_backoff_ms", max),
        );
        let multiplier = self.backoff_multiplier;
        found.within("retry_policy.backoff_multiplier", multiplier, 1.0..=10.0);
    }
}

impl HedgingPolicyOptions {
    fn validate(&self, method: Method, found: &mut Found<'_>) {
        let attempts = self.max_attempts;
        match may_hedge(method) {
            true => found.within("hedging_policy.max_attempts", attempts, 1..=2),
            // it has side effects or is a stream, and is never sent twice at once
            false => found.within("hedging_policy.max_attempts", attempts, 1..=1),
        }
        let delay = self.hedging_delay_ms;
        found.within("hedging_policy.hedging_delay_ms", delay, 1..=MAX_WAIT_MS);
        let least = self.min_hedging_delay_ms;
        found.within(
            "hedging_policy.min_hedging_delay_ms",
            least,
            0..=MAX_WAIT_MS,
        );
        let budget = self.budget_percent;
        found.within("hedging_policy.budget_percent", budget, 0.0..=100.0);
    }
}

impl RetryThrottlingOptions {
    fn validate(&self, found: &mut Found<'_>) {
        let (tokens, ratio) = (self.max_tokens, self.token_ratio);
        found.within("retry_throttling.max_tokens", tokens, 1..=10_000);
        found.within("retry_throttling.token_ratio", ratio, 0.0..=1.0);
        let refill = self.tokens_per_second;
        found.within("retry_throttling.tokens_per_second", refill, 0.0..=1000.0);
    }
}

impl OutlierDetectionOptions {
    fn validate(&self, found: &mut Found<'_>) {
        let failures = self.consecutive_failures;
        let (base, max) = (self.base_ejection_time_ms, self.max_ejection_time_ms);
        let key = |name: &str| format!("outlier_detection.{name}");
        found.within(&key("consecutive_failures"), failures, 1..=10_000);
        let floor = self.success_rate_floor;
        found.within(&key("success_rate_floor"), floor, 0.0..=1.0);
        found.within(&key("minimum_calls"), self.minimum_calls, 1..=100_000);
        found.within(&key("base_ejection_time_ms"), base, 1..=MAX_EJECTION_MS);
        found.within(&key("max_ejection_time_ms"), max, 1..=MAX_EJECTION_MS);
        found.ordered(
            (&key("base_ejection_time_ms"), base),
            (&key("max_ejection_time_ms"), max),
        );
        let jitter = self.max_ejection_time_jitter;
        found.within(&key("max_ejection_time_jitter"), jitter, 0.0..=0.9);
        let percent = self.max_ejection_percent;
        found.within(&key("max_ejection_percent"), percent, 0..=100);
    }
}

impl ConnectionOptions {
    fn validate(&self, found: &mut Found<'_>) {
        let key = |name: &str| format!("connection.{name}");
        for (name, value) in [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("initial_backoff_ms", self.initial_backoff_ms),
            ("max_backoff_ms", self.max_backoff_ms),
            ("silence_ms", self.silence_ms),
            ("probe_timeout_ms", self.probe_timeout_ms),
            ("keep_alive_timeout_ms", self.keep_alive_timeout_ms),
            // nothing can be divided by no time
            ("latency_decay_ms", self.latency_decay_ms),
        ] {
            found.within(&key(name), value, 1..=MAX_WAIT_MS);
        }
        found.ordered(
            (&key("initial_backoff_ms"), self.initial_backoff_ms),
            (&key("max_backoff_ms"), self.max_backoff_ms),
        );
        let in_flight = self.max_in_flight;
        found.within(&key("max_in_flight"), in_flight, 1..=MAX_CALLS as u32);
        // without one, whoever has not answered yet costs nothing and is sent every call
        let floor = self.latency_floor_us;
        found.within(&key("latency_floor_us"), floor, 1..=MAX_WAIT_MS * 1000);
        // neither a peer nor a name server must be asked without pause
        for (name, interval) in [
            ("health_interval_ms", self.health_interval_ms),
            ("resolve_interval_ms", self.resolve_interval_ms),
            ("resolve_timeout_ms", self.resolve_timeout_ms),
        ] {
            found.within(&key(name), interval, 100..=MAX_EJECTION_MS);
        }
    }
}

/// Faults of the options at one key.
struct Found<'a> {
    at: String,
    faults: &'a mut Vec<String>,
}

impl<'a> Found<'a> {
    fn at(at: String, faults: &'a mut Vec<String>) -> Self {
        Self { at, faults }
    }

    fn within<T>(&mut self, key: &str, value: Option<T>, allowed: RangeInclusive<T>)
    where
        T: PartialOrd + Display,
    {
        if let Some(value) = value
            && !allowed.contains(&value)
        {
            let (at, least, most) = (&self.at, allowed.start(), allowed.end());
            let fault = match least == most {
                true => format!("{at}.{key} is {value}; it must be {least}"),
                false => format!("{at}.{key} is {value}; it must be {least} to {most}"),
            };
            self.faults.push(fault);
        }
    }

    /// Says so if what should be the lower is above the upper, where both are written.
    fn ordered<T: PartialOrd + Display>(
        &mut self,
        (low_key, low): (&str, Option<T>),
        (high_key, high): (&str, Option<T>),
    ) {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            let at = &self.at;
            self.faults.push(format!(
                "{at}.{low_key} is {low}; it must be at most {high}, the value of {high_key}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn faults(options: Value) -> Vec<String> {
        serde_json::from_value::<PolicyOptions>(options)
            .unwrap()
            .validate()
    }

    /// Asserts that exactly these beginnings of faults are found, in order.
    #[track_caller]
    fn assert_faults(options: Value, expected: &[&str]) {
        let found = faults(options);
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{expected} is not in {found:#?}");
        }
    }

    #[test]
    fn every_fault_of_a_service_names_key_value_and_range() {
        assert_faults(
            json!({"services": {"media": {
                "max_running": 0,
                "background_percent": 101,
                "min_running": 8,
                "retry_policy": {
                    "max_attempts": 0,
                    "initial_backoff_ms": 20,
                    "max_backoff_ms": 10,
                    "backoff_multiplier": -3,
                },
                "retry_throttling": {"max_tokens": 0, "token_ratio": -1},
                "outlier_detection": {
                    "consecutive_failures": 0,
                    "success_rate_floor": 7.5,
                    "max_ejection_time_jitter": 1.5,
                    "max_ejection_percent": 101,
                },
                "connection": {
                    "connect_timeout_ms": 0,
                    "probe_timeout_ms": 0,
                    "latency_decay_ms": 0,
                    "latency_floor_us": 0,
                    "health_interval_ms": 1,
                    "resolve_interval_ms": 0,
                },
            }}}),
            &[
                "mesh.services.media.max_running is 0; it must be 1 to 1000000",
                "mesh.services.media.min_running is 8; it must be at most 0",
                "mesh.services.media.background_percent is 101; it must be 0 to 100",
                "mesh.services.media.retry_policy.max_attempts is 0; it must be 1 to 10",
                "initial_backoff_ms is 20; it must be at most 10, the value of retry_policy.max_back",
                "backoff_multiplier is -3; it must be 1 to 10",
                "retry_throttling.max_tokens is 0; it must be 1 to 10000",
                "retry_throttling.token_ratio is -1; it must be 0 to 1",
                "outlier_detection.consecutive_failures is 0; it must be 1 to 10000",
                "outlier_detection.success_rate_floor is 7.5; it must be 0 to 1",
                "outlier_detection.max_ejection_time_jitter is 1.5; it must be 0 to 0.9",
                "outlier_detection.max_ejection_percent is 101; it must be 0 to 100",
                "connection.connect_timeout_ms is 0; it must be 1 to 600000",
                "connection.probe_timeout_ms is 0; it must be 1 to 600000",
                "connection.latency_decay_ms is 0; it must be 1 to 600000",
                "connection.latency_floor_us is 0; it must be 1 to 600000000",
                "connection.health_interval_ms is 1; it must be 100 to 3600000",
                "connection.resolve_interval_ms is 0; it must be 100 to 3600000",
            ],
        );
    }

    #[test]
    fn methods_must_exist_and_only_reads_may_be_hedged() {
        assert_faults(
            json!({"methods": {
                "mediamesh.media.v1.MediaService/DeleteMediaItem": {
                    "hedging_policy": {"max_attempts": 2},
                },
                "mediamesh.media.v1.MediaService/GetMediaItem": {
                    "deadline_ms": 86_400_001_u64,
                    "hedging_policy": {
                        "max_attempts": 9,
                        "min_hedging_delay_ms": 600_001,
                        "budget_percent": 100.5,
                    },
                },
                "mediamesh.media.v1.MediaService/GetMedai": {},
            }}),
            &[
                "DeleteMediaItem\".hedging_policy.max_attempts is 2; it must be 1",
                "mesh.methods.\"mediamesh.media.v1.MediaService/GetMedai\" is no method",
                "GetMediaItem\".deadline_ms is 86400001; it must be 0 to 86400000",
                "GetMediaItem\".hedging_policy.max_attempts is 9; it must be 1 to 2",
                "hedging_policy.min_hedging_delay_ms is 600001; it must be 0 to 600000",
                "hedging_policy.budget_percent is 100.5; it must be 0 to 100",
            ],
        );
    }

    #[test]
    fn endpoints_are_read_when_the_configuration_is() {
        let tls = json!({"ca": "a", "cert": "b", "key": "c"});
        let endpoints = json!({"search": ["http://a:1", "dns:///b:1", "a:1"]});
        assert_faults(json!({"endpoints": endpoints}), &["search: endpoint `a:1`"]);
        let endpoints = json!({"search": ["http://a:1", "https://a:1", "dns:///b:1"]});
        assert_faults(
            json!({"endpoints": endpoints, "tls": tls}),
            &["mesh.endpoints.search: endpoint `http://a:1` is not valid"],
        );
        let endpoints = json!({"cache": ["http://user:secret@a:1"]});
        let found = faults(json!({"endpoints": endpoints}));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(!found[0].contains("secret"), "{found:?}");
    }

    #[test]
    fn the_defaults_and_what_is_in_range_have_no_fault() {
        assert_eq!(PolicyOptions::default().validate(), Vec::<String>::new());
        assert_faults(
            json!({
                "services": {"search": {"deadline_ms": 0, "max_wait_ms": 0}},
                "methods": {"mediamesh.search.v1.SearchService/SearchMedia": {
                    "deadline_ms": 0,
                    "hedging_policy": {"max_attempts": 2},
                }},
            }),
            &[],
        );
    }
}
