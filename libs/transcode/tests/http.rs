//! The generated routes over real sockets: HTTP in front, a gRPC server behind.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "http/rig.rs"]
#[allow(dead_code, reason = "shared with the measurement")]
mod rig;

#[path = "http/errors.rs"]
mod errors;
#[path = "http/requests.rs"]
mod requests;
#[path = "http/streams.rs"]
mod streams;
