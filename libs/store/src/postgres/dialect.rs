//! Statements that PostgreSQL says in its own way, full text by `tsvector` among them.

use diesel::{
    ExpressionMethods as _, QueryDsl as _, QueryableByName,
    sql_types::{BigInt, Double, Integer, Text},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::TenantId;

pub(super) use super::database::Apart;
pub(super) use super::partitions::{make_log_partitions, take_log_partitions};
use super::{
    Connection,
    filter::{Bind, Sql},
    schema::{media_items::dsl as m, processing_jobs::dsl as j},
    search::key,
    types::{Id, raw},
    words::{self, Document, rank},
};
use crate::{
    error::Result,
    full_text::Wanted,
    search::{Filter, TextHit},
};

/// Condition on `media_items m` that it holds none of what [`any_of`] says.
pub(super) const HOLDS_NONE: &str = " AND NOT EXISTS (SELECT 1 FROM media_words f \
     WHERE f.tenant_id = m.tenant_id AND f.item_key = m.item_key AND f.words @@ CAST(? AS tsquery))";
/// End of a query whose rows its transaction is about to claim: those another has are passed over.
pub(super) const LOCK_CLAIMED: &str = " FOR UPDATE OF j SKIP LOCKED";
/// Values in one list, which is one array here.
pub(super) const MOST_BINDS: usize = 1_000;
/// Elements of the longest of some vectors.
pub(super) const MAX_DIMS: &str = "max(vector_dims(vector))";

/// Whether the request log has partitions.
pub(super) const PARTITIONS: bool = true;

/// Documents are counted up to here: a word in more of them is common, however many there are.
const COUNTED: i64 = 10_000;

#[derive(QueryableByName)]
struct CandidateRow {
    #[diesel(sql_type = BigInt)]
    item_key: i64,
    #[diesel(sql_type = Integer)]
    token_count: i32,
    #[diesel(sql_type = Text)]
    words: String,
}

#[derive(QueryableByName)]
struct CorpusRow {
    #[diesel(sql_type = BigInt)]
    documents: i64,
    #[diesel(sql_type = Double)]
    mean: f64,
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// Makes writes of a tenant take turns until the end of this transaction.
///
/// Keys of items and sequence numbers of vectors are then committed in the order they were drawn: who
/// has read up to one has seen all before it. And what a transaction read of the tenant stays true
/// while it writes, as in the embedded database, where all writes take turns.
pub(super) async fn lock_tenant(conn: &mut Connection, tenant: TenantId) -> Result<()> {
    lock(conn, format!("tenant {tenant}")).await
}

/// Makes the queueing of jobs under one unique key take turns until the end of this transaction.
pub(super) async fn lock_unique(
    conn: &mut Connection,
    tenant: TenantId,
    unique_key: &str,
) -> Result<()> {
    lock(conn, format!("job {tenant} {unique_key}")).await
}

/// Two names that share a hash wait for each other, that is all.
async fn lock(conn: &mut Connection, name: String) -> Result<()> {
    let mut sql = Sql::new("SELECT 0::bigint AS count FROM pg_advisory_xact_lock");
    sql.push("(hashtextextended(?, 0))", [Bind::Text(name)]);
    let _: Vec<CountRow> = sql.load(conn).await?;
    Ok(())
}

/// Makes claims take turns until the end of this transaction.
pub(super) async fn lock_claims(conn: &mut Connection) -> Result<()> {
    lock(conn, "claim".to_owned()).await
}

/// Locks jobs in one order everywhere, so that no two transactions wait for each other.
pub(super) async fn lock_jobs(conn: &mut Connection, ids: &[Id]) -> Result<()> {
    let _: Vec<Id> = j::processing_jobs
        .filter(j::id.eq_any(ids))
        .order(j::id)
        .select(j::id)
        .for_update()
        .load(conn)
        .await?;
    Ok(())
}

/// Rows of `job_totals` that are put together at once.
const MOST_TOTALS: i64 = 10_000;

/// Puts together what connections have counted of ended jobs, most of which are gone by now. A row that
/// is being counted in is left to the next time, so this waits for nobody who waits for it.
pub(super) async fn fold_job_totals(conn: &mut Connection) -> Result<()> {
    let mut sql = Sql::new("WITH taken AS (DELETE FROM job_totals d USING (");
    sql.push(
        "SELECT tenant_id, kind, state, slot FROM job_totals WHERE slot <> 0 LIMIT ? \
         FOR UPDATE SKIP LOCKED) t WHERE d.tenant_id = t.tenant_id AND d.kind = t.kind \
         AND d.state = t.state AND d.slot = t.slot RETURNING d.tenant_id, d.kind, d.state, d.jobs) \
         INSERT INTO job_totals AS t (tenant_id, kind, state, slot, jobs) \
         SELECT tenant_id, kind, state, 0, sum(jobs) FROM taken GROUP BY tenant_id, kind, state \
         ORDER BY tenant_id, kind, state ON CONFLICT (tenant_id, kind, state, slot) \
         DO UPDATE SET jobs = t.jobs + excluded.jobs",
        [Bind::Long(MOST_TOTALS)],
    );
    sql.execute(conn).await?;
    Ok(())
}

/// Brings the full text of an item up to date.
pub(super) async fn index_words(conn: &mut Connection, tenant: TenantId, key: i64) -> Result<()> {
    let (display_name, folder, tags, caption, search_text) = m::media_items
        .filter(m::tenant_id.eq(raw(tenant.0)))
        .filter(m::item_key.eq(key))
        .select((
            m::display_name,
            m::folder,
            m::tags,
            m::caption,
            m::search_text,
        ))
        .first::<(String, String, String, String, String)>(conn)
        .await?;
    let document = Document::new(
        tenant,
        &[
            (&display_name, 'B'),
            (&folder, 'C'),
            (&tags, 'A'),
            (&caption, 'B'),
            (&search_text, 'D'),
        ],
    );
    let mut sql = Sql::new("INSERT INTO media_words (tenant_id, item_key, words, token_count) ");
    sql.push(
        "VALUES (?, ?, CAST(? AS tsvector), ?) ON CONFLICT (tenant_id, item_key) \
         DO UPDATE SET words = excluded.words, token_count = excluded.token_count",
        [
            Bind::Id(raw(tenant.0)),
            Bind::Long(key),
            Bind::Text(document.tsvector),
            Bind::Int(document.token_count),
        ],
    );
    sql.execute(conn).await?;
    Ok(())
}

/// Takes an item out of the full text.
pub(super) async fn forget_words(conn: &mut Connection, tenant: TenantId, key: i64) -> Result<()> {
    let mut sql = Sql::new("DELETE FROM media_words");
    sql.push(
        " WHERE tenant_id = ? AND item_key = ?",
        [Bind::Id(raw(tenant.0)), Bind::Long(key)],
    );
    sql.execute(conn).await?;
    Ok(())
}

/// Items that hold any word or phrase, as a `tsquery`.
pub(super) fn any_of(wanted: &[Wanted]) -> String {
    let terms: Vec<String> = wanted.iter().filter_map(words::term).collect();
    terms.join(" | ")
}

/// The newest `limit` items that hold all of `wanted` and match the filter, with their BM25.
pub(super) async fn matches(
    conn: &mut Connection,
    tenant: TenantId,
    wanted: &[Wanted],
    filter: &Filter,
    limit: usize,
) -> Result<Vec<TextHit>> {
    let Some(query) = words::all_of(tenant, wanted) else {
        return Ok(Vec::new());
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (from, words) = match only_newest(filter) {
        // nothing is asked of the items themselves: their words know their keys
        true => ("media_words m", "m"),
        false => (
            "media_words w JOIN media_items m ON m.tenant_id = w.tenant_id \
             AND m.item_key = w.item_key",
            "w",
        ),
    };
    let mut sql = Sql::new(&format!(
        "SELECT m.item_key, {words}.token_count, CAST({words}.words AS text) AS words FROM {from} "
    ));
    sql.push(
        &format!("WHERE {words}.words @@ CAST(? AS tsquery)"),
        [Bind::Text(query)],
    );
    sql.push_filter(tenant, filter);
    sql.push(" ORDER BY m.item_key DESC LIMIT ?", [Bind::Long(limit)]);
    let rows: Vec<CandidateRow> = sql.load(conn).await?;
    let mut terms = Vec::with_capacity(wanted.len());
    // one alone needs no rank
    let corpus = match rows.len() {
        0 | 1 => rank::Corpus::default(),
        _ => corpus(conn, tenant).await?,
    };
    for wanted in wanted {
        let holding = match rows.len() {
            0 | 1 => 0,
            _ => holding(conn, tenant, wanted).await?,
        };
        terms.extend(rank::Term::new(wanted, &corpus, holding));
    }
    let candidates = rows
        .into_iter()
        .map(|row| {
            Ok(rank::Candidate {
                item_key: key(row.item_key)?,
                token_count: row.token_count,
                words: row.words,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(rank::score(&terms, &corpus, &candidates))
}

fn only_newest(filter: &Filter) -> bool {
    let rest = Filter {
        newest_key: None,
        ..filter.clone()
    };
    rest.is_empty()
}

/// Number and mean length of a tenant's items, as far as they are counted.
async fn corpus(conn: &mut Connection, tenant: TenantId) -> Result<rank::Corpus> {
    let mut sql = Sql::new("SELECT count(*) AS documents, ");
    sql.push(
        "coalesce(avg(token_count), 1)::float8 AS mean FROM \
         (SELECT token_count FROM media_words WHERE tenant_id = ? LIMIT ?) counted",
        [Bind::Id(raw(tenant.0)), Bind::Long(COUNTED)],
    );
    let row: CorpusRow = sql.get_result(conn).await?;
    Ok(rank::Corpus {
        documents: row.documents,
        mean_tokens: row.mean,
    })
}

/// Items of a tenant that hold a word or phrase, as far as they are counted.
async fn holding(conn: &mut Connection, tenant: TenantId, wanted: &Wanted) -> Result<i64> {
    let Some(query) = words::all_of(tenant, std::slice::from_ref(wanted)) else {
        return Ok(0);
    };
    let mut sql = Sql::new("SELECT count(*) AS count FROM (SELECT 1 FROM media_words ");
    sql.push(
        "WHERE words @@ CAST(? AS tsquery) LIMIT ?) counted",
        [Bind::Text(query), Bind::Long(COUNTED)],
    );
    let row: CountRow = sql.get_result(conn).await?;
    Ok(row.count)
}
