//! [`SearchStore`] on SQLite.

use async_trait::async_trait;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryableByName,
    SelectableHelper as _,
    dsl::{count_star, exists, max, not},
    sql_types::{BigInt, Binary, Float, Nullable, Text},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{MediaItemId, TenantId, time::now_micros};

use super::{
    SqliteStore,
    filter::{Bind, Sql},
    full_text::{Words, ranking},
    media_write::bump_corpus,
    rows::{ItemRow, bytes, uuid},
};
use crate::{
    database::Connection,
    error::{Error, Result},
    media::{MediaItem, State},
    schema::{media_embeddings::dsl as e, media_items::dsl as m, tenants::dsl as t},
    search::{Filter, Reads, SearchStore, TextDepth, TextHit, VectorChange, VectorSpace},
};

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = BigInt)]
    item_key: i64,
}

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = BigInt)]
    item_key: i64,
    #[diesel(sql_type = Float)]
    rank: f32,
}

#[derive(QueryableByName)]
struct SpaceRow {
    #[diesel(sql_type = Binary)]
    tenant_id: Vec<u8>,
    #[diesel(sql_type = Text)]
    model: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    size: Option<i64>,
}

fn key(item_key: i64) -> Result<u32> {
    u32::try_from(item_key).map_err(|_| Error::Corrupt { what: "item key" })
}

async fn keys(conn: &mut Connection, sql: Sql) -> Result<Vec<u32>> {
    let rows: Vec<KeyRow> = sql.into_query().load(conn).await?;
    rows.into_iter().map(|row| key(row.item_key)).collect()
}

/// Weights of the columns in BM25: name, folder, tags, caption, other words.
const BM25: &str = "bm25(media_fts, 4.0, 2.0, 5.0, 4.0, 1.0)";

/// The newest `limit` items that match an FTS5 query, with their BM25.
async fn matches(
    conn: &mut Connection,
    tenant: TenantId,
    query: String,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<TextHit>> {
    let mut sql = Sql::new("SELECT m.item_key AS item_key, ");
    sql.push(BM25, []);
    sql.push(
        " AS rank FROM media_fts JOIN media_items m ON m.item_key = media_fts.rowid \
         WHERE media_fts MATCH ?",
        [Bind::Text(query)],
    );
    sql.push_filter(tenant, filter);
    // The full text index walks its rows in this order, so nothing past the limit is scored.
    sql.push(
        " ORDER BY media_fts.rowid DESC LIMIT ?",
        [Bind::Long(i64::try_from(limit).unwrap_or(i64::MAX))],
    );
    let rows: Vec<TextRow> = sql.into_query().load(conn).await?;
    // FTS5 answers BM25 negated, so that smaller is better.
    rows.into_iter()
        .map(|row| {
            Ok(TextHit {
                item_key: key(row.item_key)?,
                score: -row.rank,
            })
        })
        .collect()
}

async fn put(
    conn: &mut Connection,
    tenant: TenantId,
    id: MediaItemId,
    vectors: Vec<(String, Vec<u8>)>,
) -> Result<Option<u64>> {
    let item_key: Option<i64> = m::media_items
        .filter(m::tenant_id.eq(bytes(tenant.0)))
        .filter(m::id.eq(bytes(id.0)))
        .select(m::item_key)
        .first(conn)
        .await
        .optional()?;
    let Some(item_key) = item_key else {
        return Ok(None);
    };
    let mut last = 0;
    for (model, vector) in vectors {
        let vector = Some(vector).filter(|vector| !vector.is_empty());
        let old = e::media_embeddings
            .filter(e::tenant_id.eq(bytes(tenant.0)))
            .filter(e::model.eq(&model))
            .filter(e::item_key.eq(item_key));
        diesel::delete(old).execute(conn).await?;
        let seq: i64 = diesel::insert_into(e::media_embeddings)
            .values((
                e::tenant_id.eq(bytes(tenant.0)),
                e::model.eq(model),
                e::item_key.eq(item_key),
                e::vector.eq(vector),
                e::create_time.eq(now_micros()),
            ))
            .returning(e::seq)
            .get_result(conn)
            .await?;
        last = seq.cast_unsigned();
    }
    bump_corpus(conn, tenant).await?;
    Ok(Some(last))
}

#[async_trait]
impl SearchStore for SqliteStore {
    async fn corpus_version(&self, tenant: TenantId) -> Result<i64> {
        self.db
            .read("corpus_version", move |conn| {
                Box::pin(async move {
                    let version: Option<i64> = t::tenants
                        .filter(t::id.eq(bytes(tenant.0)))
                        .select(t::corpus_version)
                        .first(conn)
                        .await
                        .optional()?;
                    Ok(version.unwrap_or(0))
                })
            })
            .await
    }

    async fn newest_key(&self, tenant: TenantId) -> Result<u32> {
        self.db
            .read("newest_key", move |conn| {
                Box::pin(async move {
                    let newest: Option<i64> = m::media_items
                        .filter(m::tenant_id.eq(bytes(tenant.0)))
                        .order(m::item_key.desc())
                        .select(m::item_key)
                        .first(conn)
                        .await
                        .optional()?;
                    newest.map_or(Ok(0), key)
                })
            })
            .await
    }

    async fn full_text(
        &self,
        tenant: TenantId,
        query: &str,
        filter: &Filter,
        depth: TextDepth,
    ) -> Result<Vec<TextHit>> {
        let words = Words::parse(query).ok_or(Error::NoWords)?;
        let filter = filter.clone();
        self.db
            .read("full_text", move |conn| {
                Box::pin(async move {
                    let found =
                        matches(conn, tenant, words.all(), &filter, depth.candidates()).await?;
                    let mut hits = ranking::blocks(found, depth);
                    if hits.len() < depth.hits {
                        // Items with some of the words come after those with all of them.
                        let lists = words.each();
                        let share = depth.candidates().div_ceil(lists.len().max(1));
                        let mut some = Vec::new();
                        for word in lists {
                            some.extend(matches(conn, tenant, word, &filter, share).await?);
                        }
                        ranking::append(&mut hits, ranking::sum(some), depth);
                    }
                    Ok(hits)
                })
            })
            .await
    }

    async fn matching_keys(&self, tenant: TenantId, filter: &Filter) -> Result<Vec<u32>> {
        let filter = filter.clone();
        self.db
            .read("matching_keys", move |conn| {
                Box::pin(async move {
                    let mut sql =
                        Sql::new("SELECT m.item_key AS item_key FROM media_items m WHERE TRUE");
                    sql.push_filter(tenant, &filter);
                    let mut found = keys(conn, sql).await?;
                    found.sort_unstable();
                    Ok(found)
                })
            })
            .await
    }

    async fn newest_keys(
        &self,
        tenant: TenantId,
        filter: &Filter,
        ascending: bool,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<u32>> {
        let filter = filter.clone();
        self.db
            .read("newest_keys", move |conn| {
                Box::pin(async move {
                    let mut sql =
                        Sql::new("SELECT m.item_key AS item_key FROM media_items m WHERE TRUE");
                    sql.push_filter(tenant, &filter);
                    let order = match ascending {
                        true => " ORDER BY m.media_time, m.item_key LIMIT ? OFFSET ?",
                        false => " ORDER BY m.media_time DESC, m.item_key DESC LIMIT ? OFFSET ?",
                    };
                    sql.push(order, [Bind::Long(limit), Bind::Long(offset)]);
                    keys(conn, sql).await
                })
            })
            .await
    }

    async fn media_times(&self, tenant: TenantId, keys: &[u32]) -> Result<Vec<(u32, i64)>> {
        let keys: Vec<i64> = keys.iter().copied().map(i64::from).collect();
        self.db
            .read("media_times", move |conn| {
                Box::pin(async move {
                    let rows: Vec<(i64, i64)> = m::media_items
                        .filter(m::tenant_id.eq(bytes(tenant.0)))
                        .filter(m::item_key.eq_any(keys))
                        .select((m::item_key, m::media_time))
                        .load(conn)
                        .await?;
                    rows.into_iter()
                        .map(|(item_key, time)| Ok((key(item_key)?, time)))
                        .collect()
                })
            })
            .await
    }

    async fn items_by_key(&self, tenant: TenantId, keys: &[u32]) -> Result<Vec<MediaItem>> {
        let keys: Vec<i64> = keys.iter().copied().map(i64::from).collect();
        self.db
            .read("items_by_key", move |conn| {
                Box::pin(async move {
                    let rows: Vec<ItemRow> = m::media_items
                        .filter(m::tenant_id.eq(bytes(tenant.0)))
                        .filter(m::item_key.eq_any(keys))
                        .select(ItemRow::as_select())
                        .load(conn)
                        .await?;
                    rows.into_iter().map(MediaItem::try_from).collect()
                })
            })
            .await
    }

    async fn keys_of(
        &self,
        tenant: TenantId,
        ids: &[MediaItemId],
    ) -> Result<Vec<(MediaItemId, u32)>> {
        let ids: Vec<Vec<u8>> = ids.iter().map(|id| bytes(id.0)).collect();
        self.db
            .read("keys_of", move |conn| {
                Box::pin(async move {
                    let rows: Vec<(Vec<u8>, i64)> = m::media_items
                        .filter(m::tenant_id.eq(bytes(tenant.0)))
                        .filter(m::id.eq_any(ids))
                        .select((m::id, m::item_key))
                        .load(conn)
                        .await?;
                    rows.into_iter()
                        .map(|(id, item_key)| Ok((MediaItemId(uuid(&id)?), key(item_key)?)))
                        .collect()
                })
            })
            .await
    }

    async fn put_embeddings(
        &self,
        tenant: TenantId,
        id: MediaItemId,
        vectors: Vec<(String, Vec<u8>)>,
    ) -> Result<Option<u64>> {
        self.db
            .write("put_embeddings", move |conn| {
                Box::pin(put(conn, tenant, id, vectors))
            })
            .await
    }

    async fn vector_changes(
        &self,
        tenant: TenantId,
        model: &str,
        after: u64,
        limit: i64,
    ) -> Result<Vec<VectorChange>> {
        let model = model.to_owned();
        self.db
            .read("vector_changes", move |conn| {
                Box::pin(async move {
                    let rows: Vec<(i64, i64, Option<Vec<u8>>)> = e::media_embeddings
                        .filter(e::tenant_id.eq(bytes(tenant.0)))
                        .filter(e::model.eq(model))
                        .filter(e::seq.gt(after.cast_signed()))
                        .order(e::seq)
                        .limit(limit)
                        .select((e::seq, e::item_key, e::vector))
                        .load(conn)
                        .await?;
                    rows.into_iter()
                        .map(|(seq, item_key, vector)| {
                            Ok(VectorChange {
                                seq: seq.cast_unsigned(),
                                item_key: key(item_key)?,
                                vector,
                            })
                        })
                        .collect()
                })
            })
            .await
    }

    async fn vector_spaces(&self) -> Result<Vec<VectorSpace>> {
        self.db
            .read("vector_spaces", |conn| {
                Box::pin(async move {
                    let sql = Sql::new(
                        "SELECT tenant_id, model, max(length(vector)) AS size \
                         FROM media_embeddings GROUP BY tenant_id, model",
                    );
                    let rows: Vec<SpaceRow> = sql.into_query().load(conn).await?;
                    rows.into_iter()
                        .filter_map(|row| row.size.map(|size| (row.tenant_id, row.model, size)))
                        .map(|(tenant, model, size)| {
                            let dims = usize::try_from(size / 2)
                                .map_err(|_| Error::Corrupt { what: "vector" })?;
                            Ok(VectorSpace {
                                tenant_id: TenantId(uuid(&tenant)?),
                                model,
                                dims,
                            })
                        })
                        .collect()
                })
            })
            .await
    }

    async fn last_sequence(&self, tenant: TenantId, model: &str) -> Result<u64> {
        let model = model.to_owned();
        self.db
            .read("last_sequence", move |conn| {
                Box::pin(async move {
                    let last: Option<i64> = e::media_embeddings
                        .filter(e::tenant_id.eq(bytes(tenant.0)))
                        .filter(e::model.eq(model))
                        .select(max(e::seq))
                        .first(conn)
                        .await?;
                    Ok(last.unwrap_or(0).cast_unsigned())
                })
            })
            .await
    }

    async fn missing_embeddings(
        &self,
        model: &str,
        reads: Reads,
        limit: i64,
    ) -> Result<Vec<(TenantId, MediaItemId)>> {
        let model = model.to_owned();
        self.db
            .read("missing_embeddings", move |conn| {
                Box::pin(async move {
                    let ready = m::media_items
                        .filter(m::state.eq(State::Ready as i16))
                        .order(m::item_key)
                        .limit(limit)
                        .select((m::tenant_id, m::id))
                        .into_boxed();
                    let seen = e::media_embeddings.filter(e::model.eq(model));
                    let missing = match reads {
                        Reads::Pixels => ready
                            .filter(m::width_pixels.gt(0))
                            .filter(m::item_key.ne_all(seen.select(e::item_key))),
                        Reads::Text => ready.filter(not(exists(
                            seen.filter(e::item_key.eq(m::item_key))
                                .filter(e::create_time.ge(m::update_time)),
                        ))),
                    };
                    let rows: Vec<(Vec<u8>, Vec<u8>)> = missing.load(conn).await?;
                    rows.into_iter()
                        .map(|(tenant, id)| Ok((TenantId(uuid(&tenant)?), MediaItemId(uuid(&id)?))))
                        .collect()
                })
            })
            .await
    }

    async fn document_count(&self, tenant: TenantId) -> Result<i64> {
        self.db
            .read("document_count", move |conn| {
                Box::pin(async move {
                    let items = m::media_items.filter(m::tenant_id.eq(bytes(tenant.0)));
                    Ok(items.select(count_star()).first(conn).await?)
                })
            })
            .await
    }
}
