//! gRPC paths and what the descriptors say of their methods.

use std::collections::HashMap;

use http::uri::PathAndQuery;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;

use crate::Request;

/// Whether a method streams, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MethodKind {
    /// One request, one response.
    Unary,
    /// Many requests, one response: an upload.
    ClientStream,
    /// One request, many responses: results or events.
    ServerStream,
    /// Both at once.
    Bidi,
}

/// What a method promises of being called twice; `idempotency_level` in the protos.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Idempotency {
    /// A second call may do a second thing.
    #[default]
    Unknown,
    /// A second call does nothing more than the first.
    Idempotent,
    /// A call changes nothing.
    NoSideEffects,
}

/// What the descriptors say of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// Which way it streams.
    pub kind: MethodKind,
    /// Whether it may be repeated.
    pub idempotency: Idempotency,
}

impl Method {
    /// A unary method that promises nothing; what an unknown path is taken for.
    pub const UNKNOWN: Self = Self::new(MethodKind::Unary, Idempotency::Unknown);

    pub(crate) const fn new(kind: MethodKind, idempotency: Idempotency) -> Self {
        Self { kind, idempotency }
    }
}

/// What is known of methods, by path. Only what is known goes in, so nobody can choose keys that
/// collide, and a hash that withstands that would be wasted.
pub(crate) type PathMap<V> = HashMap<String, V, foldhash::fast::RandomState>;

/// Every method of some descriptor sets, by path.
#[derive(Debug, Clone, Default)]
pub struct MethodTable {
    methods: PathMap<Method>,
}

impl MethodTable {
    /// Reads encoded `FileDescriptorSet`s.
    ///
    /// Errors: bytes that are not a descriptor set.
    pub fn from_descriptor_sets<'a>(
        sets: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, prost::DecodeError> {
        let mut table = Self::default();
        for set in sets {
            table.add(&FileDescriptorSet::decode(set)?);
        }
        Ok(table)
    }

    /// Returns every method of the project's own contract.
    pub fn of_contract() -> Self {
        Self::from_descriptor_sets([mediamesh_proto::FILE_DESCRIPTOR_SET])
            .expect("the contract's descriptors are encoded by our own build")
    }

    fn add(&mut self, set: &FileDescriptorSet) {
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let kind = match (method.client_streaming(), method.server_streaming()) {
                        (false, false) => MethodKind::Unary,
                        (true, false) => MethodKind::ClientStream,
                        (false, true) => MethodKind::ServerStream,
                        (true, true) => MethodKind::Bidi,
                    };
                    let path = match file.package() {
                        "" => format!("/{}/{}", service.name(), method.name()),
                        package => format!("/{package}.{}/{}", service.name(), method.name()),
                    };
                    let idempotency = match method
                        .options
                        .as_ref()
                        .map(prost_types::MethodOptions::idempotency_level)
                    {
                        Some(IdempotencyLevel::Idempotent) => Idempotency::Idempotent,
                        Some(IdempotencyLevel::NoSideEffects) => Idempotency::NoSideEffects,
                        Some(IdempotencyLevel::IdempotencyUnknown) | None => Idempotency::Unknown,
                    };
                    self.methods.insert(path, Method::new(kind, idempotency));
                }
            }
        }
    }

    /// Returns the method at `path`, `/package.Service/Method`.
    pub fn get(&self, path: &str) -> Option<Method> {
        self.methods.get(path).copied()
    }

    /// Returns every method with its path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Method)> {
        self.methods
            .iter()
            .map(|(path, method)| (path.as_str(), *method))
    }
}

/// Returns the path of a request, to be kept beside it.
pub(crate) fn path_of(request: &Request) -> PathAndQuery {
    let path = request.uri().path_and_query().cloned();
    path.unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// Splits `/package.Service/Method`; a path of another shape has an empty method.
pub(crate) fn split_path(path: &str) -> (&str, &str) {
    path.strip_prefix('/')
        .unwrap_or(path)
        .split_once('/')
        .unwrap_or((path, ""))
}
