//! The media service: the system of record, and the workers that derive everything from originals.
//!
//! - [`options`]: what can be configured
//! - [`build()`], [`Deps`], [`Media`]: the servers and the worker, made from what they need
//! - [`grpc`]: the generated traits: convert in, call, convert out
//! - [`convert`]: protocol and domain types; all validation
//! - [`service`]: one function per operation
//! - [`presign`]: addresses that let others write or read one file
//! - [`keys`]: the same for API keys
//! - [`upload`]: one upload from its first byte to its row
//! - [`jobs`]: the worker and what it does: process, embed, delete, backfill, sweep
//! - [`integrity`]: what rows name against what is stored
//! - [`users`]: what users have stored
//! - [`schedule`]: when periodic jobs are due
//! - [`limits`]: how many jobs may run and how often they may start
//! - [`tree`]: steps that need each other, and one status for them
//! - [`words`]: what the full text knows about a picture beyond its name
//! - [`error`]: what can go wrong
//! - [`metrics`]: every metric of the crate

pub mod build;
pub mod convert;
pub mod error;
pub mod grpc;
pub mod integrity;
pub mod jobs;
pub mod keys;
pub mod limits;
pub mod metrics;
pub mod options;
pub mod presign;
pub mod schedule;
pub mod service;
pub mod tree;
pub mod upload;
pub mod users;
pub mod words;

pub use build::{Deps, Media, build};
pub use error::{Error, Result};
pub use jobs::Worker;
pub use options::Options;
