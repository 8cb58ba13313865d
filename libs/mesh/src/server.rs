//! The server side: the stack around generated servers, and listening.
//!
//! - [`builder`]: [`ServerBuilder`], which adds health and reflection and yields [`Routes`]
//! - [`routes`]: [`Routes`]: served over TCP, or called in this process
//! - [`opening`]: [`Opening`]: an address that answers before its services are there
//! - `stack`: the order of the layers and its reasons
//! - `trace`, `rescue`, `cancel`, `deadline`, `idle`, `shed`, `auth`: the layers
//! - `limits`: finds the `gate` of a call; `limit` and `queue` are its two halves
//! - [`load`]: what is known of the load of each service
//! - `health`: `grpc.health.v1` over the health registry
//! - [`mod@introspection`]: health and reflection, alone or beside services

mod auth;
pub mod builder;
mod cancel;
mod deadline;
mod gate;
mod health;
mod idle;
pub mod introspection;
mod limit;
mod limits;
pub mod load;
pub mod opening;
mod queue;
mod rescue;
pub mod routes;
mod shed;
mod stack;
mod trace;

pub use builder::{BuildError, ServerBuilder, ServerDeps};
pub use introspection::introspection;
pub use load::ServiceLoad;
pub use opening::Opening;
pub use routes::{Routes, ServeError};
