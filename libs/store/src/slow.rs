//! Statements that take long: named in the log, with their plan and without any value.
//!
//! A statement is known by its text, in which values are parameters. Its plan is asked for beside it, on
//! a connection of its own, for parameters of any value: so the plan holds no value either, and it is
//! not always the one that ran. A statement is explained once a minute.
//!
//! - [`plan`]: what a database says of a statement, and what could be better

pub mod plan;

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use diesel::connection::DebugQuery;
use futures::future::BoxFuture;
use tokio::{sync::mpsc, time::Instant};
use tracing::Span;

pub use plan::Plan;

/// How long a statement that was explained is not explained again.
const EXPLAIN_EVERY: Duration = Duration::from_secs(60);
/// Statements that are remembered as explained; beyond, all are forgotten.
const MAX_REMEMBERED: usize = 256;
/// Statements that wait to be explained; more are only named.
const QUEUE: usize = 64;
/// Longest statement or plan that is logged, bytes.
const MAX_LOGGED_BYTES: usize = 8 << 10;

/// A statement that took long.
#[derive(Debug, Clone)]
pub struct SlowStatement {
    /// The store operation that it is part of.
    pub operation: &'static str,
    /// The text, without values.
    pub statement: String,
    /// How long it took.
    pub duration: Duration,
    /// Absent when it is first told of; then told of again if it was explained.
    pub plan: Option<Plan>,
}

/// Told of every slow statement.
pub type SlowObserver = Arc<dyn Fn(&SlowStatement) + Send + Sync>;

/// Told how many statements a store operation took.
pub type StatementObserver = Arc<dyn Fn(&'static str, u64) + Send + Sync>;

/// Which statements are slow, and who is told.
#[derive(Clone)]
pub struct SlowOptions {
    /// From how long on.
    pub threshold: Duration,
    /// Told of them, beside the log.
    pub observer: Option<SlowObserver>,
    /// Told of the number of all statements, slow or not.
    pub counted: Option<StatementObserver>,
}

impl Default for SlowOptions {
    fn default() -> Self {
        Self {
            // S0-40
            threshold: Duration::from_secs(1),
            observer: None,
            counted: None,
        }
    }
}

impl fmt::Debug for SlowOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowOptions")
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}

/// Where slow statements are noted; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct SlowLog {
    options: SlowOptions,
    queue: mpsc::Sender<SlowStatement>,
}

/// Statements that are to be explained.
pub(crate) type Queue = mpsc::Receiver<SlowStatement>;

impl SlowLog {
    pub(crate) fn new(options: SlowOptions) -> (Self, Queue) {
        let (queue, explained) = mpsc::channel(QUEUE);
        (Self { options, queue }, explained)
    }

    /// What watches the statements of one operation.
    pub(crate) fn watch(&self, operation: &'static str) -> Watch {
        Watch {
            log: self.clone(),
            operation,
            began: None,
            statements: 0,
        }
    }

    fn tell(&self, slow: &SlowStatement) {
        if let Some(observer) = &self.options.observer {
            observer(slow);
        }
    }
}

/// Watches the statements of one operation.
pub(crate) struct Watch {
    log: SlowLog,
    operation: &'static str,
    began: Option<Instant>,
    statements: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(counted) = &self.log.options.counted
            && self.statements > 0
        {
            counted(self.operation, self.statements);
        }
    }
}

impl Watch {
    /// A statement begins.
    pub(crate) fn begin(&mut self) {
        self.began = Some(Instant::now());
        self.statements += 1;
    }

    /// The statement ended; only now is it known whether its text is needed.
    pub(crate) fn end(&mut self, query: &dyn DebugQuery, failed: bool, span: &Span) {
        let Some(duration) = self.began.take().map(|began| began.elapsed()) else {
            return;
        };
        let threshold = self.log.options.threshold;
        if duration < threshold {
            return;
        }
        let slow = SlowStatement {
            operation: self.operation,
            statement: text(query),
            duration,
            plan: None,
        };
        tracing::warn!(
            parent: span,
            operation = slow.operation,
            statement_id = id(&slow.statement),
            statement = shortened(&slow.statement),
            duration_ms = duration.as_millis(),
            threshold_ms = threshold.as_millis(),
            failed,
            "slow statement"
        );
        self.log.tell(&slow);
        // what does not fit is named all the same
        let _ = self.log.queue.try_send(slow);
    }

    /// The caller went away in the middle of the operation, and its statement with it.
    pub(crate) fn gone(&self, began: Instant) {
        let (duration, threshold) = (began.elapsed(), self.log.options.threshold);
        if duration >= threshold {
            tracing::warn!(
                operation = self.operation,
                duration_ms = duration.as_millis(),
                threshold_ms = threshold.as_millis(),
                "slow database operation cancelled: its caller is gone"
            );
        }
    }
}

/// The statement without its values.
pub(crate) fn text(query: &dyn DebugQuery) -> String {
    let mut text = String::new();
    // Printing a query cannot fail; were it to, the statement would only be cut.
    let _ = write!(text, "{query}");
    // Bound values may be private: keep the statement only.
    let end = text.find(" -- binds:").unwrap_or(text.len());
    text.truncate(end);
    text
}

/// Explains statements of the queue until nobody notes any more, or there is nobody to ask.
pub(crate) async fn explain(
    mut queue: Queue,
    observer: Option<SlowObserver>,
    ask: impl Fn(String) -> BoxFuture<'static, Option<Result<Plan, String>>>,
) {
    let mut explained: HashMap<u64, Instant> = HashMap::new();
    while let Some(mut slow) = queue.recv().await {
        if !can_explain(&slow.statement) {
            continue;
        }
        let hash = hash(&slow.statement);
        let last = explained.get(&hash);
        if last.is_some_and(|last| last.elapsed() < EXPLAIN_EVERY) {
            continue;
        }
        if explained.len() >= MAX_REMEMBERED {
            explained.clear();
        }
        explained.insert(hash, Instant::now());
        let (operation, statement_id) = (slow.operation, id(&slow.statement));
        match ask(slow.statement.clone()).await {
            Some(Ok(plan)) => {
                tracing::warn!(
                    operation,
                    statement_id,
                    plan = shortened(&plan.text),
                    advice = plan.advice.join("; "),
                    "plan of a slow statement"
                );
                slow.plan = Some(plan);
                if let Some(observer) = &observer {
                    observer(&slow);
                }
            }
            Some(Err(why)) => tracing::info!(
                operation,
                statement_id,
                why,
                "a slow statement cannot be explained"
            ),
            None => return,
        }
    }
}

/// Whether a statement may stand behind EXPLAIN: one that reads or changes rows, and one alone.
fn can_explain(statement: &str) -> bool {
    let verb = statement.split_whitespace().next().unwrap_or_default();
    let known = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];
    known.iter().any(|known| verb.eq_ignore_ascii_case(known)) && !statement.contains(';')
}

/// Names a statement in the log: the same in every process.
fn id(statement: &str) -> String {
    format!("{:016x}", hash(statement))
}

/// FNV-1a, 64 bits.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MAX_LOGGED_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_statements_on_rows_are_explained() {
        for good in [
            "SELECT 1",
            "with x as (select 1) select 1",
            "  UPDATE a SET b = $1",
        ] {
            assert!(can_explain(good), "{good}");
        }
        for bad in [
            "",
            "BEGIN",
            "EXPLAIN SELECT 1",
            "SELECT 1; DROP TABLE a",
            "SET x = 1",
        ] {
            assert!(!can_explain(bad), "{bad}");
        }
        assert_ne!(id("SELECT 1"), id("SELECT 2"));
        assert_eq!(
            shortened(&"\u{e9}".repeat(MAX_LOGGED_BYTES)).len(),
            MAX_LOGGED_BYTES
        );
    }
}
