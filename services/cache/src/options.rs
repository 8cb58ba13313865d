//! Settings of the cache service.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::{redis::RedisOptions, sessions::SessionOptions};

/// Settings of the cache service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Memory for entries in bytes: keys, values and tags.
    pub max_bytes: u64,
    /// Longest key in bytes.
    pub max_key_bytes: usize,
    /// Largest value in bytes.
    pub max_value_bytes: usize,
    /// Most tags of one entry.
    pub max_tags: usize,
    /// Longest tag in bytes.
    pub max_tag_bytes: usize,
    /// Most keys or entries of one batch.
    pub max_batch: usize,
    /// Time to live of entries that do not say, in seconds.
    pub default_ttl_secs: u64,
    /// Longest time to live in seconds; longer ones are cut to it.
    pub max_ttl_secs: u64,
    /// Longest lease in seconds; longer ones are cut to it.
    pub max_lease_secs: u64,
    /// A Redis behind the memory, shared by all processes of the service.
    pub redis: RedisOptions,
    /// Who is logged in.
    pub sessions: SessionOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_key_bytes: 512,
            max_value_bytes: 1 << 20,
            max_tags: 32,
            max_tag_bytes: 128,
            max_batch: 1000,
            default_ttl_secs: 3600,
            max_ttl_secs: 30 * 24 * 3600,
            // A holder that died is waited for no longer than this.
            max_lease_secs: 300,
            redis: RedisOptions::default(),
            sessions: SessionOptions::default(),
        }
    }
}

impl Options {
    /// Every fault of these settings, one sentence each.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |bad: bool, text: String| {
            if bad {
                faults.push(text);
            }
        };
        let largest = (self.max_key_bytes + self.max_value_bytes) as u64;
        check(
            self.max_bytes < 2 * largest,
            format!(
                "cache.max_bytes is {}; it must hold two entries of cache.max_key_bytes + \
                 cache.max_value_bytes ({largest})",
                self.max_bytes
            ),
        );
        check(
            self.max_value_bytes > 8 << 20,
            format!(
                "cache.max_value_bytes is {}; limit is 8388608",
                self.max_value_bytes
            ),
        );
        check(
            self.max_tag_bytes > 4096,
            format!(
                "cache.max_tag_bytes is {}; limit is 4096",
                self.max_tag_bytes
            ),
        );
        for (name, value) in [
            ("max_key_bytes", self.max_key_bytes as u64),
            ("max_value_bytes", self.max_value_bytes as u64),
            ("max_tag_bytes", self.max_tag_bytes as u64),
            ("max_batch", self.max_batch as u64),
            ("default_ttl_secs", self.default_ttl_secs),
            ("max_lease_secs", self.max_lease_secs),
        ] {
            check(
                value == 0,
                format!("cache.{name} is 0; it must be at least 1"),
            );
        }
        check(
            self.max_ttl_secs < self.default_ttl_secs,
            format!(
                "cache.max_ttl_secs is {}; it must be at least cache.default_ttl_secs ({})",
                self.max_ttl_secs, self.default_ttl_secs
            ),
        );
        faults.extend(self.redis.validate());
        faults.extend(self.sessions.validate());
        faults
    }

    pub(crate) fn default_ttl(&self) -> Duration {
        Duration::from_secs(self.default_ttl_secs)
    }

    pub(crate) fn max_ttl(&self) -> Duration {
        Duration::from_secs(self.max_ttl_secs)
    }

    pub(crate) fn max_lease(&self) -> Duration {
        Duration::from_secs(self.max_lease_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_at_once_and_the_defaults_have_none() {
        assert_eq!(Options::default().validate(), Vec::<String>::new());
        let bad = Options {
            max_bytes: 1,
            max_batch: 0,
            max_ttl_secs: 1,
            ..Options::default()
        };
        assert_eq!(bad.validate().len(), 3);
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(serde_json::from_str::<Options>(r#"{"max_byte": 1}"#).is_err());
    }
}
