//! What a method asks of its caller: the option `mediamesh.common.v1.access` of the contract, the
//! one place that says it. Every server holds callers to it.

use std::sync::{Arc, LazyLock};

use mediamesh_proto::common::v1::Access;
use prost::Message as _;

use super::authenticator::AuthError;
use super::{Caller, Proof, Scope};
use crate::method::PathMap;

/// What every method of the contract asks for; clones share one table.
#[derive(Debug, Clone)]
pub struct AccessTable {
    methods: Arc<PathMap<Access>>,
}

impl AccessTable {
    /// Returns the table of the project's own contract.
    pub fn of_contract() -> Self {
        static CONTRACT: LazyLock<AccessTable> = LazyLock::new(|| {
            AccessTable::from_descriptor_set(mediamesh_proto::FILE_DESCRIPTOR_SET)
                .expect("the contract's descriptors are encoded by our own build")
        });
        CONTRACT.clone()
    }

    /// Reads an encoded `FileDescriptorSet`.
    ///
    /// Errors: bytes that are not a descriptor set.
    pub fn from_descriptor_set(set: &[u8]) -> Result<Self, prost::DecodeError> {
        let mut methods = PathMap::default();
        for file in wire::Set::decode(set)?.file {
            for service in file.service {
                for method in service.method {
                    let path = format!("/{}.{}/{}", file.package, service.name, method.name);
                    let access = method.options.unwrap_or_default().access;
                    let access = Access::try_from(access).unwrap_or(Access::Unspecified);
                    methods.insert(path, access);
                }
            }
        }
        Ok(Self {
            methods: Arc::new(methods),
        })
    }

    /// Returns what the method at `path`, `/package.Service/Method`, asks for; a method that says
    /// nothing asks for admin.
    pub fn access(&self, path: &str) -> Access {
        match self.methods.get(path) {
            None | Some(Access::Unspecified) => Access::Admin,
            Some(access) => *access,
        }
    }

    /// Holds a caller to what the method at `path` asks for.
    ///
    /// Errors: `ScopeMissing`, `MeshOnly`.
    pub fn check(&self, path: &str, caller: &Caller) -> Result<(), AuthError> {
        let method = || path.trim_start_matches('/').to_owned();
        let required = match self.access(path) {
            Access::Mesh if matches!(caller.proof(), Proof::ApiKey | Proof::Session) => {
                return Err(AuthError::MeshOnly { method: method() });
            }
            Access::Mesh => return Ok(()),
            Access::Read => Scope::Read,
            Access::Write => Scope::Write,
            Access::Admin | Access::Unspecified => Scope::Admin,
        };
        match caller.identity().has_scope(required) {
            true => Ok(()),
            false => Err(AuthError::ScopeMissing {
                required,
                method: method(),
            }),
        }
    }
}

/// Descriptors as far as they matter here: `prost_types` knows no extensions and drops the option.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Set {
        #[prost(message, repeated, tag = "1")]
        pub(super) file: Vec<File>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct File {
        #[prost(string, tag = "2")]
        pub(super) package: String,
        #[prost(message, repeated, tag = "6")]
        pub(super) service: Vec<Service>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Service {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, repeated, tag = "2")]
        pub(super) method: Vec<Method>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Method {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(message, optional, tag = "4")]
        pub(super) options: Option<Options>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Options {
        /// `mediamesh.common.v1.access`.
        #[prost(int32, tag = "50501")]
        pub(super) access: i32,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::identity::{Identity, Scopes};

    #[test]
    fn every_method_of_the_contract_states_its_access() {
        let table = AccessTable::of_contract();
        assert!(table.methods.len() > 30, "{} methods", table.methods.len());
        let unstated: Vec<&String> = table
            .methods
            .iter()
            .filter(|(_, access)| **access == Access::Unspecified)
            .map(|(path, _)| path)
            .collect();
        assert_eq!(unstated, Vec::<&String>::new());
    }

    #[test]
    fn callers_are_held_to_it() {
        let table = AccessTable::of_contract();
        let caller = |scopes: &str, proof| {
            let identity = Identity {
                scopes: Scopes::parse(scopes),
                ..Identity::local()
            };
            Caller::new(identity, proof)
        };
        let reader = caller("read", Proof::ApiKey);
        let get = "/mediamesh.media.v1.MediaService/GetMediaItem";
        let delete = "/mediamesh.media.v1.MediaService/DeleteMediaItem";
        let set = "/mediamesh.cache.v1.CacheService/SetEntry";
        let unknown = "/mediamesh.media.v1.MediaService/DropEverything";
        table.check(get, &reader).unwrap();
        let missing = table.check(delete, &reader).unwrap_err();
        assert!(
            matches!(&missing, AuthError::ScopeMissing { required: Scope::Write, method }
                if method == "mediamesh.media.v1.MediaService/DeleteMediaItem"),
            "{missing:?}"
        );
        table
            .check(delete, &caller("write", Proof::ApiKey))
            .unwrap();
        // no scope makes a client a service, and a service needs none
        let admin = caller("read write admin", Proof::ApiKey);
        let refused = table.check(set, &admin).unwrap_err();
        assert!(matches!(refused, AuthError::MeshOnly { .. }), "{refused:?}");
        table.check(set, &caller("", Proof::Token)).unwrap();
        // what states nothing is for admins
        assert!(
            table
                .check(unknown, &caller("write", Proof::Token))
                .is_err()
        );
        table.check(unknown, &admin).unwrap();
    }
}
