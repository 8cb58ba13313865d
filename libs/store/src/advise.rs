//! What could be better about a database: indexes that are missing, statistics that are stale, tables that are
//! read as a whole, and the plan of any statement.
//!
//! - [`Advisor`]: what a database can be asked
//! - `indexes`: those that the migrations make, so that a database can be compared with them

mod indexes;

use async_trait::async_trait;

pub(crate) use indexes::{Index, wanted};

use crate::{error::Result, slow::Plan};

/// Rows from which on a table is large.
pub(crate) const LARGE: i64 = 10_000;

/// Something that could be better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: an index, a table.
    pub subject: String,
    /// A sentence for people.
    pub advice: String,
    /// A statement that mends it; empty = nothing does by itself.
    pub mend: String,
}

/// What became of one attempt to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The statement.
    pub statement: String,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Tells what could be better, for operators.
#[async_trait]
pub trait Advisor: Send + Sync {
    /// The plan of a statement, and what could be better about it.
    ///
    /// With `run` it is run, for its real times and rows: only if it reads, in a transaction that cannot
    /// write, and what it answers is thrown away.
    ///
    /// Errors: `Refused` if there is more than one statement, it is none that has a plan, it was to be run
    /// and writes, or the database refuses it.
    async fn explain(&self, statement: &str, run: bool) -> Result<Plan>;

    /// What is found by looking at the whole database.
    async fn findings(&self) -> Result<Vec<Finding>>;

    /// Runs what mends findings, one by one: each that fails is told of, and the next is tried. Indexes are
    /// made beside writers where the database can.
    async fn mend(&self, findings: &[Finding]) -> Vec<Mended>;
}

/// The one statement in a text, without the semicolon that may end it.
///
/// Errors: why it is none.
pub(crate) fn single(statement: &str) -> std::result::Result<&str, String> {
    let statement = statement.trim().trim_end_matches(';').trim_end();
    if statement.contains(';') {
        return Err("more than one statement, or a semicolon within it".to_owned());
    }
    let verb = statement.split_whitespace().next().unwrap_or_default();
    let known = ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"];
    if !known.iter().any(|known| verb.eq_ignore_ascii_case(known)) {
        return Err(format!("one of {} is explained", known.join(", ")));
    }
    Ok(statement)
}

/// Whether a statement begins as one that reads; its plan has to agree.
pub(crate) fn begins_as_read(statement: &str) -> bool {
    let verb = statement.split_whitespace().next().unwrap_or_default();
    ["SELECT", "WITH"]
        .iter()
        .any(|known| verb.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_on_rows_is_taken() {
        assert_eq!(single(" select 1 ; \n"), Ok("select 1"));
        for bad in [
            "",
            "select 1; drop table x",
            "DROP TABLE x",
            "EXPLAIN SELECT 1",
            "COPY x TO 'y'",
        ] {
            assert!(single(bad).is_err(), "{bad}");
        }
        assert!(
            begins_as_read("with x as (select 1) select 1") && !begins_as_read("delete from x")
        );
    }
}
