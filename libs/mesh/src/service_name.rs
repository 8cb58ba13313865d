//! The services of the mesh.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of a service; all the mesh knows of it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ServiceName {
    /// Two-tier cache.
    Cache,
    /// Local models and providers.
    Embedding,
    /// System of record and workers.
    Media,
    /// Vector and full-text search.
    Search,
    /// HTTP edge.
    Edge,
}

impl ServiceName {
    /// Every service, in the order of the enum.
    pub const ALL: [Self; 5] = [
        Self::Cache,
        Self::Embedding,
        Self::Media,
        Self::Search,
        Self::Edge,
    ];

    /// Returns the lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Embedding => "embedding",
            Self::Media => "media",
            Self::Search => "search",
            Self::Edge => "edge",
        }
    }

    /// Returns the service of a gRPC service name, by its package: `mediamesh.<name>.v1.X`.
    pub fn from_grpc_service(service: &str) -> Option<Self> {
        let package = service.strip_prefix("mediamesh.")?.split('.').next()?;
        Self::ALL.into_iter().find(|name| name.as_str() == package)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_package() {
        let found = ServiceName::from_grpc_service("mediamesh.media.v1.MediaService");
        assert_eq!(found, Some(ServiceName::Media));
        assert_eq!(
            ServiceName::from_grpc_service("grpc.health.v1.Health"),
            None
        );
        assert_eq!(
            ServiceName::from_grpc_service("mediamesh.mediax.v1.X"),
            None
        );
    }

    #[test]
    fn the_index_follows_the_order_of_all() {
        for (index, name) in ServiceName::ALL.into_iter().enumerate() {
            assert_eq!(name.index(), index);
        }
    }
}
