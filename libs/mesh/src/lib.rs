//! How the services of mediamesh call each other: one channel type, in process or over TCP.
//!
//! - [`channel`]: [`Channel`], the one type every generated client is built on
//! - [`registry`]: answers a [`ServiceName`] with a channel, local or remote
//! - [`client`]: the client stack, and [`client::connect`] for programs outside the mesh
//! - [`server`]: the server stack, [`ServerBuilder`], [`Routes`], health and reflection
//! - [`deadline`]: the time a call has left, inherited by the calls it makes
//! - [`priority`]: how urgent a call is, inherited likewise
//! - [`mod@identity`]: who calls, and how that is found out
//! - [`tls`]: certificates between services, read again when they change
//! - [`policy`]: deadlines and limits by service and method; [`policy::defaults`] has the numbers
//! - [`fault`]: faults on purpose, in builds with the feature `fault`
//! - [`admin`]: `/metrics` and `/health` as an axum router
//! - [`shutdown`]: draining on the first signal, leaving on the second
//! - [`FirstBytes`]: a socket whose peer must begin to speak within a time
//! - `method`, `rpc_metrics`, `body`, `settle`, `status`: paths, metrics, body wrappers, answers read to
//!   where they can no longer fail, errors of the mesh

pub mod admin;
mod body;
pub mod channel;
pub mod client;
mod coalesced;
pub mod deadline;
pub mod fault;
mod first_bytes;
pub mod identity;
mod method;
pub mod policy;
pub mod priority;
pub mod registry;
mod rpc_metrics;
pub mod server;
mod service_name;
mod settle;
pub mod shutdown;
pub mod status;
pub mod tls;

pub use channel::Channel;
pub use deadline::Deadline;
pub use fault::{FaultKind, FaultOptions, FaultRule};
pub use first_bytes::FirstBytes;
pub use identity::{
    AuthError, Authentication, Authenticator, Caller, Identity, IdentityOptions, LOCAL_TENANT_ID,
    LocalAuthenticator, TokenAuthenticator, identity,
};
pub use method::{Idempotency, Method, MethodKind, MethodTable};
pub use policy::defaults::MAX_MESSAGE_BYTES;
pub use policy::{Policy, PolicyOptions};
pub use priority::Priority;
pub use registry::Registry;
pub use server::{Opening, Routes, ServeError, ServerBuilder, ServerDeps};
pub use service_name::ServiceName;
pub use shutdown::Shutdown;

/// A request as it walks through the stacks.
pub type Request = http::Request<tonic::body::Body>;
/// A response as it walks through the stacks.
pub type Response = http::Response<tonic::body::Body>;
/// A boxed stack. Nothing in it fails: every error is a response with a gRPC status.
pub type BoxService = tower::util::BoxCloneSyncService<Request, Response, std::convert::Infallible>;
