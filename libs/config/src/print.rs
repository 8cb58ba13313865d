//! The effective values and where each came from.

use serde::Serialize;
use serde_json::Value;

use crate::{layer::Source, load::Loaded, path::Path};

/// Writes every value as a line of TOML with its source; values whose path ends in one of
/// `secrets` are masked.
#[must_use]
pub fn print<T: Serialize>(loaded: &Loaded<T>, secrets: &[&str]) -> String {
    let tree = serde_json::to_value(&loaded.value).unwrap_or(Value::Null);
    let mut lines = Vec::new();
    flatten(&Path::default(), &tree, &mut lines);
    let masked = |path: &Path| {
        let path = path.to_string();
        secrets.iter().any(|secret| path.ends_with(secret))
    };
    let rows: Vec<(String, &Source)> = lines
        .iter()
        .map(|(path, value)| {
            let shown = match value {
                Value::Null => format!("# {path} is not set"),
                _ if masked(path) => format!("{path} = \"********\""),
                value => format!("{path} = {value}"),
            };
            (shown, loaded.origins.get(path).unwrap_or(&Source::Default))
        })
        .collect();
    let width = rows
        .iter()
        .map(|(shown, _)| shown.chars().count())
        .max()
        .unwrap_or(0)
        .min(60);
    rows.iter()
        .map(|(shown, source)| format!("{shown:width$}  # {source}\n"))
        .collect()
}

fn flatten(path: &Path, value: &Value, lines: &mut Vec<(Path, Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                flatten(&path.child(name), value, lines);
            }
        }
        value => lines.push((path.clone(), value.clone())),
    }
}
