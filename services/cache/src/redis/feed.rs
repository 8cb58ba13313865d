//! What happened, to and from the other processes: a stream in Redis.
//!
//! A stream and not pub/sub, because a reader that was away goes on where it was. A reader knows that
//! it missed nothing as long as the last event it read is still there; when it is not (trimmed, lost
//! in a fail-over, Redis started empty), memory is dropped and reading begins anew.

mod reader;
mod writer;

use mediamesh_proto::cache::v1::Invalidation;

pub(crate) use reader::read;
pub(crate) use writer::{Queue, Writer, write};

/// Which entries are no longer what they were.
pub(crate) type Change = Invalidation;

/// What a reader tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// Another process changed something.
    Changed(Change),
    /// Changes were missed: nothing in memory is to be relied on.
    Missed,
}

/// Field of an event that names who wrote it.
const ORIGIN: &str = "o";
/// Field of an event that holds the change.
const CHANGE: &str = "c";
