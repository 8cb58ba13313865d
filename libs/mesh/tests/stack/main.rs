//! The whole stack, client and server, in process and over loopback TCP.
#![allow(clippy::unwrap_used, missing_docs)]

mod behaviour;
mod cut;
mod direct;
mod drain;
mod echo;
#[cfg(feature = "fault")]
mod faults;
mod load;
mod mesh;
mod overload;
mod probes;
mod silent;
mod tracing_context;
mod unread;
