//! [`VectorStore`] by pgvector. Which plan is ours to choose, by the size of the matching set.
//!
//! - Few vectors match, or many are asked for: every match is compared, which is exact.
//! - Many match: the tenant's own index answers more than are asked for, as many more as the
//!   filter is expected to drop, and the filter is applied here. Where too few are left, every match
//!   is compared after all.
//!
//! pgvector's own ways are not relied upon for that: a filter in the statement got 0.5 rows of 10 at
//! 2 % selectivity, and with iterative scan 10 rows of which 6 to 8 were the right ones.

use std::{fmt::Write as _, time::Duration};

use async_trait::async_trait;
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Double, Integer, Nullable, Text},
};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use half::f16;
use mediamesh_proto::TenantId;
use roaring::RoaringBitmap;
use tokio::time::Instant;

use super::{
    Connection, PostgresStore,
    filter::{Bind, Sql},
    schema::media_embeddings::dsl as e,
    search::key,
    types::{Id, SqlId, Vector, raw, uuid, vector, vector_bytes},
    vector_index::{self, EF_SEARCH, Index},
};
use crate::{
    error::{Error, Result},
    vectors::{Nearest, NearestPlan, SpaceSize, VectorStore},
};

/// A space of so many is compared one by one, in about 15 ms for 512 dimensions, and needs no index.
pub(super) const EXACT_MAX: u64 = 10_000;
/// What it takes to compare one vector of 512 dimensions, in nanoseconds.
const COMPARED_NANOS: u64 = 1_500;
/// What it takes to ask an index, and for each of those it answers: guessed, and more than the bench
/// `pgvector` shows, so that the index is asked where it is much quicker.
const ASKED_NANOS: u64 = 2_000_000;
const ANSWERED_NANOS: u64 = 12_000;
/// Deepest that an index is asked: beyond, comparing every match costs less.
const INDEX_DEPTH_MAX: usize = 2_000;
/// How long the size of a space is taken for what it was.
const SIZE_FRESH: Duration = Duration::from_secs(30);

/// What is known of a space, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    size: SpaceSize,
    index: Option<Index>,
    at: Instant,
}

#[derive(QueryableByName)]
struct SizeRow {
    #[diesel(sql_type = BigInt)]
    vectors: i64,
    #[diesel(sql_type = Nullable<Integer>)]
    dims: Option<i32>,
}

#[derive(QueryableByName)]
struct ModelRow {
    #[diesel(sql_type = Text)]
    model: String,
}

#[derive(QueryableByName)]
struct OwnerRow {
    #[diesel(sql_type = SqlId)]
    tenant_id: Id,
    #[diesel(sql_type = Text)]
    model: String,
}

#[derive(QueryableByName)]
struct NearRow {
    #[diesel(sql_type = BigInt)]
    item_key: i64,
    #[diesel(sql_type = Double)]
    distance: f64,
}

impl PostgresStore {
    async fn known(&self, tenant: TenantId, model: &str) -> Result<Option<Known>> {
        let place = (tenant, model.to_owned());
        if let Some(known) = self.spaces.read().get(&place)
            && known.at.elapsed() < SIZE_FRESH
        {
            return Ok(Some(*known));
        }
        let name = vector_index::name(tenant, model);
        let model = model.to_owned();
        let read = self.replica().read("vector_space", move |conn| {
            Box::pin(async move {
                // counted by the key's index; removed vectors are few and do no harm
                let mut sql =
                    Sql::new("SELECT count(*) AS vectors, (SELECT vector_dims(v.vector) ");
                sql.push(
                    "FROM media_embeddings v WHERE v.tenant_id = ? AND v.model = ? \
                     AND v.vector IS NOT NULL LIMIT 1) AS dims FROM media_embeddings \
                     WHERE tenant_id = ? AND model = ?",
                    [raw(tenant.0), raw(tenant.0)]
                        .into_iter()
                        .flat_map(|id| [Bind::Id(id), Bind::Text(model.clone())]),
                );
                let row: SizeRow = sql.get_result(conn).await?;
                let index = vector_index::find(conn, &name).await?;
                Ok((row, index))
            })
        });
        let (row, index) = read.await?;
        let Some(dims) = row.dims.and_then(|dims| usize::try_from(dims).ok()) else {
            self.spaces.write().remove(&place);
            return Ok(None);
        };
        let known = Known {
            size: SpaceSize {
                dims,
                vectors: u64::try_from(row.vectors).unwrap_or(0),
            },
            index,
            at: Instant::now(),
        };
        self.spaces.write().insert(place, known);
        Ok(Some(known))
    }
}

/// How deep an index must be asked so that `k` matches are left, in expectation and half as many
/// again; `None` if comparing the matches is the better plan.
fn index_depth(k: usize, matching: u64, vectors: u64) -> Option<usize> {
    let wanted = u64::try_from(k).unwrap_or(u64::MAX);
    let expected = wanted.saturating_mul(vectors).div_ceil(matching);
    let depth = match matching < vectors {
        true => expected.saturating_mul(3) / 2 + 32,
        // what is found just beyond may be nearer by the exact score
        false => wanted.saturating_mul(5) / 4 + 16,
    };
    let asked = ASKED_NANOS.saturating_add(depth.saturating_mul(ANSWERED_NANOS));
    if asked >= matching.saturating_mul(COMPARED_NANOS) {
        return None;
    }
    usize::try_from(depth)
        .ok()
        .filter(|depth| *depth <= INDEX_DEPTH_MAX)
}

#[async_trait]
impl VectorStore for PostgresStore {
    async fn space_size(&self, tenant: TenantId, model: &str) -> Result<Option<SpaceSize>> {
        Ok(self.known(tenant, model).await?.map(|known| known.size))
    }

    async fn spaces_of(&self, tenant: TenantId) -> Result<Vec<(String, SpaceSize)>> {
        let read = self.replica().read("vector_spaces_of", move |conn| {
            Box::pin(async move {
                let mut sql = Sql::new("SELECT DISTINCT model FROM media_embeddings");
                sql.push(" WHERE tenant_id = ?", [Bind::Id(raw(tenant.0))]);
                let rows: Vec<ModelRow> = sql.load(conn).await?;
                Ok(rows)
            })
        });
        let mut spaces = Vec::new();
        for row in read.await? {
            if let Some(known) = self.known(tenant, &row.model).await? {
                spaces.push((row.model, known.size));
            }
        }
        Ok(spaces)
    }

    async fn nearest(
        &self,
        tenant: TenantId,
        model: &str,
        query: &[f32],
        k: usize,
        among: Option<&RoaringBitmap>,
    ) -> Result<Nearest> {
        let nothing = Nearest {
            hits: Vec::new(),
            plan: NearestPlan::ExactScan,
            scanned: 0,
        };
        let Some(known) = self.known(tenant, model).await? else {
            return Ok(nothing);
        };
        let vectors = known.size.vectors;
        let matching = among.map_or(vectors, |among| among.len().min(vectors));
        if matching == 0 || k == 0 {
            return Ok(nothing);
        }
        if let (Some(index), Some(depth)) = (known.index, index_depth(k, matching, vectors)) {
            let sql = indexed(tenant, model, known.size.dims, query, depth);
            let mut hits = self.load(Some(index), sql).await?;
            let scanned = hits.len() as u64;
            let plan = match among {
                None => NearestPlan::Index,
                Some(among) => {
                    hits.retain(|(key, _)| among.contains(*key));
                    NearestPlan::IndexFiltered
                }
            };
            // the index compares rounded vectors, so its order is nearly the right one
            hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            if hits.len() >= k.min(usize::try_from(matching).unwrap_or(usize::MAX)) {
                hits.truncate(k);
                return Ok(Nearest {
                    hits,
                    plan,
                    scanned,
                });
            }
        }
        let sql = exact(tenant, model, query, k, among);
        Ok(Nearest {
            hits: self.load(None, sql).await?,
            plan: NearestPlan::ExactScan,
            scanned: matching,
        })
    }

    async fn vectors_of(
        &self,
        tenant: TenantId,
        model: &str,
        keys: &[u32],
    ) -> Result<Vec<(u32, Vec<u8>)>> {
        use diesel::{ExpressionMethods as _, QueryDsl as _};
        let keys: Vec<i64> = keys.iter().copied().map(i64::from).collect();
        let model = model.to_owned();
        let read = self.replica().read("vectors_of", move |conn| {
            Box::pin(async move {
                let rows: Vec<(i64, Option<Vector>)> = e::media_embeddings
                    .filter(e::tenant_id.eq(raw(tenant.0)))
                    .filter(e::model.eq(model))
                    .filter(e::item_key.eq_any(keys))
                    .select((e::item_key, e::vector))
                    .load(conn)
                    .await?;
                rows.into_iter()
                    .filter_map(|(item_key, vector)| Some((item_key, vector?)))
                    .map(|(item_key, vector)| Ok((key(item_key)?, vector_bytes(vector))))
                    .collect()
            })
        });
        read.await
    }

    async fn all_spaces(&self) -> Result<Vec<(TenantId, String)>> {
        let read = self.replica().read("all_vector_spaces", move |conn| {
            Box::pin(async move {
                // a look into the key's index for each, and not all of its rows
                let sql = Sql::new(
                    "WITH RECURSIVE space AS ( \
                     (SELECT tenant_id, model FROM media_embeddings ORDER BY tenant_id, model LIMIT 1) \
                     UNION ALL SELECT next.tenant_id, next.model FROM space, LATERAL \
                     (SELECT e.tenant_id, e.model FROM media_embeddings e \
                     WHERE (e.tenant_id, e.model) > (space.tenant_id, space.model) \
                     ORDER BY e.tenant_id, e.model LIMIT 1) next) \
                     SELECT tenant_id, model FROM space",
                );
                let rows: Vec<OwnerRow> = sql.load(conn).await?;
                rows.into_iter()
                    .map(|row| Ok((TenantId(uuid(&row.tenant_id)?), row.model)))
                    .collect()
            })
        });
        read.await
    }

    async fn tend_indexes(&self) -> Result<u64> {
        let built = vector_index::tend(&self.db, self.index_kind, &self.tended).await?;
        if built > 0 {
            self.spaces.write().clear();
        }
        Ok(built)
    }
}

impl PostgresStore {
    async fn load(&self, index: Option<Index>, sql: Sql) -> Result<Vec<(u32, f32)>> {
        let read = self.replica().read("nearest_vectors", move |conn| {
            Box::pin(near(conn, index, sql))
        });
        read.await
    }
}

async fn near(conn: &mut Connection, index: Option<Index>, sql: Sql) -> Result<Vec<(u32, f32)>> {
    if let Some(Index::IvfFlat { probes }) = index {
        // each space has as many lists as its size asks for, so each search says it
        let set = format!("SET ivfflat.probes = {probes}");
        conn.batch_execute(&set).await.map_err(Error::from_diesel)?;
    }
    let rows: Vec<NearRow> = sql.load(conn).await?;
    rows.into_iter()
        .map(|row| Ok((key(row.item_key)?, (1.0 - row.distance) as f32)))
        .collect()
}

/// Compares every match. The column as it is: no index is over that, so none is chosen.
fn exact(
    tenant: TenantId,
    model: &str,
    query: &[f32],
    k: usize,
    among: Option<&RoaringBitmap>,
) -> Sql {
    let mut sql = Sql::new("SELECT item_key, ");
    sql.push(
        "vector <=> ? AS distance FROM media_embeddings \
         WHERE tenant_id = ? AND model = ? AND vector IS NOT NULL",
        [
            Bind::Vector(Some(halves(query))),
            Bind::Id(raw(tenant.0)),
            Bind::Text(model.to_owned()),
        ],
    );
    if let Some(among) = among {
        let mut keys = String::from("{");
        for key in among {
            let comma = if keys.len() == 1 { "" } else { "," };
            let _ = write!(keys, "{comma}{key}");
        }
        keys.push('}');
        sql.push(
            " AND item_key = ANY (CAST(? AS bigint[]))",
            [Bind::Text(keys)],
        );
    }
    sql.push(
        " ORDER BY distance, item_key LIMIT ?",
        [Bind::Long(i64::try_from(k).unwrap_or(i64::MAX))],
    );
    sql
}

/// Asks the index of the space. What names the space stands in the text: only so does the planner know
/// that the partial index will do. So does the depth, one of few: of a bound one there is no plan to keep, and
/// planning takes a tenth of the whole.
fn indexed(tenant: TenantId, model: &str, dims: usize, query: &[f32], depth: usize) -> Sql {
    let mut sql = Sql::new("SELECT item_key, ");
    let space = vector_index::condition(tenant, model);
    sql.push(
        &format!(
            "vector::halfvec({dims}) <=> CAST(? AS halfvec({dims})) AS distance \
             FROM media_embeddings WHERE {space} ORDER BY distance LIMIT {}",
            rounded(depth)
        ),
        [Bind::Vector(Some(halves(query)))],
    );
    sql
}

/// At least `depth`: a power of two, and not deeper than a search begins with if it need not be.
fn rounded(depth: usize) -> usize {
    let rounded = depth.next_power_of_two();
    match depth <= EF_SEARCH {
        true => rounded.min(EF_SEARCH),
        false => rounded,
    }
}

/// A query as pgvector reads it, of unit length so that each element fits.
///
/// It is bound as what it is and not as text: from the sixth time on the plan of a prepared statement may be
/// one for all values, and that read the text anew for each row (75 us; 2,200 rows took 172 ms, not 4).
fn halves(query: &[f32]) -> Vector {
    let norm = query.iter().map(|value| value * value).sum::<f32>().sqrt();
    let scale = match norm.is_normal() {
        true => norm.recip(),
        false => 1.0,
    };
    let halves = query
        .iter()
        .flat_map(|value| f16::from_f32(value * scale).to_le_bytes());
    vector(halves.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_few_depths_and_each_is_deep_enough() {
        let depths = [1, 29, 130, 200, 201, INDEX_DEPTH_MAX];
        assert_eq!(depths.map(rounded), [1, 32, 200, 200, 256, 2048]);
    }

    #[test]
    fn small_sets_and_long_lists_are_compared_and_large_sets_asked_of_the_index() {
        assert_eq!(index_depth(10, 1_000, 100_000), None);
        assert_eq!(index_depth(10, 10_000, 1_000_000), None);
        assert_eq!(index_depth(10, 10_000, 100_000), Some(182));
        assert_eq!(index_depth(10, 100_000, 100_000), Some(28));
        assert_eq!(index_depth(10, 50_000, 100_000), Some(62));
        assert_eq!(index_depth(200, 20_000, 100_000), Some(1532));
        assert_eq!(index_depth(200, 11_000, 100_000), None);
        assert_eq!(index_depth(5_000, 100_000, 100_000), None);
    }
}
