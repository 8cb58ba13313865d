//! HTTP/JSON routes for gRPC services, generated at build time from `google.api.http`.
//!
//! Nothing is dynamic at run time: a build script reads the descriptor set and writes one small
//! axum handler per binding, which parses into prost types with pbjson and calls the generated
//! tonic client. The same pass writes the OpenAPI 3.1 document, so the two cannot disagree.
//!
//! - `generate` (feature `generate`, for build scripts): annotations, path templates, Rust
//!   source, OpenAPI.
//! - `runtime` (feature `runtime`, for the crate that includes the source): route dispatch,
//!   parameters, JSON bodies, streams, `application/problem+json`.
//!
//! # Cargo.toml
//! ```toml
//! [dependencies]
//! mediamesh-transcode = { workspace = true, features = ["runtime"] }
//! [build-dependencies]
//! mediamesh-transcode = { workspace = true, features = ["generate"] }
//! mediamesh-proto.workspace = true
//! ```
//!
//! # build.rs
//! ```ignore
//! let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
//! let output = mediamesh_transcode::Generator::new(mediamesh_proto::FILE_DESCRIPTOR_SET)
//!     .rust_path("mediamesh", "::mediamesh_proto")      // mediamesh.media.v1 -> ::mediamesh_proto::media::v1
//!     .channel("crate::Channel")                        // type the generated clients are built on
//!     .request_hook("crate::transcode::request")        // fn<T>(&http::request::Parts, T) -> tonic::Request<T>
//!     .title("mediamesh")
//!     .version(env!("CARGO_PKG_VERSION"))
//!     .merge_openapi(serde_json::from_str(include_str!("src/handwritten.openapi.json"))?)
//!     .generate()?;
//! std::fs::write(out.join("routes.rs"), output.rust)?;
//! std::fs::write(out.join("openapi.json"), output.openapi_json)?;
//! ```
//!
//! # The edge
//! ```ignore
//! mod routes { include!(concat!(env!("OUT_DIR"), "/routes.rs")); }
//! pub const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));
//!
//! // One field per service; the closure is called with "mediamesh.media.v1.MediaService" and so on.
//! let clients = routes::Clients::new(|service| registry.channel(service));
//! // Fields are public: clients.media_service = clients.media_service.max_decoding_message_size(n);
//! let options = runtime::Options::default()
//!     .body_limit_bytes(8 << 20)
//!     .problem(|problem, parts| problem.trace_id(trace_id_of(parts)).instance(parts.uri.path()))
//!     .response_headers(|metadata, headers| copy_some(metadata, headers));
//! let app: axum::Router = routes::routes(clients, options.clone())
//!     .route("/v1/mediaItems/{id}/content", get(content))   // hand-written routes go beside it
//!     .fallback(move |request| runtime::not_found(options, request));
//! ```
//! Every error answer, from here or from a callee, passes through `Options::problem` once: that is
//! the place to add trace ids and to log. Hand-written handlers make the same answers with
//! `runtime::Problem::from_status(&status)` and `options.answer(problem, &parts)`.
//! Each answer carries `runtime::Matched` (method and template) as a response extension, for
//! metrics and spans. A hand-written handler for another method of a generated path wins over the
//! generated 405 when it is added with the same axum path.

#[cfg(feature = "generate")]
pub mod generate;
#[cfg(feature = "runtime")]
pub mod runtime;

#[cfg(feature = "generate")]
pub use generate::{Error, Generator, Output};
