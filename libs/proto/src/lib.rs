//! The contract in Rust.
//!
//! - generated messages, clients, servers and proto JSON: [`cache`], [`common`], [`embedding`],
//!   [`media`], [`search`]
//! - [`id`]: typed identifiers
//! - [`api_key`]: the text of an API key, and its hash
//! - [`session_id`]: the id of a session, and its hash
//! - [`status`]: the one mapping from errors to gRPC status
//! - [`time`]: conversions of timestamps and durations
//! - [`mod@model_key`]: the name under which a model's vectors are stored
//! - [`page_token`]: opaque page tokens

pub mod api_key;
pub mod id;
pub mod model_key;
pub mod page_token;
pub mod session_id;
pub mod status;
pub mod time;

mod generated;

pub use api_key::ApiKeySecret;
pub use generated::{cache, common, embedding, media, search};
pub use id::{ApiKeyId, JobId, MediaItemId, TenantId};
pub use model_key::model_key;
pub use pbjson_types;
pub use session_id::{SessionHandle, SessionId};
pub use status::{Error, ErrorKind, Violations};

pub use common::v1::ErrorReason;

/// Every descriptor with its `google.api.http` annotations and comments, encoded; read by
/// reflection and by the HTTP transcoder.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
