//! A Redis that sessions have to themselves.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redis::{RedisOptions, options::Password};

/// A Redis for sessions alone, which should keep what it holds (`noeviction`, `appendonly yes`) while that of the
/// cache drops what it has no room for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionRedisOptions {
    /// Where it is, as in `cache.redis.urls`. Empty = sessions are in the Redis of `cache.redis` if there is
    /// one, else in the process and its data folder.
    pub urls: Vec<String>,
    /// It is a Redis Cluster.
    pub cluster: bool,
    /// User; absent = the default one.
    pub username: Option<String>,
    /// Password; absent = none.
    pub password: Option<Password>,
    /// File with the certificates, PEM, that vouch for the server's; absent = the system's.
    pub ca_file: Option<PathBuf>,
    /// Prefix of every key. Meshes that share a Redis need one each.
    pub prefix: String,
    /// What an entry of the cache would be waited for, milliseconds; a session, without which its user gets
    /// an error, four times as long.
    pub timeout_millis: u64,
    /// Longest wait for a connection, milliseconds.
    pub connect_timeout_millis: u64,
}

impl Default for SessionRedisOptions {
    fn default() -> Self {
        let of_the_cache = RedisOptions::default();
        Self {
            urls: of_the_cache.urls,
            cluster: of_the_cache.cluster,
            username: of_the_cache.username,
            password: of_the_cache.password,
            ca_file: of_the_cache.ca_file,
            prefix: of_the_cache.prefix,
            timeout_millis: of_the_cache.timeout_millis,
            connect_timeout_millis: of_the_cache.connect_timeout_millis,
        }
    }
}

impl SessionRedisOptions {
    /// Every fault of these settings, one sentence each; never a password in it.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        self.connection().faults("cache.sessions.redis")
    }

    /// As what connects takes it.
    pub(crate) fn connection(&self) -> RedisOptions {
        RedisOptions {
            urls: self.urls.clone(),
            cluster: self.cluster,
            username: self.username.clone(),
            password: self.password.clone(),
            ca_file: self.ca_file.clone(),
            prefix: self.prefix.clone(),
            timeout_millis: self.timeout_millis,
            connect_timeout_millis: self.connect_timeout_millis,
            ..RedisOptions::default()
        }
    }
}
