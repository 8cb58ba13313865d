//! What a database says of a statement, and what could be better.

use serde_json::Value;

/// Rows from which on it matters how they are come by.
const MANY: f64 = 1000.0;
/// Rows from which on a nested loop is suspicious.
const VERY_MANY: f64 = 10_000.0;

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the words of the database, on one line.
    pub text: String,
    /// What could be better, a sentence each; empty = nothing that is seen from the plan.
    pub advice: Vec<String>,
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
        })
    }

    /// Reads the lines that `EXPLAIN QUERY PLAN` of SQLite answers.
    #[must_use]
    pub fn of_sqlite(lines: &[String]) -> Self {
        let advice = lines.iter().filter_map(|line| of_line(line)).collect();
        Self {
            text: lines.join("; "),
            advice,
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
        assert_eq!(
            Plan::of_postgres(json).unwrap().advice,
            ["all of t is read, 9000 rows"]
        );
        for none in ["", "[]", "{}", "[{}]", "null"] {
            assert_eq!(Plan::of_postgres(none), None, "{none}");
        }
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
