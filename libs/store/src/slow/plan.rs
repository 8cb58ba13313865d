//! What a database says of a statement, and what could be better.

use serde_json::Value;

/// Rows from which on it matters how they are come by.
const MANY: f64 = 1000.0;
/// Rows from which on a nested loop is suspicious.
const VERY_MANY: f64 = 10_000.0;

/// By how much a guess, or what is read, may be off.
const FAR_OFF: f64 = 10.0;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the words of the database, on one line.
    pub text: String,
    /// What could be better, a sentence each; empty = nothing that is seen from the plan.
    pub advice: Vec<String>,
    /// It changes or locks rows, as far as the plan tells.
    pub writes: bool,
}

impl Plan {
    /// Reads what `EXPLAIN (FORMAT JSON)` of PostgreSQL answers; `None` if it is none.
    ///
    /// Goes by actual rows where the statement was run, else by the planner's guess.
    #[must_use]
    pub fn of_postgres(json: &str) -> Option<Self> {
        let document: Value = serde_json::from_str(json).ok()?;
        let root = document.get(0)?.get("Plan")?;
        let mut advice = Vec::new();
        walk(root, &mut advice);
        Some(Self {
            text: document.to_string(),
            advice,
            writes: writes(root),
        })
    }

    /// Reads the lines that `EXPLAIN QUERY PLAN` of SQLite answers.
    #[must_use]
    pub fn of_sqlite(lines: &[String]) -> Self {
        let advice = lines.iter().filter_map(|line| of_line(line)).collect();
        Self {
            text: lines.join("; "),
            advice,
            writes: false,
        }
    }
}

fn text<'a>(node: &'a Value, key: &str) -> Option<&'a str> {
    node.get(key)?.as_str()
}

fn rows(node: &Value) -> f64 {
    let actual = node.get("Actual Rows").and_then(Value::as_f64);
    let guess = || node.get("Plan Rows").and_then(Value::as_f64);
    actual.or_else(guess).unwrap_or(0.0)
}

fn children(node: &Value) -> impl Iterator<Item = &Value> {
    let plans = node.get("Plans").and_then(Value::as_array);
    plans.into_iter().flatten()
}

/// Whether any part of the plan changes or locks rows: a `WITH` may hide one that does.
fn writes(node: &Value) -> bool {
    matches!(text(node, "Node Type"), Some("ModifyTable" | "LockRows"))
        || children(node).any(writes)
}

fn number(node: &Value, key: &str) -> f64 {
    node.get(key).and_then(Value::as_f64).unwrap_or(0.0)
}

/// What is known only of a plan that was run: guesses that were far off, work on disk, rows read in vain, and
/// one look-up for each row.
fn measured(node: &Value, advice: &mut Vec<String>) {
    let Some(actual) = node.get("Actual Rows").and_then(Value::as_f64) else {
        return;
    };
    let table = text(node, "Relation Name");
    let guess = number(node, "Plan Rows");
    let (most, least) = (actual.max(guess), actual.min(guess).max(1.0));
    if let Some(table) = table
        && most >= MANY
        && most / least >= FAR_OFF
    {
        advice.push(format!(
            "{guess:.0} rows of {table} were expected and {actual:.0} came: its statistics are stale \
             (ANALYZE {table})"
        ));
    }
    let removed = number(node, "Rows Removed by Filter");
    let scans = text(node, "Node Type").is_some_and(|kind| kind != "Seq Scan");
    if let (Some(table), Some(filter), true) = (table, text(node, "Filter"), scans)
        && removed >= MANY
        && removed >= actual * FAR_OFF
    {
        advice.push(format!(
            "{removed:.0} rows of {table} were read and dropped by {filter}: an index that has it would \
             spare them"
        ));
    }
    let loops = number(node, "Actual Loops");
    if let (Some(table), true) = (table, loops >= MANY) {
        advice.push(format!(
            "{table} is looked up {loops:.0} times, once for each row of another table: a hash join, or \
             fewer rows there, would help"
        ));
    }
    if number(node, "Hash Batches") > 1.0 {
        advice.push("a hash does not fit into work_mem and goes to the disk".to_owned());
    }
    if number(node, "Temp Written Blocks") > 0.0 && text(node, "Node Type") == Some("Materialize") {
        advice.push("intermediate rows do not fit into work_mem and go to the disk".to_owned());
    }
}

/// Whether rows come out of an index, and so in its order.
fn is_ordered(node: &Value) -> bool {
    matches!(
        text(node, "Node Type"),
        Some("Index Scan" | "Index Only Scan")
    )
}

fn walk(node: &Value, advice: &mut Vec<String>) {
    let count = rows(node);
    match text(node, "Node Type") {
        Some("Seq Scan") => {
            let table = text(node, "Relation Name").unwrap_or("a table");
            match text(node, "Filter") {
                Some(filter) => advice.push(format!(
                    "all of {table} is read for {filter}: an index on that would spare it"
                )),
                None if count >= MANY => {
                    advice.push(format!("all of {table} is read, {count:.0} rows"));
                }
                None => {}
            }
        }
        Some("Nested Loop") if count >= VERY_MANY => advice.push(format!(
            "a nested loop comes to {count:.0} rows: an index on the inner table, or fewer rows in \
             the outer one, would help"
        )),
        Some("Sort") if count >= MANY && !children(node).any(is_ordered) => {
            let key = node.get("Sort Key").and_then(Value::as_array);
            let key: Vec<&str> = key
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            advice.push(format!(
                "{count:.0} rows are sorted by {}: an index in that order would spare it",
                key.join(", ")
            ));
        }
        _ => {}
    }
    if text(node, "Sort Space Type") == Some("Disk") {
        advice.push("a sort does not fit into work_mem and goes to the disk".to_owned());
    }
    measured(node, advice);
    for child in children(node) {
        walk(child, advice);
    }
}

fn of_line(line: &str) -> Option<String> {
    if let Some(table) = line.strip_prefix("SCAN ")
        && !line.contains(" USING ")
        && !line.contains("VIRTUAL TABLE")
        && !line.contains("CONSTANT ROW")
    {
        return Some(format!(
            "all of {table} is read: an index on what is asked for would spare it"
        ));
    }
    if line.contains("AUTOMATIC") {
        return Some(format!(
            "an index is made for this statement alone ({line}): keep one"
        ));
    }
    if line.starts_with("USE TEMP B-TREE FOR ORDER BY") {
        return Some("rows are sorted: an index in that order would spare it".to_owned());
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_read_from_the_tree_and_not_from_its_words() {
        let json = r#"[{"Plan": {"Node Type": "Sort", "Plan Rows": 5000,
            "Sort Key": ["created_at DESC"], "Plans": [
              {"Node Type": "Nested Loop", "Plan Rows": 20000, "Plans": [
                {"Node Type": "Seq Scan", "Relation Name": "media_items",
                 "Filter": "(folder = $2)", "Plan Rows": 10},
                {"Node Type": "Index Scan", "Index Name": "Seq Scan Sort Nested Loop",
                 "Plan Rows": 1}]}]}}]"#;
        let plan = Plan::of_postgres(json).unwrap();
        assert_eq!(plan.advice.len(), 3, "{:?}", plan.advice);
        assert!(plan.advice[0].contains("5000 rows are sorted by created_at DESC"));
        assert!(plan.advice[1].contains("20000 rows"));
        assert!(plan.advice[2].contains("media_items") && plan.advice[2].contains("(folder = $2)"));
        // few rows, and rows that come in order
        let json = r#"[{"Plan": {"Node Type": "Sort", "Plan Rows": 5000, "Plans": [
            {"Node Type": "Index Scan", "Plan Rows": 5000}]}}]"#;
        assert_eq!(
            Plan::of_postgres(json).unwrap().advice,
            Vec::<String>::new()
        );
        // what ran says more than the guess
        let json = r#"[{"Plan": {"Node Type": "Seq Scan", "Relation Name": "t", "Plan Rows": 1,
            "Actual Rows": 9000}}]"#;
        let advice = Plan::of_postgres(json).unwrap().advice;
        assert_eq!(advice.len(), 2, "{advice:?}");
        assert_eq!(advice[0], "all of t is read, 9000 rows");
        assert!(advice[1].contains("statistics are stale"), "{advice:?}");
        for none in ["", "[]", "{}", "[{}]", "null"] {
            assert_eq!(Plan::of_postgres(none), None, "{none}");
        }
    }

    #[test]
    fn a_plan_that_was_run_tells_more() {
        let json = r#"[{"Plan": {"Node Type": "Nested Loop", "Actual Rows": 10, "Plan Rows": 10, "Plans": [
            {"Node Type": "Index Scan", "Relation Name": "items", "Plan Rows": 5, "Actual Rows": 9000,
             "Actual Loops": 1, "Filter": "(x = 1)", "Rows Removed by Filter": 5},
            {"Node Type": "Bitmap Heap Scan", "Relation Name": "tags", "Plan Rows": 2, "Actual Rows": 2,
             "Actual Loops": 9000, "Filter": "(y = 2)", "Rows Removed by Filter": 4000},
            {"Node Type": "Hash", "Hash Batches": 4, "Plan Rows": 1, "Actual Rows": 1},
            {"Node Type": "Sort", "Sort Space Type": "Disk", "Plan Rows": 1, "Actual Rows": 1}]}}]"#;
        let plan = Plan::of_postgres(json).unwrap();
        let has = |part: &str| plan.advice.iter().any(|advice| advice.contains(part));
        assert!(
            has("ANALYZE items") && has("dropped by (y = 2)"),
            "{:?}",
            plan.advice
        );
        assert!(has("tags is looked up 9000 times") && has("a hash does not fit"));
        assert!(has("a sort does not fit") && !plan.writes);
        assert_eq!(plan.advice.len(), 5, "{:?}", plan.advice);
        let hidden =
            r#"[{"Plan": {"Node Type": "CTE Scan", "Plans": [{"Node Type": "ModifyTable"}]}}]"#;
        assert!(Plan::of_postgres(hidden).unwrap().writes);
    }

    #[test]
    fn lines_of_sqlite_are_read_too() {
        let lines = [
            "SCAN m",
            "SEARCH r USING INDEX renditions_by_item (media_item_id=?)",
            "SCAN f VIRTUAL TABLE INDEX 0:M5",
            "SCAN k USING COVERING INDEX i",
            "USE TEMP B-TREE FOR ORDER BY",
        ]
        .map(str::to_owned);
        let plan = Plan::of_sqlite(&lines);
        assert_eq!(plan.advice.len(), 2, "{:?}", plan.advice);
        assert!(plan.text.starts_with("SCAN m; SEARCH r"));
    }
}
