//! One file per middleware; `router` has their order.
//!
//! - [`auth`]: an API key becomes the identity that calls carry
//! - [`request_id`]: every request has an id that client and log share
//! - [`trace`]: one span per request, W3C context in and out
//! - [`log`]: notes requests that ended, for the log of requests
//! - [`metrics`]: duration by route, method and status
//! - [`security`]: headers that keep browsers from guessing and framing
//! - [`origin`]: which hosts and origins are answered
//! - [`rescue`]: a panic is a 500, not a broken connection
//! - [`metadata`]: a bound on what goes on into the mesh
//! - [`compress`]: which answers are compressed
//! - [`shed`]: a bound on requests at once
//! - [`deadline`]: the time the client gives
//! - [`conditional`]: Cache-Control, ETag and 304 of JSON answers

pub(crate) mod auth;
pub(crate) mod compress;
pub(crate) mod conditional;
pub(crate) mod deadline;
pub(crate) mod log;
pub(crate) mod metadata;
pub(crate) mod metrics;
pub(crate) mod origin;
pub(crate) mod request_id;
pub(crate) mod rescue;
pub(crate) mod security;
pub(crate) mod shed;
pub(crate) mod trace;
