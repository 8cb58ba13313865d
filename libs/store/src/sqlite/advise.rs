//! [`Advisor`] on SQLite.

use async_trait::async_trait;
use diesel::{QueryableByName, sql_query, sql_types::Text};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};

use super::SqliteStore;
use crate::{
    advise::{Advisor, Finding, Mended, begins_as_read, single, wanted},
    error::{Error, Result},
    slow::Plan,
};

/// The migrations, by which indexes are known.
const MIGRATIONS: &str = include_str!(concat!(env!("OUT_DIR"), "/sqlite.sql"));

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    detail: String,
}

impl SqliteStore {
    async fn lines(&self, name: &'static str, sql: String) -> Result<Vec<String>> {
        self.db
            .read(name, move |conn| {
                Box::pin(async move {
                    let lines: Vec<Line> = sql_query(sql).load(conn).await?;
                    Ok(lines.into_iter().map(|line| line.detail).collect())
                })
            })
            .await
    }
}

#[async_trait]
impl Advisor for SqliteStore {
    async fn explain(&self, statement: &str, run: bool) -> Result<Plan> {
        let statement = single(statement).map_err(|why| Error::Refused { why })?;
        if run && !begins_as_read(statement) {
            return Err(Error::Refused {
                why: "it writes, so it is not run".to_owned(),
            });
        }
        let sql = format!("EXPLAIN QUERY PLAN\n{statement}");
        let lines = self.lines("explain", sql).await;
        let lines = lines.map_err(|error| Error::Refused {
            why: match std::error::Error::source(&error) {
                Some(cause) => cause.to_string(),
                None => error.to_string(),
            },
        })?;
        // this database has one plan for all values, and tells no more of it when it is run
        Ok(Plan::of_sqlite(&lines))
    }

    async fn findings(&self) -> Result<Vec<Finding>> {
        let there = "SELECT name AS detail FROM sqlite_master WHERE type = 'index'".to_owned();
        let there = self.lines("findings", there).await?;
        let missing = wanted(MIGRATIONS).into_iter();
        let missing = missing.filter(|index| !there.contains(&index.name));
        let mut findings: Vec<Finding> = missing
            .map(|index| Finding {
                advice: format!("{} has not this index of its schema", index.table),
                mend: index.make(false),
                subject: index.name,
            })
            .collect();
        // tables of fewer rows need none; the planner's own rule of thumb for the rest
        let large = "SELECT 'large' AS detail FROM media_items LIMIT 1 OFFSET 10000".to_owned();
        let known =
            "SELECT name AS detail FROM sqlite_master WHERE name = 'sqlite_stat1'".to_owned();
        if !self.lines("findings", large).await?.is_empty()
            && self.lines("findings", known).await?.is_empty()
        {
            findings.push(Finding {
                subject: "media_items".to_owned(),
                advice: "it is large and has no statistics, which plans are made from".to_owned(),
                mend: "ANALYZE".to_owned(),
            });
        }
        Ok(findings)
    }

    async fn mend(&self, findings: &[Finding]) -> Vec<Mended> {
        let mut all = Vec::new();
        for finding in findings.iter().filter(|finding| !finding.mend.is_empty()) {
            let statement = finding.mend.clone();
            let done = self.db.write("mend", move |conn| {
                Box::pin(async move { Ok(conn.batch_execute(&statement).await?) })
            });
            let error = done.await.err().map(|error| {
                let why = std::error::Error::source(&error);
                why.map_or_else(|| error.to_string(), ToString::to_string)
            });
            match &error {
                None => tracing::info!(statement = finding.mend, "mended"),
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
