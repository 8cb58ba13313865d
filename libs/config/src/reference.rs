//! The reference of all settings in Markdown, from the doc comments of the option structs.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Writes a section for each table of settings with key, default and meaning.
///
/// `schema` is the JSON Schema of the configuration, `defaults` its default value.
#[must_use]
pub fn reference(schema: &Value, defaults: &Value) -> String {
    let mut out = String::new();
    section(schema, schema, defaults, "", &mut out);
    out
}

fn section(root: &Value, table: &Value, defaults: &Value, path: &str, out: &mut String) {
    let Some(fields) = table["properties"].as_object() else {
        return;
    };
    let (tables, values): (Vec<_>, Vec<_>) = fields
        .iter()
        .map(|(name, field)| (name, field, resolved(root, field)))
        .partition(|(_, _, target)| target["properties"].is_object());
    if !values.is_empty() {
        if !path.is_empty() {
            let _ = writeln!(out, "\n## `[{path}]`\n");
        }
        out.push_str("| key | default | meaning |\n|---|---|---|\n");
        for (name, field, target) in values {
            let meaning = description(field, target);
            let choices = choices(root, target);
            let default = shown(&defaults[name.as_str()]);
            let _ = writeln!(out, "| `{name}` | {default} | {meaning}{choices} |");
        }
    }
    for (name, _, target) in tables {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        section(root, target, &defaults[name.as_str()], &path, out);
    }
}

fn resolved<'a>(root: &'a Value, field: &'a Value) -> &'a Value {
    let target = |schema: &'a Value| {
        let name = schema["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        root["$defs"].get(name)
    };
    let option = field["anyOf"]
        .as_array()
        .and_then(|any| any.iter().find_map(target));
    target(field).or(option).unwrap_or(field)
}

/// The comment at the field, else that of its type, as one line.
fn description(field: &Value, target: &Value) -> String {
    let text = field["description"]
        .as_str()
        .or(target["description"].as_str());
    text.unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

/// The values of an enumeration with their meanings; the fields of what a map holds.
fn choices(root: &Value, target: &Value) -> String {
    let empty = Vec::new();
    let mut lines: Vec<String> = target["oneOf"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .filter_map(|choice| Some((choice["const"].as_str()?, description(choice, choice))))
        .map(|(value, meaning)| format!("`{value}`: {meaning}"))
        .collect();
    let inner = resolved(root, &target["additionalProperties"]);
    fields(root, inner, "", &mut lines);
    lines
        .iter()
        .fold(String::new(), |text, line| text + "<br>" + line)
}

/// The fields of what a map holds, those of its tables by their whole names.
fn fields(root: &Value, table: &Value, prefix: &str, lines: &mut Vec<String>) {
    let none = Map::new();
    for (name, field) in table["properties"].as_object().unwrap_or(&none) {
        lines.push(format!("`{prefix}{name}`: {}", description(field, field)));
        let inner = resolved(root, field);
        fields(root, inner, &format!("{prefix}{name}."), lines);
    }
}

fn shown(default: &Value) -> String {
    match default {
        Value::Null => String::new(),
        Value::Object(fields) if fields.is_empty() => "none".to_owned(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        value => format!("`{value}`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_map_holds_is_told_to_the_last_table() {
        let schema = json!({
            "properties": {"services": {
                "description": "By name.",
                "additionalProperties": {"$ref": "#/$defs/Service"},
            }},
            "$defs": {
                "Service": {"properties": {
                    "retry": {"$ref": "#/$defs/Retry", "description": "Retries."},
                }},
                "Retry": {"properties": {
                    "attempts": {"description": "Attempts in all.", "type": "integer"},
                }},
            },
        });
        let text = reference(&schema, &json!({"services": {}}));
        let wanted = "| `services` | none | By name.<br>`retry`: Retries.<br>\
            `retry.attempts`: Attempts in all. |\n";
        assert!(text.ends_with(wanted), "{text}");
    }

    #[test]
    fn every_setting_has_a_row_with_default_and_meaning() {
        let schema = json!({
            "properties": {
                "listen": {"description": "HTTP\naddress.", "type": "string"},
                "worker": {"$ref": "#/$defs/Worker", "description": "The worker."},
            },
            "$defs": {
                "Worker": {"properties": {
                    "engine": {"anyOf": [{"$ref": "#/$defs/Engine"}, {"type": "null"}]},
                    "threads": {"description": "Threads; 0 = cores.", "type": "integer"},
                }},
                "Engine": {"description": "What runs.", "oneOf": [
                    {"const": "rten", "description": "Always."},
                ]},
            },
        });
        let defaults = json!({"listen": "127.0.0.1:1", "worker": {"engine": null, "threads": 0}});
        let text = reference(&schema, &defaults);
        let wanted = "| key | default | meaning |\n|---|---|---|\n\
            | `listen` | `\"127.0.0.1:1\"` | HTTP address. |\n\n\
            ## `[worker]`\n\n| key | default | meaning |\n|---|---|---|\n\
            | `engine` |  | What runs.<br>`rten`: Always. |\n\
            | `threads` | `0` | Threads; 0 = cores. |\n";
        assert_eq!(text, wanted);
    }
}
