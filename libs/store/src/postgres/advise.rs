//! [`Advisor`] on PostgreSQL.

use async_trait::async_trait;
use diesel_async::SimpleAsyncConnection as _;
use mediamesh_proto::time::now_micros;

use super::{PostgresStore, vector_index};
use crate::{
    advise::{Advisor, Finding, Index, LARGE, Mended, begins_as_read, single, wanted},
    error::{Error, Result},
    slow::Plan,
};

/// The migrations, by which indexes are known.
const MIGRATIONS: &str = include_str!(concat!(env!("OUT_DIR"), "/postgres.sql"));
/// Longest that a statement may be run for its plan, milliseconds.
const RUN_MILLIS: u64 = 30_000;

/// Every index, and whether it is whole: one whose making was cut off is not.
const INDEXES: &str = "SELECT c.relname || CASE WHEN i.indisvalid THEN ' whole' ELSE ' broken' END \
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema()";
/// Large tables of which a fifth changed since they were looked at, or that never were.
const STALE: &str = "SELECT relname FROM pg_stat_user_tables WHERE n_live_tup > {large} \
     AND schemaname = current_schema() AND (coalesce(last_analyze, last_autoanalyze) IS NULL \
     OR n_mod_since_analyze > n_live_tup / 5) ORDER BY 1";
/// Large tables that are read as a whole more often than by an index, with the rows read each time.
const SCANNED: &str = "SELECT relname || ' ' || seq_scan || ' ' || seq_tup_read / seq_scan \
     FROM pg_stat_user_tables WHERE n_live_tup > {large} AND schemaname = current_schema() \
     AND seq_scan > 100 AND seq_scan > coalesce(idx_scan, 0) ORDER BY seq_tup_read DESC";
/// Large tables with more than a fifth of dead rows.
const BLOATED: &str = "SELECT relname FROM pg_stat_user_tables WHERE n_live_tup > {large} \
     AND schemaname = current_schema() AND n_dead_tup > n_live_tup / 5 ORDER BY 1";

impl PostgresStore {
    async fn lines(&self, statements: &str) -> Result<Vec<String>> {
        self.db.ask(statements).await
    }
}

fn finding(subject: &str, advice: String, mend: String) -> Finding {
    Finding {
        subject: subject.to_owned(),
        advice,
        mend,
    }
}

/// Partitions cannot be indexed beside writers by one statement.
fn make(index: &Index) -> String {
    index.make(index.table != "request_log")
}

#[async_trait]
impl Advisor for PostgresStore {
    async fn explain(&self, statement: &str, run: bool) -> Result<Plan> {
        let statement = single(statement).map_err(|why| Error::Refused { why })?;
        let settings = format!(
            "SET statement_timeout = {RUN_MILLIS}; {}",
            vector_index::settings()
        );
        // on a line of its own, so that a comment in it ends there
        let ask = async |options: &str| {
            let ask = format!(
                "{settings}; BEGIN TRANSACTION READ ONLY; EXPLAIN ({options}FORMAT JSON)\n{statement}\n; ROLLBACK"
            );
            let lines = self.lines(&ask).await?;
            Plan::of_postgres(&lines.join("\n")).ok_or_else(|| Error::Refused {
                why: "the plan is no JSON".to_owned(),
            })
        };
        let plan = ask("").await?;
        if !run {
            return Ok(plan);
        }
        if !begins_as_read(statement) || plan.writes {
            return Err(Error::Refused {
                why: "it writes, so it is not run".to_owned(),
            });
        }
        ask("ANALYZE, BUFFERS, ").await
    }

    async fn findings(&self) -> Result<Vec<Finding>> {
        let there = self.lines(INDEXES).await?;
        let mut findings = Vec::new();
        for index in wanted(MIGRATIONS) {
            let is = |state: &str| there.contains(&format!("{} {state}", index.name));
            if is("broken") {
                let advice = "it is not whole, as its making was cut off, and no statement uses it";
                let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", index.name);
                findings.push(finding(&index.name, advice.to_owned(), drop));
            }
            if !is("whole") {
                let advice = format!("{} has not this index of its schema", index.table);
                findings.push(finding(&index.name, advice, make(&index)));
            }
        }
        let large = |sql: &str| sql.replace("{large}", &LARGE.to_string());
        for table in self.lines(&large(STALE)).await? {
            let advice = "its statistics are stale, and plans are made from them".to_owned();
            findings.push(finding(&table, advice, format!("ANALYZE \"{table}\"")));
        }
        for line in self.lines(&large(SCANNED)).await? {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap_or_default();
            let (table, scans, rows) = (word(), word(), word());
            let advice = format!(
                "it was read as a whole {scans} times, {rows} rows each, more often than by an index: \
                 the log's slow statements name which"
            );
            findings.push(finding(table, advice, String::new()));
        }
        for table in self.lines(&large(BLOATED)).await? {
            let advice = "more than a fifth of it is dead rows".to_owned();
            findings.push(finding(
                &table,
                advice,
                format!("VACUUM (ANALYZE) \"{table}\""),
            ));
        }
        Ok(findings)
    }

    async fn mend(&self, findings: &[Finding]) -> Vec<Mended> {
        let mut all = Vec::new();
        for finding in findings.iter().filter(|finding| !finding.mend.is_empty()) {
            let start = now_micros();
            // a connection of its own each: no time-out, and none of them in a transaction
            let done = async {
                let mut conn = self.db.dedicated().await?;
                conn.batch_execute(&finding.mend).await?;
                Ok::<(), Error>(())
            };
            let error = done.await.err().map(|error| {
                let why = std::error::Error::source(&error);
                why.map_or_else(|| error.to_string(), ToString::to_string)
            });
            match &error {
                None => tracing::info!(
                    statement = finding.mend,
                    took_ms = (now_micros() - start) / 1000,
                    "mended"
                ),
                Some(error) => tracing::warn!(statement = finding.mend, error, "not mended"),
            }
            all.push(Mended {
                statement: finding.mend.clone(),
                error,
            });
        }
        all
    }
}
