//! A small annotated API, for the tests of `mediamesh-transcode`.
//!
//! - `library`: messages, client and server of `LibraryService`.
//! - `google`: `google.api.HttpBody`.
//! - `routes`: the generated HTTP routes.
//! - `Library`: a service that echoes what it was asked.

/// Generated types of the package `library`.
pub mod library {
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/library.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/library.v1.serde.rs"));
    }
}

/// Generated types of the package `google`.
pub mod google {
    #[allow(missing_docs, unreachable_pub, clippy::all)]
    pub mod api {
        include!(concat!(env!("OUT_DIR"), "/google.api.rs"));
    }
}

/// The generated routes.
pub mod routes {
    include!(concat!(env!("OUT_DIR"), "/routes.rs"));
}

mod echo;

pub use echo::Library;

/// The generated document.
pub const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// The encoded descriptor set.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// The generated source.
pub const ROUTES_SOURCE: &str = include_str!(concat!(env!("OUT_DIR"), "/routes.rs"));
