//! The indexes that the migrations make.

use std::collections::BTreeMap;

/// An index as its migration makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) table: String,
    /// `CREATE INDEX ...`, on one line.
    pub(crate) statement: String,
}

impl Index {
    /// The statement, which does nothing if there is such an index; `beside` writers or not.
    pub(crate) fn make(&self, beside: bool) -> String {
        let concurrently = if beside { "CONCURRENTLY " } else { "" };
        let unless_there = format!("INDEX {concurrently}IF NOT EXISTS ");
        self.statement.replacen("INDEX ", &unless_there, 1)
    }
}

/// The indexes that are left after all migrations of a text.
pub(crate) fn wanted(migrations: &str) -> Vec<Index> {
    let without_comments: String = migrations
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join(" ");
    let mut indexes: BTreeMap<String, Index> = BTreeMap::new();
    for statement in without_comments.split(';') {
        let words: Vec<&str> = statement.split_whitespace().collect();
        match words.as_slice() {
            ["CREATE", "INDEX", name, "ON", table, ..]
            | ["CREATE", "UNIQUE", "INDEX", name, "ON", table, ..] => {
                let index = Index {
                    name: (*name).to_owned(),
                    table: (*table).to_owned(),
                    statement: words.join(" "),
                };
                indexes.insert(index.name.clone(), index);
            }
            ["DROP", "INDEX", name] => {
                indexes.remove(*name);
            }
            ["DROP", "TABLE", table] => indexes.retain(|_, index| index.table != *table),
            _ => {}
        }
    }
    indexes.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_after_all_migrations_is_wanted() {
        let text = "CREATE TABLE a (b text); -- CREATE INDEX not ON a (b);\n\
            CREATE INDEX one ON a (b);\nCREATE UNIQUE INDEX two\n    ON a (b DESC) WHERE b IS NOT NULL;\n\
            CREATE INDEX gone ON a (b); DROP INDEX gone; CREATE INDEX old ON c (b); DROP TABLE c;";
        let wanted = wanted(text);
        let names: Vec<&str> = wanted.iter().map(|index| index.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(wanted[1].table, "a");
        assert_eq!(
            wanted[1].make(true),
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS two ON a (b DESC) WHERE b IS NOT NULL"
        );
        assert_eq!(
            wanted[0].make(false),
            "CREATE INDEX IF NOT EXISTS one ON a (b)"
        );
    }
}
