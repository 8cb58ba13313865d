//! The whole stack, client and server, in process and over loopback TCP.
#![allow(clippy::unwrap_used, missing_docs)]

mod behaviour;
mod drain;
mod echo;
mod mesh;
mod probes;
mod tracing_context;
