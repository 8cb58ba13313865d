//! Ids and vectors as PostgreSQL holds them: `uuid` and `halfvec`.

use std::io::Write as _;

use diesel::{
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    pg::{Pg, PgValue},
    query_builder::QueryId,
    serialize::{self, IsNull, Output, ToSql},
    sql_types::SqlType,
};
use uuid::Uuid;

use crate::error::Result;

pub(super) type SqlId = diesel::sql_types::Uuid;
pub(super) type SqlVector = HalfVec;

pub(super) type Id = Uuid;

/// pgvector's `halfvec`. The crate of that name would turn on what links libpq.
#[derive(Debug, Clone, Copy, SqlType, QueryId)]
#[diesel(postgres_type(name = "halfvec"))]
pub struct HalfVec;

/// f16, little endian.
#[derive(Debug, Clone, AsExpression, FromSqlRow)]
#[diesel(sql_type = HalfVec)]
pub(super) struct Vector(Vec<u8>);

/// An id as the database holds it.
pub(super) fn raw(id: Uuid) -> Id {
    id
}

/// Never fails here; the embedded database holds bytes.
#[expect(clippy::unnecessary_wraps)]
pub(super) fn uuid(id: &Id) -> Result<Uuid> {
    Ok(*id)
}

/// A vector as the database holds it.
pub(super) fn vector(bytes: Vec<u8>) -> Vector {
    Vector(bytes)
}

pub(super) fn vector_bytes(vector: Vector) -> Vec<u8> {
    vector.0
}

// On the wire: number of elements and an unused 0, both u16, then the elements, all big endian
// (halfvec_send and halfvec_recv in pgvector's src/halfvec.c).

impl ToSql<HalfVec, Pg> for Vector {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let dims = u16::try_from(self.0.len() / 2)?;
        out.write_all(&dims.to_be_bytes())?;
        out.write_all(&[0, 0])?;
        let mut wire = self.0.clone();
        wire.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        out.write_all(&wire)?;
        Ok(IsNull::No)
    }
}

impl FromSql<HalfVec, Pg> for Vector {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let mut bytes = value
            .as_bytes()
            .get(4..)
            .ok_or("a halfvec is at least 4 bytes")?
            .to_vec();
        bytes.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        Ok(Self(bytes))
    }
}
