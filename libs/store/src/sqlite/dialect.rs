//! Statements that SQLite says in its own way, full text by FTS5 among them.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Float},
};
use diesel_async::RunQueryDsl as _;
use mediamesh_proto::TenantId;

pub(super) use crate::database::Apart;

use super::{
    filter::{Bind, Sql},
    search::key,
    types::Id,
};
use crate::{
    database::Connection,
    error::Result,
    full_text::Wanted,
    search::{Filter, TextHit},
};

/// Condition on `media_items m` that it holds none of what [`any_of`] says.
pub(super) const HOLDS_NONE: &str =
    " AND m.item_key NOT IN (SELECT f.rowid FROM media_fts f WHERE media_fts MATCH ?)";
/// End of a query whose rows its transaction is about to claim: nobody else writes meanwhile.
pub(super) const LOCK_CLAIMED: &str = "";
/// Values in one list: far below the 32766 that SQLite takes.
pub(super) const MOST_BINDS: usize = 1_000;
/// Elements of the longest of some vectors.
pub(super) const MAX_DIMS: &str = "max(length(vector)) / 2";

/// Whether the request log has partitions.
pub(super) const PARTITIONS: bool = false;

/// Weights of the columns in BM25: name, folder, tags, caption, other words.
const BM25: &str = "bm25(media_fts, 4.0, 2.0, 5.0, 4.0, 1.0)";

#[derive(QueryableByName)]
struct TextRow {
    #[diesel(sql_type = BigInt)]
    item_key: i64,
    #[diesel(sql_type = Float)]
    rank: f32,
}

/// Makes writes of a tenant take turns. Here all writes do: SQLite has one writer.
#[expect(clippy::unused_async)]
pub(super) async fn lock_tenant(_: &mut Connection, _: TenantId) -> Result<()> {
    Ok(())
}

/// Makes the queueing of jobs under one unique key take turns, as all writes do here.
#[expect(clippy::unused_async)]
pub(super) async fn lock_unique(_: &mut Connection, _: TenantId, _: &str) -> Result<()> {
    Ok(())
}

/// Makes claims take turns, as all writes do here.
#[expect(clippy::unused_async)]
pub(super) async fn lock_claims(_: &mut Connection) -> Result<()> {
    Ok(())
}

/// Makes the writes of these jobs take turns, as all writes do here.
#[expect(clippy::unused_async)]
pub(super) async fn lock_jobs(_: &mut Connection, _: &[Id]) -> Result<()> {
    Ok(())
}

/// Puts together what was counted of ended jobs: here it is one row each.
#[expect(clippy::unused_async)]
pub(super) async fn fold_job_totals(_: &mut Connection) -> Result<()> {
    Ok(())
}

/// Brings the full text of an item up to date: triggers do.
#[expect(clippy::unused_async)]
pub(super) async fn index_words(_: &mut Connection, _: TenantId, _: i64) -> Result<()> {
    Ok(())
}

/// Takes an item out of the full text: triggers do.
#[expect(clippy::unused_async)]
pub(super) async fn forget_words(_: &mut Connection, _: TenantId, _: i64) -> Result<()> {
    Ok(())
}

/// Makes room for the request log: one table has it.
#[expect(clippy::unused_async)]
pub(super) async fn make_log_partitions(_: &mut Connection) -> Result<()> {
    Ok(())
}

/// Takes old partitions out of the request log: there are none.
#[expect(clippy::unused_async)]
pub(super) async fn take_log_partitions(
    _: &mut Connection,
    _: i64,
    _: bool,
) -> Result<Vec<String>> {
    Ok(Vec::new())
}

/// The newest `limit` items that hold all of `wanted` and match the filter, with their BM25.
pub(super) async fn matches(
    conn: &mut Connection,
    tenant: TenantId,
    wanted: &[Wanted],
    filter: &Filter,
    limit: usize,
) -> Result<Vec<TextHit>> {
    let mut sql = Sql::new("SELECT m.item_key AS item_key, ");
    sql.push(BM25, []);
    sql.push(
        " AS rank FROM media_fts JOIN media_items m ON m.item_key = media_fts.rowid \
         WHERE media_fts MATCH ?",
        [Bind::Text(all_of(wanted))],
    );
    sql.push_filter(tenant, filter);
    // The full text index walks its rows in this order, so nothing past the limit is scored.
    sql.push(
        " ORDER BY media_fts.rowid DESC LIMIT ?",
        [Bind::Long(i64::try_from(limit).unwrap_or(i64::MAX))],
    );
    let rows: Vec<TextRow> = sql.load(conn).await?;
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

/// Items that hold every word or phrase, as an FTS5 query. Tokens are letters and digits: nothing in
/// them needs escaping.
fn all_of(wanted: &[Wanted]) -> String {
    wanted.iter().map(term).collect::<Vec<_>>().join(" AND ")
}

/// Items that hold any word or phrase, as an FTS5 query.
pub(super) fn any_of(wanted: &[Wanted]) -> String {
    wanted.iter().map(term).collect::<Vec<_>>().join(" OR ")
}

fn term(wanted: &Wanted) -> String {
    let star = if wanted.prefix { "*" } else { "" };
    format!("\"{}\"{star}", wanted.tokens.join(" "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::full_text::Words;

    #[test]
    fn words_and_phrases_become_a_query() {
        let words = Words::parse("beach \"red boat\" sun").unwrap();
        assert_eq!(all_of(words.all()), r#""beach" AND "red boat" AND "sun"*"#);
        let each: Vec<String> = words.each().iter().map(term).collect();
        assert_eq!(each, [r#""beach""#, r#""red boat""#, r#""sun"*"#]);
        let words = Words::parse("IMG_2024.jpg ").unwrap();
        assert_eq!(all_of(words.all()), r#""IMG" AND "2024" AND "jpg""#);
        let words = Words::parse("open \"quote").unwrap();
        assert_eq!(all_of(words.all()), r#""open" AND "quote"*"#);
        let unwanted = ["dog", "red \"boat"].map(|text| Wanted::phrase(text).unwrap());
        assert_eq!(any_of(&unwanted), r#""dog" OR "red boat""#);
    }
}
