//! Descriptor set in, Rust source and OpenAPI out. Runs in build scripts.
//!
//! - `annotation`: reads `google.api.http` from method options.
//! - `template`: parses path templates.
//! - `binding`: checks annotations against the messages; the model both outputs are made from.
//! - `params`: which fields a path or query can set.
//! - `names`: the Rust names prost and tonic give things.
//! - `shape`: tables of what a body may hold.
//! - `rust`: the source.
//! - `openapi`: the document.

mod annotation;
mod binding;
mod names;
mod openapi;
mod params;
mod rust;
mod shape;
mod template;

use prost_reflect::DescriptorPool;

use names::RustPaths;

/// What is wrong with the annotations.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not a descriptor set.
    #[error("descriptor set cannot be read")]
    Descriptor(#[from] prost_reflect::DescriptorError),
    /// Not one method is annotated; most likely the extension was lost when the set was written.
    #[error(
        "no method carries google.api.http; write the set with Compiler::encode_file_descriptor_set"
    )]
    NoAnnotations,
    /// HTTP cannot carry a client stream as JSON.
    #[error("{method}: client-streaming and bidirectional methods cannot have HTTP annotations")]
    ClientStreaming {
        /// Full name of the method.
        method: String,
    },
    /// An annotation does not fit its method.
    #[error("{method}: {problem}")]
    Annotation {
        /// Full name of the method.
        method: String,
        /// What does not fit.
        problem: String,
    },
    /// Two bindings answer the same request.
    #[error("{first} and {second} both answer {route}")]
    Duplicate {
        /// HTTP method and path.
        route: String,
        /// Full name of one method.
        first: String,
        /// Full name of the other.
        second: String,
    },
    /// The router cannot hold two paths at once.
    #[error("path {path} clashes with another: {source}")]
    Route {
        /// The path in axum's syntax.
        path: String,
        /// What the router says.
        source: matchit::InsertError,
    },
    /// A merged document says something else about the same operation or component.
    #[error("merged OpenAPI redefines {pointer}")]
    Merge {
        /// JSON pointer of the clash.
        pointer: String,
    },
}

/// What the generator writes.
#[derive(Clone, Debug)]
pub struct Output {
    /// Rust source: `Clients`, one handler per binding and `routes`.
    pub rust: String,
    /// OpenAPI 3.1 document, pretty-printed, in a stable order.
    pub openapi_json: String,
}

/// Builds [`Output`] from a descriptor set. See the crate documentation for the whole set-up.
#[derive(Clone, Debug)]
pub struct Generator<'a> {
    descriptor_set: &'a [u8],
    paths: RustPaths,
    channel: String,
    request_hook: String,
    title: String,
    version: String,
    description: String,
    merged: Vec<serde_json::Value>,
    emits_all_fields: bool,
}

impl<'a> Generator<'a> {
    /// Starts from an encoded `FileDescriptorSet` that kept its extensions and, for descriptions,
    /// its source info (`Compiler::include_source_info(true)`).
    pub fn new(descriptor_set: &'a [u8]) -> Self {
        Self {
            descriptor_set,
            paths: RustPaths::default(),
            channel: "::mediamesh_transcode::runtime::tonic::transport::Channel".to_owned(),
            request_hook: "::mediamesh_transcode::runtime::forward".to_owned(),
            title: "API".to_owned(),
            version: "0.0.0".to_owned(),
            description: String::new(),
            merged: Vec::new(),
            emits_all_fields: false,
        }
    }

    /// Says where the Rust types of a proto package prefix are: `("mediamesh", "::mediamesh_proto")`.
    /// The longest prefix wins. `google.protobuf` is `::pbjson_types` unless said otherwise.
    #[must_use]
    pub fn rust_path(mut self, package: &str, rust: &str) -> Self {
        self.paths.insert(package, rust);
        self
    }

    /// Sets the type the generated clients are built on. Default tonic's `Channel`.
    #[must_use]
    pub fn channel(mut self, path: &str) -> Self {
        path.clone_into(&mut self.channel);
        self
    }

    /// Sets the path of `fn<T>(&http::request::Parts, T) -> tonic::Request<T>`, which carries
    /// headers into metadata. Default `runtime::forward`.
    #[must_use]
    pub fn request_hook(mut self, path: &str) -> Self {
        path.clone_into(&mut self.request_hook);
        self
    }

    /// Sets the document's title.
    #[must_use]
    pub fn title(mut self, title: &str) -> Self {
        title.clone_into(&mut self.title);
        self
    }

    /// Sets the document's version.
    #[must_use]
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Sets the document's description (CommonMark).
    #[must_use]
    pub fn description(mut self, description: &str) -> Self {
        description.clone_into(&mut self.description);
        self
    }

    /// Says that the JSON of answers always holds fields without presence, as pbjson writes it with
    /// `emit_fields`: the document then requires them. Default is that it leaves zeros out.
    #[must_use]
    pub fn emits_all_fields(mut self) -> Self {
        self.emits_all_fields = true;
        self
    }

    /// Adds hand-written paths, components and tags. May be called more than once. A reference to
    /// the schema of a message adds the message.
    #[must_use]
    pub fn merge_openapi(mut self, document: serde_json::Value) -> Self {
        self.merged.push(document);
        self
    }

    /// Writes both outputs.
    ///
    /// Errors: every mistake in an annotation, naming the method; see [`Error`].
    pub fn generate(&self) -> Result<Output, Error> {
        let pool = DescriptorPool::decode(self.descriptor_set)?;
        let bindings = binding::collect(&pool)?;
        let groups = binding::group(&bindings)?;
        Ok(Output {
            rust: rust::source(&bindings, &groups, self),
            openapi_json: openapi::document(&bindings, self)?,
        })
    }
}
