//! Joins hand-written documents with the generated one.

use serde_json::{Map, Value};

use super::super::Error;

/// Adds `other` to `document`: objects join, `tags` append unless the name is there, equal values
/// are fine, and anything else said twice is an error. `openapi` and `info` stay as generated.
pub(super) fn into(document: &mut Value, other: &Value) -> Result<(), Error> {
    let Some(members) = other.as_object() else {
        return Err(Error::Merge {
            pointer: String::new(),
        });
    };
    for (name, value) in members {
        match name.as_str() {
            "openapi" | "info" => {}
            "tags" => tags(&mut document["tags"], value),
            name => join(&mut document[name], value, &format!("/{name}"))?,
        }
    }
    Ok(())
}

/// Calls `found` with the name of each component schema that `value` refers to.
pub(super) fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            let reference = members.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|it| it.strip_prefix("#/components/schemas/")) {
                found(name);
            }
            members
                .values()
                .for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn tags(known: &mut Value, added: &Value) {
    let (Some(known), Some(added)) = (known.as_array_mut(), added.as_array()) else {
        return;
    };
    for tag in added {
        if !known.iter().any(|other| other["name"] == tag["name"]) {
            known.push(tag.clone());
        }
    }
}

fn join(known: &mut Value, added: &Value, pointer: &str) -> Result<(), Error> {
    match (known, added) {
        (known @ Value::Null, added) => {
            *known = added.clone();
            Ok(())
        }
        (Value::Object(known), Value::Object(added)) => {
            for (name, value) in added {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                let below = format!("{pointer}/{escaped}");
                join(known.entry(name).or_insert(Value::Null), value, &below)?;
            }
            Ok(())
        }
        (known, added) if known == added => Ok(()),
        _ => Err(Error::Merge {
            pointer: pointer.to_owned(),
        }),
    }
}

/// Returns `value` with all members in the order of their names.
pub(super) fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|(left, _), (right, _)| left.cmp(right));
            let sorted: Map<String, Value> = members
                .into_iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect();
            Value::Object(sorted)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
