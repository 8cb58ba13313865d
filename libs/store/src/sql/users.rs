//! What a user has stored, and what was derived from it.

use std::collections::HashMap;

use diesel::{
    ExpressionMethods as _, NullableExpressionMethods as _, QueryDsl as _, QueryableByName,
    dsl::{count_star, max},
    sql_types::{BigInt, Nullable, Text},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::{ApiKeyId, MediaItemId, TenantId};
use uuid::Uuid;

use super::{
    Connection,
    filter::{Bind, Sql},
    schema::{media_embeddings::dsl as e, processing_jobs::dsl as j},
    types::{Id, raw, uuid},
};
use crate::{
    error::Result,
    media::{Derived, JobCount, UserStats},
};

/// How the subject of an API key begins; its id follows.
const KEY: &str = "key:";

#[derive(QueryableByName)]
struct StatsRow {
    #[diesel(sql_type = BigInt)]
    files: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    first_time: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last_time: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    key_name: Option<String>,
}

pub(super) async fn stats(
    conn: &mut Connection,
    tenant: TenantId,
    user: String,
) -> Result<UserStats> {
    let key: Option<ApiKeyId> = user.strip_prefix(KEY).and_then(|id| id.parse().ok());
    // no key has this id
    let key = key.map_or(Uuid::nil(), |key| key.0);
    let mut sql = Sql::new(
        "SELECT s.files, s.bytes, s.first_time, s.last_time, k.display_name AS key_name FROM \
         (SELECT count(*) AS files, CAST(coalesce(sum(size_bytes), 0) AS bigint) AS bytes, \
         min(create_time) AS first_time, max(create_time) AS last_time FROM media_items ",
    );
    sql.push(
        "WHERE tenant_id = ? AND uploader = ?) s \
         LEFT JOIN api_keys k ON k.tenant_id = ? AND k.id = ?",
        [
            Bind::Id(raw(tenant.0)),
            Bind::Text(user),
            Bind::Id(raw(tenant.0)),
            Bind::Id(raw(key)),
        ],
    );
    let row: StatsRow = sql.get_result(conn).await?;
    Ok(UserStats {
        total_files: row.files,
        total_bytes: row.bytes,
        first_upload_time: row.first_time,
        last_upload_time: row.last_time,
        key_name: row.key_name,
    })
}

/// Of each item, in the order given.
pub(super) async fn derived(
    conn: &mut Connection,
    tenant: TenantId,
    items: Vec<(i64, MediaItemId)>,
) -> Result<Vec<Derived>> {
    let keys: Vec<i64> = items.iter().map(|(key, _)| *key).collect();
    let vectors: Vec<(i64, String, i64)> = e::media_embeddings
        .filter(e::tenant_id.eq(raw(tenant.0)))
        .filter(e::item_key.eq_any(keys))
        .filter(e::vector.is_not_null())
        .order((e::item_key, e::model))
        .select((e::item_key, e::model, e::create_time))
        .load(conn)
        .await?;
    let ids: Vec<Id> = items.iter().map(|(_, id)| raw(id.0)).collect();
    let jobs: Vec<(Id, i16, i16, i64, Option<i64>)> = j::processing_jobs
        .filter(j::tenant_id.eq(raw(tenant.0)))
        .filter(j::media_item_id.eq_any(ids))
        .group_by((j::media_item_id, j::kind, j::state))
        .order((j::media_item_id, j::kind, j::state))
        .select((
            j::media_item_id.assume_not_null(),
            j::kind,
            j::state,
            count_star(),
            max(j::end_time),
        ))
        .load(conn)
        .await?;
    let mut by_key: HashMap<i64, Vec<(String, i64)>> = HashMap::new();
    for (key, model, time) in vectors {
        by_key.entry(key).or_default().push((model, time));
    }
    let mut by_id: HashMap<Uuid, Vec<JobCount>> = HashMap::new();
    for (id, kind, state, count, last_end_time) in jobs {
        by_id.entry(uuid(&id)?).or_default().push(JobCount {
            kind,
            state,
            count,
            last_end_time,
        });
    }
    // an id asked for twice is answered twice, so nothing may be moved out
    let derived = items.iter().map(|(key, id)| Derived {
        embeddings: by_key.get(key).cloned().unwrap_or_default(),
        jobs: by_id.get(&id.0).cloned().unwrap_or_default(),
    });
    Ok(derived.collect())
}
