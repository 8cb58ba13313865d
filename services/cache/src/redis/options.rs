//! Settings of the second tier.

use std::{fmt, path::PathBuf, time::Duration};

use redis::IntoConnectionInfo as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Redis that all processes of the cache service share, behind their memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedisOptions {
    /// Where it is: `redis://host:6379`, or `rediss://host:6379` for TLS; with `/2` at the end for
    /// another database. Redis 7 or newer, or Valkey. Several are the first nodes to ask of a
    /// cluster. Empty = memory only.
    pub urls: Vec<String>,
    /// It is a Redis Cluster.
    pub cluster: bool,
    /// User; absent = the default one.
    pub username: Option<String>,
    /// Password; absent = none.
    pub password: Option<Password>,
    /// File with the certificates, PEM, that vouch for the server's; absent = the system's.
    pub ca_file: Option<PathBuf>,
    /// Prefix of every key. Meshes that share a Redis need one each (S1-3, S2-9).
    pub prefix: String,
    /// Longest wait for an answer, milliseconds; steps with many keys get more. Beyond it the call
    /// counts as failed and the request goes on without.
    pub timeout_millis: u64,
    /// Longest wait for a connection, milliseconds.
    pub connect_timeout_millis: u64,
    /// Longest time an entry stays in the memory of a process before it is read again, seconds: a
    /// bound for what is stale when Redis itself loses writes.
    pub max_memory_age_secs: u64,
    /// Changes the feed holds. A process that was away for more drops its memory.
    pub feed_length: u64,
}

/// A password; `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            cluster: false,
            username: None,
            password: None,
            ca_file: None,
            prefix: "mediamesh:".to_owned(),
            // A hundred times what it takes; more would be felt by who waits for a search.
            timeout_millis: 100,
            connect_timeout_millis: 1000,
            // One read in five minutes and process costs nothing.
            max_memory_age_secs: 300,
            // Minutes of heavy writing, about 10 MiB.
            feed_length: 65_536,
        }
    }
}

impl RedisOptions {
    /// Whether there is a second tier.
    #[must_use]
    pub fn enabled(&self) -> bool {
        !self.urls.is_empty()
    }

    /// Every fault of these settings, one sentence each; never a password in it.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        self.faults("cache.redis")
    }

    /// The same for settings of this name.
    pub(crate) fn faults(&self, section: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for (at, url) in self.urls.iter().enumerate() {
            let name = format!("{section}.urls[{at}]");
            match url.as_str().into_connection_info() {
                Err(error) => faults.push(format!(
                    "{name} is no address of a Redis, such as redis://127.0.0.1:6379: {}",
                    error.detail().unwrap_or("it does not parse")
                )),
                Ok(info) if info.redis_settings().password().is_some() => faults.push(format!(
                    "{name} holds a password; write it in {section}.password"
                )),
                Ok(info) if self.cluster && info.redis_settings().db() != 0 => faults.push(
                    format!("{name} names a database; a Redis Cluster has one only"),
                ),
                Ok(_) => {}
            }
        }
        if self.urls.len() > 1 && !self.cluster {
            faults.push(format!(
                "{section}.urls holds {}; without {section}.cluster = true there is one",
                self.urls.len()
            ));
        }
        let plain = self.urls.iter().any(|url| !url.starts_with("rediss://"));
        if self.ca_file.is_some() && plain {
            faults.push(format!(
                "{section}.ca_file is set, but not every address of {section}.urls is rediss://"
            ));
        }
        if self.prefix.contains(['{', '}', '*', '?', '[', ']', '\\']) {
            faults.push(format!(
                "{section}.prefix is {:?}; it must not hold any of {{ }} * ? [ ] \\",
                self.prefix
            ));
        }
        for (name, value) in [
            ("timeout_millis", self.timeout_millis),
            ("connect_timeout_millis", self.connect_timeout_millis),
            ("max_memory_age_secs", self.max_memory_age_secs),
            ("feed_length", self.feed_length),
        ] {
            if value == 0 {
                faults.push(format!("{section}.{name} is 0; it must be at least 1"));
            }
        }
        faults
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_millis)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_millis)
    }

    pub(crate) fn max_memory_age(&self) -> Option<Duration> {
        self.enabled()
            .then(|| Duration::from_secs(self.max_memory_age_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_at_once_and_no_password_is_shown() {
        assert_eq!(RedisOptions::default().validate(), Vec::<String>::new());
        let good = RedisOptions {
            urls: vec!["rediss://cache.example:6380/2".to_owned()],
            ca_file: Some("ca.pem".into()),
            ..RedisOptions::default()
        };
        assert_eq!(good.validate(), Vec::<String>::new());
        let bad = RedisOptions {
            urls: vec![
                "nonsense".to_owned(),
                "redis://:hunter2@a".to_owned(),
                "redis://a/3".to_owned(),
            ],
            cluster: true,
            password: Some(Password("hunter2".to_owned())),
            ca_file: Some("ca.pem".into()),
            prefix: "a{b}".to_owned(),
            timeout_millis: 0,
            ..RedisOptions::default()
        };
        let faults = bad.validate();
        assert_eq!(faults.len(), 6, "{faults:#?}");
        let shown = format!("{faults:?} {:?}", bad.password);
        assert!(!shown.contains("hunter2"), "{shown}");
        let two = RedisOptions {
            urls: vec!["redis://a".to_owned(), "redis://b".to_owned()],
            ..RedisOptions::default()
        };
        assert_eq!(two.validate().len(), 1);
    }
}
