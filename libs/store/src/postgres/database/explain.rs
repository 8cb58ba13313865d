//! The plan of a statement, for parameters of any value.

use std::time::Duration;

use tokio::time::timeout;

use super::super::{
    tls::{Connector, said},
    vector_index,
};
use crate::slow::Plan;

/// Longest that the server may take: planning takes milliseconds, and somebody else may need it more.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for the plan on a connection of its own.
///
/// The statement is prepared and not run: so its parameters get their types from where they stand, and
/// a plan that is made for all values holds none. `EXPLAIN (GENERIC_PLAN)` would do the same, from
/// PostgreSQL 16 on.
pub(super) async fn explain(
    connector: Connector,
    statement: String,
) -> Option<Result<Plan, String>> {
    let nulls = vec!["NULL"; parameters(&statement)].join(", ");
    let values = match nulls.is_empty() {
        true => nulls,
        false => format!("({nulls})"),
    };
    let ask = format!(
        "SET statement_timeout = {}; {}; SET plan_cache_mode = force_generic_plan; \
         PREPARE slow AS {statement}; EXPLAIN (FORMAT JSON) EXECUTE slow{values}",
        PATIENCE.as_millis(),
        vector_index::settings(),
    );
    Some(match timeout(PATIENCE, connector.ask(&ask)).await {
        Ok(Ok(lines)) => {
            Plan::of_postgres(&lines.join("\n")).ok_or_else(|| "the plan is no JSON".to_owned())
        }
        Ok(Err(error)) => Err(said(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    })
}

/// How many parameters a statement has: the greatest number behind a `$`.
fn parameters(statement: &str) -> usize {
    let numbers = statement.split('$').skip(1).filter_map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_digit());
        rest[..end.unwrap_or(rest.len())].parse().ok()
    });
    numbers.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_by_their_numbers() {
        for (statement, count) in [
            ("SELECT 1", 0),
            ("SELECT $1, $2, $1", 2),
            ("SELECT $12::int", 12),
            ("SELECT '$' || $3", 3),
        ] {
            assert_eq!(parameters(statement), count, "{statement}");
        }
    }
}
