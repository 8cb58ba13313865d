//! What is wrong with a JSON body, all of it.
//!
//! pbjson stops at the first fault. When it has stopped, the body is walked once more along the
//! generated tables of its fields, and every unknown name and wrong type is listed. The tables
//! only explain a refusal; what is accepted is pbjson's to say.

use serde_json::Value;

use super::{FieldError, Kind, params};

/// Most faults listed: more would help nobody and make a small request a large answer.
const MAX_FAULTS: usize = 100;

/// The fields of a message.
#[derive(Debug)]
pub struct Shape {
    /// In the order of the proto.
    pub fields: &'static [Member],
}

/// One field of a message.
#[derive(Debug)]
pub struct Member {
    /// Name in lowerCamel.
    pub json: &'static str,
    /// Name as in the proto.
    pub proto: &'static str,
    /// Type of a value; of a map, that of its values.
    pub of: Of,
    /// How many values.
    pub many: Many,
}

/// Type of one value.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// Written as one text, number or boolean.
    Scalar(Kind),
    /// The same, or `null` for absent.
    Optional(Kind),
    /// A nested message, or `null` for absent.
    Message(&'static Shape),
    /// A well-known type with a JSON form of its own; not looked into.
    Any,
}

/// How many values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Many {
    /// At most one.
    One,
    /// A JSON array.
    List,
    /// A JSON object with keys of the client's choice.
    Map,
}

/// Returns every unknown field and wrong type in `body`; paths start with `root`.
pub(crate) fn faults(shape: &'static Shape, root: &str, body: &Value) -> Vec<FieldError> {
    let mut faults = Faults(Vec::new());
    faults.message(shape, root, body);
    faults.0
}

struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, path: &str, description: impl Into<String>) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(FieldError {
                field: if path.is_empty() { "body" } else { path }.to_owned(),
                description: description.into(),
            });
        }
    }

    fn message(&mut self, shape: &'static Shape, path: &str, value: &Value) {
        let Value::Object(members) = value else {
            return self.add(path, format!("{} is not an object", kind_of(value)));
        };
        for (name, value) in members {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let known = |member: &&Member| member.json == name || member.proto == name;
            match shape.fields.iter().find(known) {
                Some(member) => self.member(member, &path, value),
                None => {
                    let names: Vec<&str> = shape.fields.iter().map(|it| it.json).collect();
                    let rule = format!("unknown field; known are {}", names.join(", "));
                    self.add(&path, rule);
                }
            }
        }
    }

    fn member(&mut self, member: &'static Member, path: &str, value: &Value) {
        match (member.many, value) {
            (Many::One, value) => self.one(member.of, path, value),
            (Many::List, Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    self.one(member.of, &format!("{path}[{at}]"), item);
                }
            }
            (Many::Map, Value::Object(entries)) => {
                for (key, item) in entries {
                    self.one(member.of, &format!("{path}[{key:?}]"), item);
                }
            }
            (Many::List, value) => self.add(path, format!("{} is not a list", kind_of(value))),
            (Many::Map, value) => self.add(path, format!("{} is not an object", kind_of(value))),
        }
    }

    fn one(&mut self, of: Of, path: &str, value: &Value) {
        match of {
            Of::Any => {}
            Of::Message(_) | Of::Optional(_) if value.is_null() => {}
            Of::Message(shape) => self.message(shape, path, value),
            Of::Scalar(kind) | Of::Optional(kind) => {
                if let Err(rule) = params::check(kind, value) {
                    self.add(path, rule);
                }
            }
        }
    }
}

/// A value in words, short enough for a message.
pub(crate) fn kind_of(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.chars().count() > 40 => "a text".to_owned(),
        other => other.to_string(),
    }
}
