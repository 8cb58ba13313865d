//! The rules of the cache, held by every backend of it and both ways to it.
//!
//! - `suite`: the rules
//! - `many`: many entries at once
//! - `searches`: the rules of what is searched for most
//! - `subject`: a service over memory, Redis or a cluster, called directly or through the mesh
//! - `backends`: every rule on every subject
//! - `batches`: how often Redis is asked for many keys, and what a cluster does meanwhile
//! - `outage`: Redis gone, silent, full and read-only
//! - `feed`: several processes' worth of services on one Redis
//! - `processes`: four real processes on one Redis
//! - `stats`: what is told of the Redis behind
//! - `near`: the memory that callers keep in front of the service
//! - `tls`: Redis behind TLS
//! - `zipf`: how often it hits when people search as people do
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod backends;
mod batches;
mod feed;
mod many;
mod near;
mod outage;
mod processes;
mod searches;
mod stats;
mod subject;
mod suite;
mod tls;
mod zipf;
