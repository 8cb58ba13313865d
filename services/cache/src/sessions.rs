//! Sessions: who is logged in.
//!
//! # What is promised
//!
//! - A session lives for `ttl` from its last use and never beyond its end; after that it is not
//!   answered, swept or not.
//! - Every change is one step in the store: racing updates lose nothing, and a revocation of all
//!   misses none.
//! - The store never sees an id, only a handle made from its hash.
//! - Where a Redis is configured, sessions are in it and nowhere else: while it does not answer, every
//!   call is UNAVAILABLE. Memory is never asked instead, which might know an ended session as live.
//!
//! # Modules
//!
//! - [`options`]: what can be set; `own_redis`: a Redis that is theirs alone
//! - `record`: a session as it is stored
//! - `store`: memory or Redis behind one type; the commands of Redis are in `crate::redis::sessions`
//! - `memory`: sessions of one process; `journal`: the file by which they survive its end
//! - `service`: one function per operation; `change`: what an update does to a session
//! - `grpc`, `convert`: the generated trait
//! - `sweep`: what is over is removed
//! - `metrics`: every metric of sessions

mod change;
mod convert;
mod grpc;
mod journal;
mod memory;
mod metrics;
pub mod options;
mod own_redis;
pub(crate) mod record;
mod service;
pub(crate) mod store;
mod sweep;

pub(crate) use grpc::Grpc;
pub use journal::OpenError;
pub(crate) use memory::Memory;
pub(crate) use metrics::SessionMetrics;
pub use options::SessionOptions;
pub use own_redis::SessionRedisOptions;
pub(crate) use service::Sessions;
pub(crate) use store::Store;
pub(crate) use sweep::sweep;
