//! Settings of sessions.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::own_redis::SessionRedisOptions;

/// Who is logged in, for how long, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionOptions {
    /// How long a session lives without use, in seconds; each use begins it anew (S1-36).
    pub ttl_secs: u64,
    /// How long it lives however it is used, in seconds.
    pub max_lifetime_secs: u64,
    /// Most sessions of one user; a further one ends the one that was longest without use.
    pub max_per_user: usize,
    /// Most data of one session in bytes: texts of its user and all of its metadata.
    pub max_data_bytes: usize,
    /// Most sessions of all users where they are kept in memory; with Redis its own memory is the
    /// limit.
    pub max_in_memory: usize,
    /// How often what is over is removed, in seconds (S1-41).
    pub sweep_interval_secs: u64,
    /// A Redis of their own, in place of that of the cache.
    pub redis: SessionRedisOptions,
}

/// Longest life: browsers keep no cookie longer (RFC 6265bis, section 5.5).
const MAX_LIFETIME_SECS: u64 = 400 * 24 * 3600;
/// Most data: a user's sessions are read as a whole.
const MAX_DATA_BYTES: usize = 64 << 10;
/// Most sessions of a user, for the same reason.
const MAX_PER_USER: usize = 1000;

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            ttl_secs: 24 * 3600,
            // who uses it daily logs in once a month
            max_lifetime_secs: 30 * 24 * 3600,
            // a person's devices many times over
            max_per_user: 100,
            max_data_bytes: 4096,
            // about 100 MiB with ordinary data
            max_in_memory: 100_000,
            sweep_interval_secs: 600,
            redis: SessionRedisOptions::default(),
        }
    }
}

impl SessionOptions {
    /// Every fault of these settings, one sentence each.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, value, least, most) in [
            ("ttl_secs", self.ttl_secs, 1, self.max_lifetime_secs),
            (
                "max_lifetime_secs",
                self.max_lifetime_secs,
                1,
                MAX_LIFETIME_SECS,
            ),
            (
                "max_per_user",
                self.max_per_user as u64,
                1,
                MAX_PER_USER as u64,
            ),
            (
                "max_data_bytes",
                self.max_data_bytes as u64,
                128,
                MAX_DATA_BYTES as u64,
            ),
            ("max_in_memory", self.max_in_memory as u64, 1, 10_000_000),
            (
                "sweep_interval_secs",
                self.sweep_interval_secs,
                1,
                24 * 3600,
            ),
        ] {
            if !(least..=most).contains(&value) {
                faults.push(format!(
                    "cache.sessions.{name} is {value}; it must be {least} to {most}"
                ));
            }
        }
        faults.extend(self.redis.validate());
        faults
    }

    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl_secs)
    }

    pub(crate) fn max_lifetime(&self) -> Duration {
        Duration::from_secs(self.max_lifetime_secs)
    }

    pub(crate) fn sweep_interval(&self) -> Duration {
        Duration::from_secs(self.sweep_interval_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_at_once_and_the_defaults_have_none() {
        assert_eq!(SessionOptions::default().validate(), Vec::<String>::new());
        let bad = SessionOptions {
            ttl_secs: 0,
            max_per_user: 0,
            max_data_bytes: 1 << 30,
            ..SessionOptions::default()
        };
        assert_eq!(bad.validate().len(), 3);
        let longer = SessionOptions {
            max_lifetime_secs: 60,
            ..SessionOptions::default()
        };
        assert_eq!(longer.validate().len(), 1, "a ttl beyond the whole life");
        let mut lost = SessionOptions::default();
        lost.redis.urls = vec!["redis://:hunter2@a".to_owned(), "redis://b".to_owned()];
        let faults = lost.validate();
        assert_eq!(faults.len(), 2, "{faults:?}");
        for fault in faults {
            assert!(fault.starts_with("cache.sessions.redis.urls"), "{fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }
}
