//! A real Redis as processes of their own: a single server, or a cluster of three masters with a
//! replica each.

mod cluster;
mod server;

use std::path::{Path, PathBuf};

use crate::require;

pub use cluster::RedisCluster;
pub use server::{Redis, RedisTls};

/// Variable with the folder of `redis-server` and `redis-cli`.
const FOLDER: &str = "MEDIAMESH_TEST_REDIS";

/// The folder of `redis-server` and `redis-cli`, if there is one; says on standard error that the
/// test skips if not.
///
/// # Panics
/// If `redis` is required and missing.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    let named = std::env::var_os(FOLDER).map(PathBuf::from);
    let fetched = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/redis/bin");
    let folder = Some(named.unwrap_or_else(fetched)).filter(|folder| {
        ["redis-server", "redis-cli"]
            .iter()
            .all(|name| folder.join(name).metadata().is_ok())
    });
    require::found(
        "redis",
        folder,
        "scripts/redis.sh gets one; MEDIAMESH_TEST_REDIS names another folder",
    )
}
