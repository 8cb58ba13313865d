//! Tables of what a JSON body may hold: one per message that a body can reach.

use std::{collections::BTreeMap, fmt::Write};

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::params;

/// The messages of all bodies and their places in the source.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    known: BTreeMap<String, usize>,
    messages: Vec<MessageDescriptor>,
}

impl Shapes {
    /// Returns the name of a message's table.
    pub(super) fn name(&mut self, message: &MessageDescriptor) -> String {
        let next = self.messages.len();
        let at = *self
            .known
            .entry(message.full_name().to_owned())
            .or_insert(next);
        if at == next {
            self.messages.push(message.clone());
        }
        format!("SHAPE_{at}")
    }

    /// Writes the tables, those of nested messages too.
    pub(super) fn write(mut self, out: &mut String) {
        let mut at = 0;
        while let Some(message) = self.messages.get(at).cloned() {
            let _ = writeln!(
                out,
                "\nstatic SHAPE_{at}: rt::Shape = rt::Shape {{\n    fields: &["
            );
            for field in message.fields() {
                self.member(out, &field);
            }
            out.push_str("    ],\n};\n");
            at += 1;
        }
    }

    fn member(&mut self, out: &mut String, field: &FieldDescriptor) {
        let (many, kind) = match field.kind() {
            Kind::Message(entry) if field.is_map() => ("Map", entry.map_entry_value_field().kind()),
            kind if field.is_list() => ("List", kind),
            kind => ("One", kind),
        };
        let of = match &kind {
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => "Optional(rt::Kind::Timestamp)".to_owned(),
                "google.protobuf.Duration" => "Optional(rt::Kind::Duration)".to_owned(),
                name if name.starts_with("google.") => "Any".to_owned(),
                _ => format!("Message(&{})", self.name(message)),
            },
            _ => {
                let optional = many == "One" && field.supports_presence();
                let wrap = if optional { "Optional" } else { "Scalar" };
                format!("{wrap}(rt::Kind::{})", params::runtime_kind(kind))
            }
        };
        let _ = writeln!(
            out,
            "        rt::Member {{ json: {:?}, proto: {:?}, of: rt::Of::{of}, many: rt::Many::{many} }},",
            field.json_name(),
            field.name(),
        );
    }
}
