//! Settings of the memory in front of the cache service.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Entries of the cache service that its callers keep in their own memory. A process that runs the
/// cache service itself keeps none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Memory for them in bytes; 0 = every look-up is a call.
    pub max_bytes: u64,
    /// Longest time an entry is kept before it is asked for again, seconds.
    pub max_age_secs: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 20,
            // changes are heard of; this is for what is not, as a clock that was set back
            max_age_secs: 60,
        }
    }
}

impl Options {
    /// Every fault of these settings, one sentence each.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        // the largest value of a cache service with default settings, and its key
        if self.max_bytes != 0 && self.max_bytes < 2 << 20 {
            faults.push(format!(
                "near_cache.max_bytes is {}; it must be 0 or at least 2097152",
                self.max_bytes
            ));
        }
        if self.max_age_secs == 0 {
            faults.push("near_cache.max_age_secs is 0; it must be at least 1".to_owned());
        }
        faults
    }
}
