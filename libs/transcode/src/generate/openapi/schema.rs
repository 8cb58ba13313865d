//! Messages and enums as JSON Schema, in the shapes pbjson reads and writes.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{super::params::wrapped, comment};

/// The components, filled as they are referred to.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    components: BTreeMap<String, Value>,
    /// Whether answers hold every field that has no presence.
    emits_all_fields: bool,
    /// Messages that clients send: what they may leave out is not required.
    sent: BTreeSet<String>,
}

impl Schemas {
    pub(super) fn new(
        emits_all_fields: bool,
        bodies: impl Iterator<Item = MessageDescriptor>,
    ) -> Self {
        let mut sent = BTreeSet::new();
        let mut open: Vec<MessageDescriptor> = bodies.collect();
        while let Some(message) = open.pop() {
            if sent.insert(message.full_name().to_owned()) {
                let kinds = message.fields().map(|field| field.kind());
                open.extend(kinds.filter_map(|kind| kind.as_message().cloned()));
            }
        }
        Self {
            emits_all_fields,
            sent,
            ..Self::default()
        }
    }

    /// Whether every answer with this message holds the field.
    fn always_there(&self, field: &FieldDescriptor, output_only: bool) -> bool {
        let sent = self.sent.contains(field.parent_message().full_name());
        self.emits_all_fields && !field.supports_presence() && (output_only || !sent)
    }

    pub(super) fn finish(self) -> Map<String, Value> {
        self.components.into_iter().collect()
    }

    /// Returns a reference to the message's component, or the schema itself for a well-known type.
    pub(super) fn reference(&mut self, message: &MessageDescriptor) -> Value {
        if let Some(schema) = well_known(message.full_name()) {
            return schema;
        }
        let name = message.full_name().to_owned();
        if !self.components.contains_key(&name) {
            // first the name, so that a message inside itself ends here
            self.components.insert(name.clone(), Value::Null);
            let schema = self.object(message, &[]);
            self.components.insert(name.clone(), schema);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// Returns the message as an inline object without the fields named in `without`.
    pub(super) fn object(&mut self, message: &MessageDescriptor, without: &[&str]) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        let fields = message
            .fields()
            .filter(|field| !without.contains(&field.name()));
        for field in fields {
            let text = comment::of(&message.parent_file(), field.path());
            let mut schema = self.field(&field);
            if !text.is_empty() {
                schema["description"] = text.as_str().into();
            }
            let output_only = comment::is_output_only(&text);
            if output_only {
                schema["readOnly"] = true.into();
            }
            if field
                .field_descriptor_proto()
                .options
                .as_ref()
                .is_some_and(|options| options.deprecated())
            {
                schema["deprecated"] = true.into();
            }
            if comment::is_required(&text) || self.always_there(&field, output_only) {
                required.push(field.json_name().to_owned());
            }
            properties.insert(field.json_name().to_owned(), schema);
        }
        let mut object = json!({ "type": "object", "properties": properties });
        let text = comment::of(&message.parent_file(), message.path());
        if !text.is_empty() {
            object["description"] = text.into();
        }
        if !required.is_empty() {
            object["required"] = required.into();
        }
        object
    }

    /// Returns the schema of a field's value, lists and maps included.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        if let Kind::Message(entry) = field.kind()
            && field.is_map()
        {
            let value = self.kind(&entry.map_entry_value_field().kind());
            return json!({ "type": "object", "additionalProperties": value });
        }
        let schema = self.kind(&field.kind());
        if field.is_list() {
            return json!({ "type": "array", "items": schema });
        }
        schema
    }

    /// Returns the schema of one value of a path or query parameter.
    pub(super) fn parameter(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Message(message) if message.full_name() == "google.protobuf.FieldMask" => json!({
                "type": "string",
                "format": "google-fieldmask",
                "description": "Comma-separated field paths.",
            }),
            kind => self.kind(&wrapped(&kind).unwrap_or(kind)),
        }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Double => json!({ "type": "number", "format": "double" }),
            Kind::Float => json!({ "type": "number", "format": "float" }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                json!({ "type": "integer", "format": "int32" })
            }
            Kind::Uint32 | Kind::Fixed32 => {
                json!({ "type": "integer", "format": "uint32", "minimum": 0 })
            }
            // JSON numbers lose digits beyond 2^53
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({ "type": "string", "format": "int64" })
            }
            Kind::Uint64 | Kind::Fixed64 => json!({ "type": "string", "format": "uint64" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Message(message) => self.reference(message),
            Kind::Enum(values) => self.enumeration(values),
        }
    }

    fn enumeration(&mut self, values: &EnumDescriptor) -> Value {
        let name = values.full_name().to_owned();
        if name == "google.protobuf.NullValue" {
            return json!({ "type": "null" });
        }
        let file = values.parent_file();
        let mut text = comment::of(&file, values.path());
        for value in values.values() {
            let about = comment::of(&file, value.path());
            if !about.is_empty() {
                text.push_str(&format!(
                    "\n- `{}`: {}",
                    value.name(),
                    about.replace('\n', " ")
                ));
            }
        }
        let names: Vec<String> = values
            .values()
            .map(|value| value.name().to_owned())
            .collect();
        let mut schema = json!({ "type": "string", "enum": names });
        if !text.is_empty() {
            schema["description"] = text.trim().into();
        }
        self.components.insert(name.clone(), schema);
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }
}

fn well_known(full_name: &str) -> Option<Value> {
    Some(match full_name.strip_prefix("google.protobuf.")? {
        "Timestamp" => json!({ "type": "string", "format": "date-time" }),
        "Duration" => json!({
            "type": "string",
            "format": "google-duration",
            "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$",
        }),
        // what pbjson-types reads in a body; in a query it is one string, see `parameter`
        "FieldMask" => json!({
            "type": "object",
            "properties": { "paths": { "type": "array", "items": { "type": "string" } } },
        }),
        "Struct" => json!({ "type": "object", "additionalProperties": true }),
        "Value" => json!({}),
        "ListValue" => json!({ "type": "array", "items": {} }),
        "Empty" => json!({ "type": "object" }),
        "BoolValue" => json!({ "type": ["boolean", "null"] }),
        "StringValue" => json!({ "type": ["string", "null"] }),
        "BytesValue" => json!({ "type": ["string", "null"], "contentEncoding": "base64" }),
        "Int32Value" => json!({ "type": ["integer", "null"], "format": "int32" }),
        "UInt32Value" => json!({ "type": ["integer", "null"], "format": "uint32", "minimum": 0 }),
        "Int64Value" => json!({ "type": ["string", "null"], "format": "int64" }),
        "UInt64Value" => json!({ "type": ["string", "null"], "format": "uint64" }),
        "FloatValue" => json!({ "type": ["number", "null"], "format": "float" }),
        "DoubleValue" => json!({ "type": ["number", "null"], "format": "double" }),
        _ => return None,
    })
}
