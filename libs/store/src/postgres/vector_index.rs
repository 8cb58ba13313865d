//! Approximate indexes over the vectors of one tenant and model, built when there are enough of them.
//!
//! Each is partial: a small tenant's vectors are never among the neighbours that a large one's search
//! walks through, and the index of a model that is no longer used can be dropped by itself.

use std::time::Duration;

use diesel::{
    QueryableByName, sql_query,
    sql_types::{BigInt, Bool, Integer, Nullable, Text},
};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use mediamesh_proto::TenantId;
use parking_lot::Mutex;
use tokio::time::sleep;

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
/// Vectors that are written before it is worth while to count them all again, at least.
const FEW: i64 = WORTH_IT / 20;
/// Longest that counting them may take.
const COUNT_PATIENCE: &str = "'60s'";
/// Most elements of a vector that pgvector indexes as `halfvec`.
const MAX_DIMS: i32 = 4_000;
/// How often a new index is put in the place of the old one until the next tending, and how far apart.
const SWAPS: u32 = 5;
const SWAP_AGAIN: Duration = Duration::from_secs(1);

/// Candidates that a search of a graph begins with: deep enough for the lists that are fused. Who asks for more
/// waits for a search that goes on from there.
pub(super) const EF_SEARCH: usize = 200;
/// Fewest lists of an index (S0-6), and lists that a search of those looks into: with a fifth of them
/// recall@10 is over 0.99.
const LISTS_MIN: u32 = 100;
const PROBES_MIN: u32 = 20;

/// Settings of a connection that asks such an index, without a `;` at the end.
pub(super) fn settings() -> String {
    format!(
        "SET hnsw.ef_search = {EF_SEARCH}; SET hnsw.iterative_scan = strict_order; \
         SET ivfflat.probes = {PROBES_MIN}; SET ivfflat.iterative_scan = relaxed_order"
    )
}

/// How an index is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IndexKind {
    /// A graph: better recall for the time, slower to build.
    #[default]
    Hnsw,
    /// Lists around centres (S0-6): quick to build, and to be built anew as the data changes.
    IvfFlat,
}

impl IndexKind {
    fn method(self) -> &'static str {
        match self {
            Self::Hnsw => "hnsw",
            Self::IvfFlat => "ivfflat",
        }
    }
}

/// An index that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    Hnsw,
    IvfFlat {
        /// Lists that a search looks into.
        probes: u32,
    },
}

#[derive(QueryableByName)]
struct FoundRow {
    #[diesel(sql_type = Text)]
    method: String,
    #[diesel(sql_type = Nullable<Integer>)]
    lists: Option<i32>,
    #[diesel(sql_type = Bool)]
    valid: bool,
    #[diesel(sql_type = Text)]
    definition: String,
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
struct NewestRow {
    #[diesel(sql_type = BigInt)]
    newest: i64,
}

#[derive(QueryableByName)]
struct TurnRow {
    #[diesel(sql_type = Bool)]
    mine: bool,
}

/// What there was when every index was last as it should be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tended {
    /// Number of the newest vector.
    newest: i64,
    /// Vectors of the spaces that are worth an index.
    vectors: i64,
}

impl Tended {
    /// Whether so little was written since that no other index can have become worth while by much.
    fn will_do(self, newest: i64) -> bool {
        newest.saturating_sub(self.newest) < FEW.max(self.vectors / 20)
    }
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
pub(super) async fn find(conn: &mut Connection, name: &str) -> Result<Option<Index>> {
    let found = found(conn, name).await?;
    Ok(found.filter(|row| row.valid).map(|row| match row.kind() {
        IndexKind::Hnsw => Index::Hnsw,
        IndexKind::IvfFlat => Index::IvfFlat {
            probes: probes(row.lists()),
        },
    }))
}

/// Lists for so many vectors, by pgvector's advice: a thousandth, beyond a million the square root.
fn lists(vectors: i64) -> u32 {
    let vectors = vectors.max(0).cast_unsigned();
    let lists = match vectors > 1_000_000 {
        true => vectors.isqrt(),
        false => vectors / 1_000,
    };
    // pgvector has 32,768 at most
    u32::try_from(lists)
        .unwrap_or(u32::MAX)
        .clamp(LISTS_MIN, 32_768)
}

/// Lists that a search looks into: twice what pgvector advises to begin with, the square root.
fn probes(lists: u32) -> u32 {
    (2 * lists.isqrt()).max(PROBES_MIN)
}

async fn found(conn: &mut Connection, name: &str) -> Result<Option<FoundRow>> {
    let mut sql = Sql::new(
        "SELECT am.amname::text AS method, i.indisvalid AS valid, \
         pg_get_indexdef(c.oid) AS definition, (SELECT option_value::integer \
         FROM pg_options_to_table(c.reloptions) WHERE option_name = 'lists') AS lists ",
    );
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

    fn lists(&self) -> u32 {
        let lists = self.lists.and_then(|lists| u32::try_from(lists).ok());
        lists.unwrap_or(LISTS_MIN)
    }

    /// Whether it is over vectors of this length, by this method: its name tells neither.
    fn is_of(&self, kind: IndexKind, dims: i32) -> bool {
        self.method == kind.method()
            && self.definition.contains(&format!("halfvec({dims})"))
            && self.definition.contains("halfvec_cosine_ops")
    }

    /// Whether it is as it would be built now. One of lists is built anew when the vectors have become
    /// so many that it would get twice as many lists: its centres are those of the vectors it was built
    /// over.
    fn will_do(&self, kind: IndexKind, vectors: i64) -> bool {
        self.valid
            && self.kind() == kind
            && (kind == IndexKind::Hnsw || lists(vectors) < self.lists().saturating_mul(2))
    }
}

/// Builds the indexes that are missing, or no longer as they should be, one after the other, while
/// everything else goes on: an index that can be used is used until the new one is there.
///
/// Vectors are counted only when enough were written since everything was in order, as `tended` says.
/// Cancel: at any point; what the server builds it ends, and the next tending puts it in place.
pub(super) async fn tend(
    db: &Database,
    kind: IndexKind,
    tended: &Mutex<Option<Tended>>,
) -> Result<u64> {
    let newest = db
        .read("newest_vector", |conn| Box::pin(newest(conn)))
        .await?;
    if tended.lock().is_some_and(|tended| tended.will_do(newest)) {
        return Ok(0);
    }
    let mut conn = db.dedicated().await?;
    let mine = sql_query(format!("SELECT pg_try_advisory_lock({LOCK}) AS mine"));
    let turn: TurnRow = mine.get_result(&mut conn).await?;
    if !turn.mine {
        return Ok(0);
    }
    // the lock ends with the connection
    let spaces = spaces(&mut conn).await?;
    let vectors = spaces.iter().map(|space| space.vectors).sum();
    let (mut built, mut whole) = (0, true);
    for space in spaces {
        match tend_space(&mut conn, kind, &space).await {
            Ok(true) => built += 1,
            Ok(false) => {}
            // nothing more comes over this connection
            Err(error @ Error::Unavailable { .. }) => return Err(error),
            Err(error) => {
                whole = false;
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    model = space.model,
                    "a vector index was not built, or not put in place"
                );
            }
        }
    }
    // what was built or failed is looked at once more
    *tended.lock() = (whole && built == 0).then_some(Tended { newest, vectors });
    Ok(built)
}

/// Number of the newest vector, of whatever space.
async fn newest(conn: &mut Connection) -> Result<i64> {
    let mut sql = Sql::new("SELECT coalesce(pg_sequence_last_value(");
    sql.push(
        "pg_get_serial_sequence('media_embeddings', 'seq')::regclass), 0) AS newest",
        [],
    );
    let row: NewestRow = sql.get_result(conn).await?;
    Ok(row.newest)
}

/// Spaces that are worth an index. Items are counted in an index, without their vectors; those that were
/// removed lately count too. The newest vector tells how long vectors of a space are.
async fn spaces(conn: &mut Connection) -> Result<Vec<SpaceRow>> {
    let limit = format!("SET statement_timeout = {COUNT_PATIENCE}");
    run(conn, &limit).await?;
    let spaces = sql_query(format!(
        "SELECT s.tenant_id, s.model, s.vectors, (SELECT vector_dims(e.vector) \
         FROM media_embeddings e WHERE e.tenant_id = s.tenant_id AND e.model = s.model \
         AND e.vector IS NOT NULL ORDER BY e.seq DESC LIMIT 1) AS dims \
         FROM (SELECT tenant_id, model, count(*) AS vectors FROM media_embeddings \
         GROUP BY tenant_id, model HAVING count(*) >= {WORTH_IT}) s"
    ));
    let spaces = spaces.load(conn).await.map_err(Error::from_diesel)?;
    // building takes as long as it takes
    run(conn, "SET statement_timeout = 0").await?;
    Ok(spaces)
}

/// Builds the index of one space if it is missing or no longer as it should be; true if it did.
async fn tend_space(conn: &mut Connection, kind: IndexKind, space: &SpaceRow) -> Result<bool> {
    let tenant = TenantId(uuid(&space.tenant_id)?);
    let dims = space.dims.unwrap_or(0);
    if !(1..=MAX_DIMS).contains(&dims) {
        return Ok(false);
    }
    let name = name(tenant, &space.model);
    let before = found(conn, &name).await?;
    if before.is_some_and(|row| row.will_do(kind, space.vectors)) {
        return Ok(false);
    }
    let new = format!("{name}_n");
    let left = found(conn, &new).await?;
    // built whole, and not put in place: to build it again may take hours
    if !left.is_some_and(|row| row.will_do(kind, space.vectors) && row.is_of(kind, dims)) {
        build(conn, &new, kind, space, dims).await?;
    }
    take_its_place(conn, &new, &name).await?;
    Ok(true)
}

async fn build(
    conn: &mut Connection,
    new: &str,
    kind: IndexKind,
    space: &SpaceRow,
    dims: i32,
) -> Result<()> {
    // left half done by a process that ended
    let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {new}");
    run(conn, &drop).await?;
    let method = kind.method();
    let options = match kind {
        // pgvector's own defaults, named so that an upgrade changes nothing
        IndexKind::Hnsw => "m = 16, ef_construction = 64".to_owned(),
        // S0-6 has 100 for up to 100,000
        IndexKind::IvfFlat => format!("lists = {}", lists(space.vectors)),
    };
    let space = condition(TenantId(uuid(&space.tenant_id)?), &space.model);
    tracing::info!(name = new, kind = method, "building a vector index");
    run(
        conn,
        &format!(
            "CREATE INDEX CONCURRENTLY {new} ON media_embeddings USING {method} \
             ((vector::halfvec({dims})) halfvec_cosine_ops) WITH ({options}) WHERE {space}"
        ),
    )
    .await
}

/// Drops the old index and gives its name to the new one. Searches wait behind the lock that this waits
/// for, so it waits for a short time, and again later.
async fn take_its_place(conn: &mut Connection, new: &str, name: &str) -> Result<()> {
    let swap = format!(
        "BEGIN; SET LOCAL lock_timeout = '500ms'; DROP INDEX IF EXISTS {name}; \
         ALTER INDEX {new} RENAME TO {name}; COMMIT"
    );
    let mut tries = 1;
    loop {
        let Err(error) = run(conn, &swap).await else {
            return Ok(());
        };
        // the transaction that failed is still open
        run(conn, "ROLLBACK").await?;
        if tries == SWAPS || !matches!(error, Error::Locked) {
            return Err(error);
        }
        tries += 1;
        sleep(SWAP_AGAIN).await;
    }
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
    fn lists_grow_with_the_vectors_and_probes_with_the_lists() {
        for (vectors, lists_, probes_) in [
            (0, 100, 20),
            (20_000, 100, 20),
            (100_000, 100, 20),
            (400_000, 400, 40),
            (1_000_000, 1_000, 62),
            (4_000_000, 2_000, 88),
            (i64::MAX, 32_768, 362),
        ] {
            assert_eq!((lists(vectors), probes(lists_)), (lists_, probes_));
        }
    }

    #[test]
    fn vectors_are_counted_again_when_enough_of_them_are_new() {
        let tended = |vectors| Tended {
            newest: 100,
            vectors,
        };
        assert!(tended(0).will_do(100));
        assert!(tended(20_000).will_do(1_099));
        assert!(!tended(20_000).will_do(1_100));
        assert!(tended(1_000_000).will_do(50_099));
        assert!(!tended(1_000_000).will_do(50_100));
    }

    #[test]
    fn names_fit_and_conditions_are_quoted() {
        let tenant = TenantId(Uuid::from_u128(7));
        let name = name(tenant, "openai/clip-vit-base-patch32@main#f16");
        assert!(name.len() + "_n".len() <= 63, "{name}");
        assert_eq!(
            condition(tenant, "it's?"),
            "tenant_id = '00000000-0000-0000-0000-000000000007' AND model = 'it''s'||chr(63)||'' \
             AND vector IS NOT NULL"
        );
    }
}
