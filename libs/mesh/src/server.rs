//! The server side: the stack around generated servers, and listening.
//!
//! - [`builder`]: [`ServerBuilder`], which adds health and reflection and yields [`Routes`]
//! - [`routes`]: [`Routes`]: served over TCP, or called in this process
//! - `stack`: the order of the layers and its reasons
//! - `trace`, `rescue`, `deadline`, `shed`, `concurrency`, `auth`: the layers
//! - `limits`: the counters that shed and concurrency share by service
//! - `health`: `grpc.health.v1` over the health registry

mod auth;
pub mod builder;
mod concurrency;
mod deadline;
mod health;
mod limits;
mod rescue;
pub mod routes;
mod shed;
mod stack;
mod trace;

pub use builder::{BuildError, ServerBuilder, ServerDeps};
pub use routes::{Routes, ServeError};
