//! The second tier: a Redis, or a Redis Cluster, that all processes share.
//!
//! # What is promised
//!
//! - No request fails because of Redis, and none waits for it longer than `timeout_millis` a step:
//!   an error or silence is a miss. After five in a row the breaker opens and nothing is asked but
//!   by the keeper, until it answers again.
//! - An entry is never answered after a removal that covers it returned, by the process that
//!   removed it. A removal that did not reach Redis goes to the journal; while that is not empty
//!   nothing is read from Redis.
//! - Other processes hear of a change through the feed, a stream in Redis, within milliseconds, and
//!   after an outage of Redis all that they missed. A process that cannot catch up drops its memory.
//!
//! Sessions may have a Redis of their own (`cache.sessions.redis`): another connection, breaker and keeper,
//! and no feed or journal, since nothing of it is ever in memory.
//!
//! What is not: a process that is killed while Redis is away takes its journal with it, and a
//! fail-over of Redis may lose the last writes it confirmed. What is stale then ends with its time
//! to live, in memory after `max_memory_age_secs`.
//!
//! # Modules
//!
//! - [`options`]: what can be set
//! - `connection`: one server or a cluster behind one type; `fault`: how a call ends
//! - `batch`: commands for many keys; `slots`: which master has which key
//! - `keys`: names of keys; `codec`: entries as bytes; `scripts`: what must happen at once
//! - `searches`: what is searched for, counted in Redis
//! - `sessions`, `session_scripts`: sessions, which live here and nowhere else
//! - `store`: entries in Redis; `scan`: removal by pattern; `stats`: what Redis says of itself
//! - `journal`: removals that Redis has not been told of; `keeper`: connects, probes, replays
//! - `feed`: what happened, to and from the other processes

mod batch;
mod codec;
mod connection;
mod fault;
mod feed;
mod journal;
mod keeper;
mod keys;
mod metrics;
pub mod options;
mod scan;
mod scripts;
mod searches;
mod session_scripts;
mod sessions;
mod slots;
mod stats;
mod store;

pub(crate) use connection::Connector;
pub(crate) use fault::Fault;
pub(crate) use feed::{
    Change, Queue as FeedQueue, Told, Writer as FeedWriter, read as read_feed, write as write_feed,
};
pub(crate) use journal::Removal;
pub(crate) use keeper::keep;
pub(crate) use metrics::RedisMetrics;
pub use options::RedisOptions;
pub(crate) use store::{Claimed, Redis, Role};
