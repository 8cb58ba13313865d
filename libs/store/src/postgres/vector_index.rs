//! Approximate indexes over the vectors of one tenant and model, built when there are enough of them.
//!
//! Each is partial: a small tenant's vectors are never among the neighbours that a large one's search
//! walks through, and the index of a model that is no longer used can be dropped by itself.

use diesel::{
    QueryableByName, sql_query,
    sql_types::{BigInt, Bool, Integer, Nullable, Text},
};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use mediamesh_proto::TenantId;

use super::{
    Connection,
    database::Database,
    filter::{Bind, Sql},
    nearest::EXACT_MAX,
    types::{Id, SqlId, uuid},
};
use crate::error::{Error, Result};

/// Advisory lock of whoever builds indexes: "mediaidx" in ASCII.
const LOCK: i64 = 0x6d65_6469_6169_6478;
/// Vectors from which on an index is worth its upkeep: below, comparing all takes some 25 ms.
const WORTH_IT: i64 = 2 * EXACT_MAX.cast_signed();
/// Most elements of a vector that pgvector indexes as `halfvec`.
const MAX_DIMS: i32 = 4_000;

/// Settings of a connection that asks such an index: deep enough for the lists that are fused, and on
/// from there where more are asked for.
pub(super) const SETTINGS: &str = "SET hnsw.ef_search = 200; SET hnsw.iterative_scan = strict_order; \
     SET ivfflat.probes = 20; SET ivfflat.iterative_scan = relaxed_order;";

/// How an index is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IndexKind {
    /// A graph: better recall for the time, slower to build.
    #[default]
    Hnsw,
    /// Lists around centres (S0-6): quick to build, and to be built anew as the data changes.
    IvfFlat,
}

#[derive(QueryableByName)]
struct FoundRow {
    #[diesel(sql_type = Text)]
    method: String,
    #[diesel(sql_type = Bool)]
    valid: bool,
}

#[derive(QueryableByName)]
struct SpaceRow {
    #[diesel(sql_type = SqlId)]
    tenant_id: Id,
    #[diesel(sql_type = Text)]
    model: String,
    #[diesel(sql_type = BigInt)]
    vectors: i64,
    #[diesel(sql_type = Nullable<Integer>)]
    dims: Option<i32>,
}

#[derive(QueryableByName)]
struct TurnRow {
    #[diesel(sql_type = Bool)]
    mine: bool,
}

/// Name of the index of a space.
pub(super) fn name(tenant: TenantId, model: &str) -> String {
    // FNV-1a: a name must be the same in every process and version
    let hash = model.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("idx_vectors_{}_{hash:016x}", tenant.0.simple())
}

/// Condition that names a space, as constants.
pub(super) fn condition(tenant: TenantId, model: &str) -> String {
    // a `?` in the text would be taken for a bound value
    let model = model.replace('\'', "''").replace('?', "'||chr(63)||'");
    format!(
        "tenant_id = '{}' AND model = '{model}' AND vector IS NOT NULL",
        tenant.0
    )
}

/// The index of this name, if it can be used.
pub(super) async fn find(conn: &mut Connection, name: &str) -> Result<Option<IndexKind>> {
    let found = found(conn, name).await?;
    Ok(found.filter(|row| row.valid).map(|row| row.kind()))
}

async fn found(conn: &mut Connection, name: &str) -> Result<Option<FoundRow>> {
    let mut sql = Sql::new("SELECT am.amname::text AS method, i.indisvalid AS valid ");
    sql.push(
        "FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_am am ON am.oid = c.relam \
         WHERE c.oid = to_regclass(?)",
        [Bind::Text(name.to_owned())],
    );
    let rows: Vec<FoundRow> = sql.load(conn).await?;
    Ok(rows.into_iter().next())
}

impl FoundRow {
    fn kind(&self) -> IndexKind {
        match self.method.as_str() {
            "ivfflat" => IndexKind::IvfFlat,
            _ => IndexKind::Hnsw,
        }
    }
}

/// Builds the indexes that are missing, one after the other, while everything else goes on.
pub(super) async fn tend(db: &Database, kind: IndexKind) -> Result<u64> {
    let mut conn = db.dedicated().await?;
    let mine = sql_query(format!("SELECT pg_try_advisory_lock({LOCK}) AS mine"));
    let turn: TurnRow = mine.get_result(&mut conn).await?;
    if !turn.mine {
        return Ok(0);
    }
    // the lock ends with the connection
    let spaces: Vec<SpaceRow> = sql_query(format!(
        "SELECT tenant_id, model, count(vector) AS vectors, max(vector_dims(vector)) AS dims \
         FROM media_embeddings GROUP BY tenant_id, model HAVING count(vector) >= {WORTH_IT}"
    ))
    .load(&mut conn)
    .await?;
    let mut built = 0;
    for space in spaces {
        let tenant = TenantId(uuid(&space.tenant_id)?);
        let dims = space.dims.unwrap_or(0);
        if !(1..=MAX_DIMS).contains(&dims) {
            continue;
        }
        let name = name(tenant, &space.model);
        match found(&mut conn, &name).await? {
            Some(row) if row.valid && row.kind() == kind => continue,
            // of the other kind, or left half done by a process that ended
            Some(_) => {
                run(
                    &mut conn,
                    &format!("DROP INDEX CONCURRENTLY IF EXISTS {name}"),
                )
                .await?
            }
            None => {}
        }
        let method = match kind {
            IndexKind::Hnsw => "hnsw".to_owned(),
            IndexKind::IvfFlat => "ivfflat".to_owned(),
        };
        let options = match kind {
            // pgvector's own defaults, named so that an upgrade changes nothing
            IndexKind::Hnsw => "m = 16, ef_construction = 64".to_owned(),
            // pgvector's advice: a thousandth of the rows; S0-6 has 100 for up to 100,000
            IndexKind::IvfFlat => format!("lists = {}", (space.vectors / 1000).clamp(100, 2000)),
        };
        let space = condition(tenant, &space.model);
        tracing::info!(name, kind = method, "building a vector index");
        run(
            &mut conn,
            &format!(
                "CREATE INDEX CONCURRENTLY {name} ON media_embeddings USING {method} \
                 ((vector::halfvec({dims})) halfvec_cosine_ops) WITH ({options}) WHERE {space}"
            ),
        )
        .await?;
        built += 1;
    }
    Ok(built)
}

async fn run(conn: &mut Connection, statement: &str) -> Result<()> {
    conn.batch_execute(statement)
        .await
        .map_err(Error::from_diesel)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn names_fit_and_conditions_are_quoted() {
        let tenant = TenantId(Uuid::from_u128(7));
        let name = name(tenant, "openai/clip-vit-base-patch32@main#f16");
        assert!(name.len() <= 63, "{name}");
        assert_eq!(
            condition(tenant, "it's?"),
            "tenant_id = '00000000-0000-0000-0000-000000000007' AND model = 'it''s'||chr(63)||'' \
             AND vector IS NOT NULL"
        );
    }
}
