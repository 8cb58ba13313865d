//! Support for tests; never part of the product.
//!
//! - [`Mesh`]: the real binary as a process with a data folder of its own; may be killed and restarted
//! - [`cluster`]: the mesh as several processes with replicas: killed, stopped, started again
//! - [`proxy`]: a TCP proxy whose path can be cut, reset, slowed down and healed
//! - [`Http`]: a client of its HTTP interface that speaks JSON
//! - [`Collector`]: receives traces by OTLP
//! - [`Jaeger`]: a real Jaeger as a process: traces in by OTLP, out by its query API
//! - [`postgres`]: a real PostgreSQL, a database per test
//! - [`redis`]: a real Redis, single or a cluster, as processes that may be paused and killed
//! - [`s3`]: an S3 server that checks signatures; may be stopped and started again
//! - `address`: a loopback address of a test's own
//! - [`corpus`]: where real photographs are
//! - [`fixture`]: pictures made up from a seed, and files that are broken in one known way
//! - [`variant`]: shrunk, re-encoded, turned and cropped copies of a picture
//! - `watcher`: ends such processes when this one is gone
//! - [`require`]: what a machine may lack, and when that is a failure

mod address;
pub mod cluster;
mod collector;
pub mod corpus;
pub mod fixture;
mod http;
mod jaeger;
mod mesh;
pub mod postgres;
mod process;
pub mod proxy;
mod ready;
pub mod redis;
pub mod require;
pub mod s3;
pub mod variant;
mod watcher;

pub use cluster::{Cluster, ClusterBuilder, Replica};
pub use collector::{Collector, Event, Span};
pub use http::{Answer, Http};
pub use jaeger::Jaeger;
pub use mesh::{Launcher, Mesh, Starting};
pub use postgres::{Postgres, TestDatabase};
pub use proxy::Proxy;
pub use redis::{Redis, RedisCluster, RedisTls};
pub use s3::S3;
