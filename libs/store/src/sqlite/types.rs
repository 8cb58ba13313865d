//! Ids and vectors as SQLite holds them: bytes.

use diesel::sql_types::Binary;
use uuid::Uuid;

use crate::error::{Error, Result};

pub(super) type SqlId = Binary;
pub(super) type SqlVector = Binary;

/// The 16 bytes of an id.
pub(super) type Id = Vec<u8>;
/// f16, little endian.
pub(super) type Vector = Vec<u8>;

/// An id as the database holds it.
pub(super) fn raw(id: Uuid) -> Id {
    id.as_bytes().to_vec()
}

pub(super) fn uuid(id: &Id) -> Result<Uuid> {
    Uuid::from_slice(id).map_err(|_| Error::Corrupt { what: "id" })
}

/// A vector as the database holds it.
pub(super) fn vector(bytes: Vec<u8>) -> Vector {
    bytes
}

pub(super) fn vector_bytes(vector: Vector) -> Vec<u8> {
    vector
}
