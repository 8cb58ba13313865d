//! The rules in force.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tonic::Code;

use super::{FaultKind, FaultOptions, FaultRule};
use crate::ServiceName;
use crate::method::split_path;
use crate::policy::defaults::UNLIMITED_PREFIX;

/// The faults that servers inject now; clones share them.
#[derive(Clone)]
pub struct Faults {
    rules: Arc<ArcSwap<Rules>>,
}

struct Rules {
    options: FaultOptions,
    /// How often each rule was asked, which is what its dice depend on.
    asked: Vec<AtomicU64>,
}

/// What is to happen to one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) delay: Duration,
    pub(crate) end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Status(Code),
    Drop,
    Reset,
}

impl Faults {
    pub(crate) fn new(options: &FaultOptions) -> Self {
        let faults = Self {
            rules: Arc::new(ArcSwap::from_pointee(Rules::new(FaultOptions::default()))),
        };
        if let Err(invalid) = faults.replace(options.clone()) {
            tracing::error!(?invalid, "faults are not injected");
        }
        faults
    }

    /// Puts other faults in force, for calls that come from now on; their dice start anew.
    ///
    /// Errors: everything that is wrong with them; the old ones then stay.
    pub fn replace(&self, options: FaultOptions) -> Result<(), Vec<String>> {
        let invalid = options.validate();
        if !invalid.is_empty() {
            return Err(invalid);
        }
        if !options.is_empty() {
            tracing::warn!(rules = options.rules.len(), "calls meet faults on purpose");
        }
        self.rules.store(Arc::new(Rules::new(options)));
        Ok(())
    }

    /// Returns the faults in force.
    pub fn options(&self) -> FaultOptions {
        self.rules.load().options.clone()
    }

    /// Returns what is to happen to a call of `path`; `None` if nothing is.
    pub(crate) fn plan(&self, path: &str) -> Option<Plan> {
        let rules = self.rules.load();
        if rules.options.is_empty() {
            return None;
        }
        let mut plan = Plan::default();
        for (index, rule) in rules.options.rules.iter().enumerate() {
            if !rule.applies_to(path) || !rules.falls(index, rule.rate) {
                continue;
            }
            plan.end = Some(match rule.kind {
                FaultKind::Delay => {
                    plan.delay += Duration::from_millis(rule.delay_ms);
                    continue;
                }
                FaultKind::Status => End::Status(rule.code().unwrap_or(Code::Unavailable)),
                FaultKind::Drop => End::Drop,
                FaultKind::Reset => End::Reset,
            });
            break;
        }
        (plan != Plan::default()).then_some(plan)
    }
}

impl Rules {
    fn new(options: FaultOptions) -> Self {
        let asked = options.rules.iter().map(|_| AtomicU64::new(0)).collect();
        Self { options, asked }
    }

    /// Throws the dice of a rule.
    fn falls(&self, index: usize, rate: f64) -> bool {
        let Some(asked) = self.asked.get(index) else {
            return false;
        };
        let turn = asked.fetch_add(1, Ordering::Relaxed);
        let stream = self.options.seed.wrapping_add((index as u64) << 48);
        let dice = mix(stream.wrapping_add(turn.wrapping_mul(GOLDEN_GAMMA)));
        // The upper 53 bits make every f64 in [0, 1) of that grain.
        ((dice >> 11) as f64) / ((1_u64 << 53) as f64) < rate
    }
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Source: SplitMix64, Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
/// OOPSLA 2014.
const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(GOLDEN_GAMMA);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl FaultRule {
    fn applies_to(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        let (service, _) = split_path(path);
        match &self.method {
            Some(method) if method != path => return false,
            Some(_) => {}
            None if service.starts_with(UNLIMITED_PREFIX) => return false,
            None => {}
        }
        self.service
            .is_none_or(|name| ServiceName::from_grpc_service(service) == Some(name))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.options()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: &str = "/mediamesh.search.v1.SearchService/SearchMedia";
    const MEDIA: &str = "/mediamesh.media.v1.MediaService/GetMediaItem";
    const HEALTH: &str = "/grpc.health.v1.Health/Check";

    fn faults(rules: Vec<FaultRule>) -> Faults {
        Faults::new(&FaultOptions { seed: 7, rules })
    }

    fn status(service: Option<ServiceName>, method: Option<&str>, rate: f64) -> FaultRule {
        FaultRule {
            service,
            method: method.map(str::to_owned),
            rate,
            kind: FaultKind::Status,
            ..Default::default()
        }
    }

    #[test]
    fn rules_choose_by_service_and_method_and_spare_health() {
        let all = faults(vec![status(None, None, 1.0)]);
        assert!(all.plan(SEARCH).is_some() && all.plan(MEDIA).is_some());
        assert_eq!(all.plan(HEALTH), None);
        let health = faults(vec![status(None, Some("grpc.health.v1.Health/Check"), 1.0)]);
        assert!(health.plan(HEALTH).is_some());
        let search = faults(vec![status(Some(ServiceName::Search), None, 1.0)]);
        assert!(search.plan(SEARCH).is_some() && search.plan(MEDIA).is_none());
        let other = "mediamesh.search.v1.SearchService/IndexMedia";
        let method = faults(vec![status(None, Some(other), 1.0)]);
        assert!(method.plan(SEARCH).is_none());
    }

    #[test]
    fn the_rate_holds_and_the_seed_repeats_it() {
        let draw = |seed| {
            let faults = Faults::new(&FaultOptions {
                seed,
                rules: vec![status(None, None, 0.3)],
            });
            (0..10_000)
                .map(|_| faults.plan(SEARCH).is_some())
                .collect::<Vec<_>>()
        };
        let first = draw(1);
        let count = first.iter().filter(|hit| **hit).count();
        assert!((2_800..3_200).contains(&count), "{count} of 10000");
        assert_eq!(first, draw(1));
        assert_ne!(first, draw(2));
        let never = faults(vec![status(None, None, 0.0)]);
        assert!((0..1_000).all(|_| never.plan(SEARCH).is_none()));
    }

    #[test]
    fn delays_add_up_and_go_on_to_the_next_rule() {
        let delay = FaultRule {
            delay_ms: 20,
            ..Default::default()
        };
        let drop = FaultRule {
            kind: FaultKind::Drop,
            ..Default::default()
        };
        let faults = faults(vec![delay.clone(), delay, drop, status(None, None, 1.0)]);
        let plan = Plan {
            delay: Duration::from_millis(40),
            end: Some(End::Drop),
        };
        assert_eq!(faults.plan(MEDIA), Some(plan));
        faults.replace(FaultOptions::default()).unwrap();
        assert_eq!(faults.plan(MEDIA), None);
        let invalid = FaultOptions {
            rules: vec![FaultRule::default()],
            ..Default::default()
        };
        assert_eq!(faults.replace(invalid).unwrap_err().len(), 1);
        assert!(faults.options().is_empty());
    }
}
