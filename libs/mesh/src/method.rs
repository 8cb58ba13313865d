//! gRPC paths and what the descriptors say of their methods.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::FileDescriptorSet;

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

/// Every method of some descriptor sets, by path.
#[derive(Debug, Clone, Default)]
pub struct MethodTable {
    methods: HashMap<String, MethodKind>,
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
                    self.methods.insert(path, kind);
                }
            }
        }
    }

    /// Returns the kind of the method at `path`, `/package.Service/Method`.
    pub fn kind(&self, path: &str) -> Option<MethodKind> {
        self.methods.get(path).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, MethodKind)> {
        self.methods
            .iter()
            .map(|(path, kind)| (path.as_str(), *kind))
    }
}

/// Splits `/package.Service/Method`; a path of another shape has an empty method.
pub(crate) fn split_path(path: &str) -> (&str, &str) {
    path.strip_prefix('/')
        .unwrap_or(path)
        .split_once('/')
        .unwrap_or((path, ""))
}
