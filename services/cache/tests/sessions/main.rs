//! The rules of sessions, held by every store of them and both ways to it.
//!
//! - `suite`: the rules; `calls`: what they ask
//! - `subject`: a service over memory, Redis or a cluster, called directly or through the mesh
//! - `backends`: every rule on every subject
//! - `outage`: Redis gone, silent and full
//! - `own_redis`: sessions apart from the cache's Redis
//! - `durable`: sessions that survive the end of their process, and what is stored of them
#![allow(clippy::unwrap_used)]

mod backends;
mod calls;
mod durable;
mod outage;
mod own_redis;
mod subject;
mod suite;
