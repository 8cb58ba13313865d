//! Faults on purpose: servers that are slow, fail, never answer or break off.
//!
//! A server can be told to spoil a part of its calls, so that tests and drills see what callers
//! make of it. Only builds with the feature `fault` can: `cargo test` builds them, and `cargo build
//! --features fault` does; in any other build a configuration with faults is refused, and no code
//! for them exists.
//!
//! The rules are tried in order for each call. One that applies and whose dice fall so spoils the
//! call: a delay makes it wait and goes on to the next rule, every other kind ends it. The dice are
//! seeded, so the same calls in the same order meet the same faults. Health and reflection are
//! spoiled only by rules that name them.
//!
//! - [`FaultOptions`], [`FaultRule`]: the rules, from `mesh.faults` of the configuration
//! - [`Faults`]: the rules in force, which can be replaced while the server runs
//! - [`router`]: `/admin/faults`, which does that
//! - `layer`: the layer, below the deadline and above shedding

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tonic::Code;

use crate::ServiceName;
use crate::status::code_name;

#[cfg(not(feature = "fault"))]
mod absent;
#[cfg(feature = "fault")]
mod admin;
#[cfg(feature = "fault")]
mod in_force;
#[cfg(feature = "fault")]
pub(crate) mod layer;

#[cfg(not(feature = "fault"))]
pub use absent::{Faults, router};
#[cfg(feature = "fault")]
pub use admin::router;
#[cfg(feature = "fault")]
pub use in_force::Faults;

/// Whether this build can inject faults.
pub const ENABLED: bool = cfg!(feature = "fault");

/// Longest delay, milliseconds: an hour is longer than every deadline.
const MAX_DELAY_MS: u64 = 3_600_000;

/// Faults that servers inject; only builds with the feature `fault` take any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FaultOptions {
    /// Seed of the dice: the same calls in the same order meet the same faults.
    pub seed: u64,
    /// What happens to which calls, tried in order.
    pub rules: Vec<FaultRule>,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRule {
    /// Service whose calls it may spoil; absent = every one.
    pub service: Option<ServiceName>,
    /// Method path without the leading slash, e.g. `mediamesh.search.v1.SearchService/SearchMedia`;
    /// absent = every one.
    pub method: Option<String>,
    /// Share of those calls, 0 to 1.
    pub rate: f64,
    /// `delay`, `status`, `drop` or `reset`.
    pub kind: FaultKind,
    /// For `delay`: how long, milliseconds.
    pub delay_ms: u64,
    /// For `status`: name of the gRPC code.
    pub code: String,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It waits for `delay_ms` and goes on.
    #[default]
    Delay,
    /// It is answered with the status `code`, and does not reach its handler.
    Status,
    /// It is never answered.
    Drop,
    /// Its response begins and breaks off: over TCP the stream is reset.
    Reset,
}

impl Default for FaultRule {
    fn default() -> Self {
        Self {
            service: None,
            method: None,
            rate: 1.0,
            kind: FaultKind::Delay,
            delay_ms: 0,
            code: code_name(Code::Unavailable).to_owned(),
        }
    }
}

impl FaultOptions {
    /// Returns whether there is no fault.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns everything that is wrong with the options in this build.
    pub fn validate(&self) -> Vec<String> {
        if !ENABLED && !self.is_empty() {
            return vec![
                "mesh.faults has rules, but this build cannot inject faults: build it with \
                 `--features fault`, or remove them"
                    .to_owned(),
            ];
        }
        let rules = self.rules.iter().enumerate();
        rules
            .flat_map(|(index, rule)| {
                let faults = rule.validate().into_iter();
                faults.map(move |fault| format!("mesh.faults.rules[{index}].{fault}"))
            })
            .collect()
    }
}

impl FaultRule {
    fn validate(&self) -> Vec<String> {
        let mut faults = vec![];
        if !(0.0..=1.0).contains(&self.rate) {
            faults.push(format!("rate is {}; it must be in [0, 1]", self.rate));
        }
        if self.kind == FaultKind::Delay && !(1..=MAX_DELAY_MS).contains(&self.delay_ms) {
            let delay = self.delay_ms;
            faults.push(format!(
                "delay_ms is {delay}; it must be 1 to {MAX_DELAY_MS}"
            ));
        }
        if self.kind == FaultKind::Status && self.code().is_none() {
            let code = &self.code;
            faults.push(format!(
                "code is `{code}`, expected the name of a gRPC error such as UNAVAILABLE"
            ));
        }
        if self
            .method
            .as_ref()
            .is_some_and(|method| method.starts_with('/'))
        {
            faults.push("method starts with a slash; write it without".to_owned());
        }
        faults
    }

    fn code(&self) -> Option<Code> {
        (1..=16)
            .map(Code::from_i32)
            .find(|code| code_name(*code) == self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_rules_is_named() {
        let options = FaultOptions {
            rules: vec![
                FaultRule {
                    rate: 1.5,
                    ..Default::default()
                },
                FaultRule {
                    kind: FaultKind::Status,
                    code: "OK".into(),
                    method: Some("/a.B/C".into()),
                    ..Default::default()
                },
            ],
            ..Default::default()
        };
        let faults = options.validate();
        if ENABLED {
            assert_eq!(faults.len(), 4, "{faults:?}");
            assert!(faults[0].starts_with("mesh.faults.rules[0].rate is 1.5"));
            assert!(faults[1].contains("delay_ms is 0"), "{faults:?}");
            assert!(faults[2].contains("`OK`"), "{faults:?}");
        } else {
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].contains("--features fault"), "{faults:?}");
        }
        assert!(FaultOptions::default().validate().is_empty());
    }
}
