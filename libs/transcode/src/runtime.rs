//! What the generated handlers call. One request walks down this list:
//!
//! - [`route`]: path matching, custom verbs, 405 with `Allow`.
//! - [`call`]: the one shape of a unary and of a streaming call.
//! - [`body`]: reading JSON bodies with a limit, errors that name line, column or field.
//! - [`shape`]: all that is wrong with a body that was refused.
//! - [`condition`]: `If-Match` and `ETag` of resources with an etag field.
//! - [`params`]: path and query parameters, written as protobuf and merged by prost.
//! - [`stream`]: NDJSON and SSE with a visible end.
//! - [`problem`]: RFC 9457 answers from `tonic::Status` and google.rpc details.
//! - [`options`]: the hooks the including crate supplies.

pub mod body;
pub mod call;
pub mod condition;
pub mod options;
pub mod params;
pub mod problem;
pub mod route;
pub mod shape;
pub mod stream;

/// The axum the generated source is written against.
pub use axum;
/// The tonic the generated source is written against.
pub use tonic;

pub use body::BodyRule;
pub use call::{Binding, Call, Reply, raw, raw_stream, server_stream, unary};
pub use options::{Options, forward};
pub use params::{Kind, Param};
pub use problem::{FieldError, Problem};
pub use route::{Capture, Group, Matched, Route, Segment, Template, mount, not_found};
pub use shape::{Many, Member, Of, Shape};
