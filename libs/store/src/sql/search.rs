//! [`SearchStore`].

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryableByName,
    SelectableHelper as _,
    dsl::{count_star, exists, max, not, sql},
    sql_types::{BigInt, Bool, Integer, Nullable, Text},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{MediaItemId, TenantId};

use super::{
    Connection, Store, dialect,
    filter::{Bind, Sql},
    media_write::{bump_corpus, insert_vectors},
    removed,
    rows::ItemRow,
    schema::{media_embeddings::dsl as e, media_items::dsl as m, tenants::dsl as t},
    types::{Id, SqlId, Vector, raw, uuid, vector, vector_bytes},
};
use crate::{
    error::{Error, Result},
    full_text::{Words, ranking},
    media::{MediaItem, State},
    search::{
        Corpus, Filter, ItemPlace, Missing, Reads, SearchStore, Sequences, TextDepth, TextHit,
        VectorChange, VectorChanges, VectorSpace,
    },
};

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = BigInt)]
    item_key: i64,
}

#[derive(QueryableByName)]
struct SpaceRow {
    #[diesel(sql_type = SqlId)]
    tenant_id: Id,
    #[diesel(sql_type = Text)]
    model: String,
    #[diesel(sql_type = Nullable<Integer>)]
    dims: Option<i32>,
}

pub(super) fn key(item_key: i64) -> Result<u32> {
    u32::try_from(item_key).map_err(|_| Error::Corrupt { what: "item key" })
}

async fn keys(conn: &mut Connection, sql: Sql) -> Result<Vec<u32>> {
    let rows: Vec<KeyRow> = sql.load(conn).await?;
    rows.into_iter().map(|row| key(row.item_key)).collect()
}

async fn put(
    conn: &mut Connection,
    tenant: TenantId,
    id: MediaItemId,
    vectors: Vec<(String, Vec<u8>)>,
) -> Result<Option<u64>> {
    dialect::lock_tenant(conn, tenant).await?;
    let item_key: Option<i64> = m::media_items
        .filter(m::tenant_id.eq(raw(tenant.0)))
        .filter(m::id.eq(raw(id.0)))
        .select(m::item_key)
        .first(conn)
        .await
        .optional()?;
    let Some(item_key) = item_key else {
        return Ok(None);
    };
    // of two vectors of one model the later one counts
    let vectors: BTreeMap<String, Vec<u8>> = vectors.into_iter().collect();
    let of_models = || {
        e::media_embeddings
            .filter(e::tenant_id.eq(raw(tenant.0)))
            .filter(e::model.eq_any(vectors.keys().cloned().collect::<Vec<String>>()))
            .filter(e::item_key.eq(item_key))
    };
    diesel::delete(of_models()).execute(conn).await?;
    let row = |(model, bytes): (&String, &Vec<u8>)| {
        let bytes = Some(bytes.clone()).filter(|bytes| !bytes.is_empty());
        (model.clone(), bytes.map(vector))
    };
    let rows = vectors.iter().map(row).collect();
    insert_vectors(conn, tenant, item_key, rows).await?;
    let last: Option<i64> = of_models().select(max(e::seq)).first(conn).await?;
    bump_corpus(conn, tenant).await?;
    Ok(Some(last.unwrap_or_default().cast_unsigned()))
}

#[async_trait]
impl SearchStore for Store {
    async fn corpus(&self, tenant: TenantId) -> Result<Corpus> {
        self.replica()
            // how new all that follows must be
            .read_first("corpus", move |conn| {
                Box::pin(async move {
                    // No LIMIT: its number would be bound, and PostgreSQL, which keeps no plan for any
                    // number, would plan anew each time, for as long as the rest takes.
                    let newest = m::media_items
                        .filter(m::tenant_id.eq(raw(tenant.0)))
                        .select(max(m::item_key))
                        .single_value();
                    let row: Option<(i64, Option<i64>)> = t::tenants
                        .filter(t::id.eq(raw(tenant.0)))
                        .select((t::corpus_version, newest))
                        .get_result(conn)
                        .await
                        .optional()?;
                    let Some((version, newest)) = row else {
                        return Ok(Corpus::default());
                    };
                    let newest_key = newest.map_or(Ok(0), key)?;
                    Ok(Corpus {
                        version,
                        newest_key,
                    })
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
        self.replica()
            .read("full_text", move |conn| {
                Box::pin(async move {
                    let all = words.all();
                    let found =
                        dialect::matches(conn, tenant, all, &filter, depth.candidates()).await?;
                    let mut hits = ranking::blocks(found, depth);
                    if hits.len() < depth.hits {
                        // Items with some of the words come after those with all of them.
                        let share = depth.candidates().div_ceil(words.each().len().max(1));
                        let mut some = Vec::new();
                        for word in words.each() {
                            let word = std::slice::from_ref(word);
                            some.extend(
                                dialect::matches(conn, tenant, word, &filter, share).await?,
                            );
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
        self.replica()
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
        self.replica()
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
        self.replica()
            .read("media_times", move |conn| {
                Box::pin(async move {
                    let rows: Vec<(i64, i64)> = m::media_items
                        .filter(m::tenant_id.eq(raw(tenant.0)))
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
        self.replica()
            .read("items_by_key", move |conn| {
                Box::pin(async move {
                    let rows: Vec<ItemRow> = m::media_items
                        .filter(m::tenant_id.eq(raw(tenant.0)))
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
        let ids: Vec<Id> = ids.iter().map(|id| raw(id.0)).collect();
        self.replica()
            .read("keys_of", move |conn| {
                Box::pin(async move {
                    let rows: Vec<(Id, i64)> = m::media_items
                        .filter(m::tenant_id.eq(raw(tenant.0)))
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
            .write_of("put_embeddings", tenant, move |conn| {
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
    ) -> Result<VectorChanges> {
        let model = model.to_owned();
        self.replica()
            .read("vector_changes", move |conn| {
                Box::pin(async move {
                    let rows: Vec<(i64, i64, Option<Vector>)> = e::media_embeddings
                        .filter(e::tenant_id.eq(raw(tenant.0)))
                        .filter(e::model.eq(&model))
                        .filter(e::seq.gt(after.cast_signed()))
                        .order(e::seq)
                        .limit(limit)
                        .select((e::seq, e::item_key, e::vector))
                        .load(conn)
                        .await?;
                    // after the rows: what went as they were read is known
                    let swept = removed::swept(conn, tenant, &model).await?;
                    let rows = rows
                        .into_iter()
                        .map(|(seq, item_key, vector)| {
                            Ok(VectorChange {
                                seq: seq.cast_unsigned(),
                                item_key: key(item_key)?,
                                vector: vector.map(vector_bytes),
                            })
                        })
                        .collect::<Result<_>>()?;
                    Ok(VectorChanges { rows, swept })
                })
            })
            .await
    }

    async fn vector_spaces(&self) -> Result<Vec<VectorSpace>> {
        self.replica()
            .read("vector_spaces", |conn| {
                Box::pin(async move {
                    let sql = Sql::new(&format!(
                        "SELECT tenant_id, model, {} AS dims \
                         FROM media_embeddings GROUP BY tenant_id, model",
                        dialect::MAX_DIMS
                    ));
                    let rows: Vec<SpaceRow> = sql.load(conn).await?;
                    rows.into_iter()
                        .filter_map(|row| row.dims.map(|dims| (row.tenant_id, row.model, dims)))
                        .map(|(tenant, model, dims)| {
                            let dims = usize::try_from(dims)
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

    async fn sequences(&self, tenant: TenantId, model: &str) -> Result<Sequences> {
        let model = model.to_owned();
        self.replica()
            .read("sequences", move |conn| {
                Box::pin(removed::sequences(conn, tenant, model))
            })
            .await
    }

    async fn sweep_removed(
        &self,
        tenant: TenantId,
        model: &str,
        through: Option<u64>,
        age: Duration,
    ) -> Result<u64> {
        let (mut rows, mut after) = (0, None);
        loop {
            let of = model.to_owned();
            // beside writers: it may take long
            let found = self.db.read("find_removed", move |conn| {
                Box::pin(removed::find(conn, tenant, of, after, through, age))
            });
            let found = found.await?;
            for seqs in found.chunks() {
                let (of, seqs) = (model.to_owned(), seqs.to_vec());
                let swept = self.db.write_of("sweep_removed", tenant, move |conn| {
                    Box::pin(removed::sweep(conn, tenant, of, seqs))
                });
                rows += swept.await?;
            }
            if let Some(looked) = found.looked {
                let of = model.to_owned();
                let noted = self.db.write_of("note_looked", tenant, move |conn| {
                    Box::pin(removed::note_looked(conn, tenant, of, looked))
                });
                noted.await?;
            }
            if !found.more {
                return Ok(rows);
            }
            after = found.looked;
        }
    }

    async fn missing_embeddings(
        &self,
        model: &str,
        reads: Reads,
        after: Option<ItemPlace>,
        limit: i64,
    ) -> Result<Vec<Missing>> {
        let model = model.to_owned();
        // not the replica: what it has not yet would be made again
        self.db
            .read("missing_embeddings", move |conn| {
                Box::pin(async move {
                    let mut ready = m::media_items
                        .filter(m::state.eq(State::Ready as i16))
                        .order((m::tenant_id, m::item_key))
                        .limit(limit)
                        .select((m::tenant_id, m::id, m::item_key))
                        .into_boxed();
                    if let Some((tenant, item_key)) = after.map(ItemPlace::parts) {
                        // one condition on two columns, from which the walk of the index begins
                        ready = ready.filter(
                            sql::<Bool>("(media_items.tenant_id, media_items.item_key) > (")
                                .bind::<SqlId, _>(raw(tenant.0))
                                .sql(", ")
                                .bind::<BigInt, _>(item_key)
                                .sql(")"),
                        );
                    }
                    let seen = e::media_embeddings
                        .filter(e::tenant_id.eq(m::tenant_id))
                        .filter(e::model.eq(model))
                        .filter(e::item_key.eq(m::item_key));
                    let missing = match reads {
                        Reads::Pixels => ready
                            .filter(m::width_pixels.gt(0))
                            .filter(not(exists(seen))),
                        Reads::Text => ready
                            .filter(not(exists(seen.filter(e::create_time.ge(m::update_time))))),
                    };
                    let rows: Vec<(Id, Id, i64)> = missing.load(conn).await?;
                    let missing = |(tenant, id, item_key): (Id, Id, i64)| {
                        Ok(Missing {
                            tenant: TenantId(uuid(&tenant)?),
                            id: MediaItemId(uuid(&id)?),
                            item_key,
                        })
                    };
                    rows.into_iter().map(missing).collect()
                })
            })
            .await
    }

    async fn document_count(&self, tenant: TenantId) -> Result<i64> {
        self.replica()
            .read("document_count", move |conn| {
                Box::pin(async move {
                    let items = m::media_items.filter(m::tenant_id.eq(raw(tenant.0)));
                    Ok(items.select(count_star()).first(conn).await?)
                })
            })
            .await
    }
}
