//! The media service over its real stack: gRPC in process, SQLite, files, and fakes of the two
//! services it calls.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod fakes;
mod items;
mod queue;
mod rig;
mod upload;
mod worker;
