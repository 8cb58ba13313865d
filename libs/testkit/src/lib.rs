//! Support for tests; never part of the product.
//!
//! - [`Mesh`]: the real binary as a process with a data folder of its own; may be killed and restarted
//! - [`Http`]: a client of its HTTP interface that speaks JSON
//! - [`Collector`]: receives traces by OTLP
//! - [`corpus`]: where real photographs are
//! - [`fixture`]: pictures made up from a seed, and files that are broken in one known way
//! - [`variant`]: shrunk, re-encoded, turned and cropped copies of a picture
//! - [`require`]: what a machine may lack, and when that is a failure

mod collector;
pub mod corpus;
pub mod fixture;
mod http;
mod mesh;
mod ready;
pub mod require;
pub mod variant;

pub use collector::{Collector, Span};
pub use http::{Answer, Http};
pub use mesh::{Launcher, Mesh, Starting};
