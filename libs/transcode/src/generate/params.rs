//! Which fields a path variable or the query can set.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// Messages nested deeper than this are not offered in the query.
const MAX_DEPTH: usize = 4;

/// A field reachable from the request message.
#[derive(Clone, Debug)]
pub(super) struct Param {
    /// From the request message down; never empty.
    pub(super) fields: Vec<FieldDescriptor>,
}

impl Param {
    pub(super) fn last(&self) -> &FieldDescriptor {
        self.fields.last().expect("a parameter has a field")
    }

    pub(super) fn proto_name(&self) -> String {
        join(&self.fields, FieldDescriptor::name)
    }

    pub(super) fn json_name(&self) -> String {
        join(&self.fields, FieldDescriptor::json_name)
    }

    /// Field numbers, with the wrapper's own `value` at the end if it is one.
    pub(super) fn tags(&self) -> Vec<u32> {
        let wrapper = wrapped(&self.last().kind()).map(|_| 1);
        self.fields
            .iter()
            .map(FieldDescriptor::number)
            .chain(wrapper)
            .collect()
    }

    /// The runtime's name for the type, such as `Int64`.
    pub(super) fn runtime_kind(&self) -> String {
        runtime_kind(self.last().kind())
    }
}

/// The runtime's name for a type that can be written as one text.
pub(super) fn runtime_kind(kind: Kind) -> String {
    match wrapped(&kind).unwrap_or(kind) {
        Kind::Enum(values) => {
            let pairs: Vec<String> = values
                .values()
                .map(|value| format!("({:?}, {})", value.name(), value.number()))
                .collect();
            format!("Enum(&[{}])", pairs.join(", "))
        }
        Kind::Message(message) => message.name().to_owned(),
        scalar => scalar_name(&scalar).to_owned(),
    }
}

fn join<'a>(fields: &'a [FieldDescriptor], name: fn(&'a FieldDescriptor) -> &'a str) -> String {
    fields.iter().map(name).collect::<Vec<_>>().join(".")
}

fn scalar_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Double => "Double",
        Kind::Float => "Float",
        Kind::Int32 => "Int32",
        Kind::Int64 => "Int64",
        Kind::Uint32 => "Uint32",
        Kind::Uint64 => "Uint64",
        Kind::Sint32 => "Sint32",
        Kind::Sint64 => "Sint64",
        Kind::Fixed32 => "Fixed32",
        Kind::Fixed64 => "Fixed64",
        Kind::Sfixed32 => "Sfixed32",
        Kind::Sfixed64 => "Sfixed64",
        Kind::Bool => "Bool",
        Kind::String => "String",
        Kind::Bytes => "Bytes",
        Kind::Message(_) | Kind::Enum(_) => unreachable!("not a scalar"),
    }
}

/// Returns the scalar inside a `google.protobuf.XValue` wrapper.
pub(super) fn wrapped(kind: &Kind) -> Option<Kind> {
    let Kind::Message(message) = kind else {
        return None;
    };
    Some(match message.full_name() {
        "google.protobuf.DoubleValue" => Kind::Double,
        "google.protobuf.FloatValue" => Kind::Float,
        "google.protobuf.Int64Value" => Kind::Int64,
        "google.protobuf.UInt64Value" => Kind::Uint64,
        "google.protobuf.Int32Value" => Kind::Int32,
        "google.protobuf.UInt32Value" => Kind::Uint32,
        "google.protobuf.BoolValue" => Kind::Bool,
        "google.protobuf.StringValue" => Kind::String,
        "google.protobuf.BytesValue" => Kind::Bytes,
        _ => return None,
    })
}

/// Whether a value of this type can be written as one text.
fn is_text(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" | "google.protobuf.Duration" => true,
            "google.protobuf.FieldMask" => !field.is_list(),
            _ => wrapped(&field.kind()).is_some() && !field.is_list(),
        },
        _ => true,
    }
}

/// Returns the etag field of a message.
pub(super) fn etag_of(message: &MessageDescriptor) -> Option<FieldDescriptor> {
    message
        .get_field_by_name("etag")
        .filter(|field| field.kind() == Kind::String && !field.is_list())
}

/// Returns the etag of a request: its own, or that of the resource it holds.
pub(super) fn etag(message: &MessageDescriptor) -> Option<Param> {
    if let Some(etag) = etag_of(message) {
        return Some(Param { fields: vec![etag] });
    }
    message.fields().find_map(|field| {
        let kind = field.kind();
        let resource = kind.as_message()?;
        let single = !field.is_list() && !field.is_map() && field.containing_oneof().is_none();
        let etag = etag_of(resource).filter(|_| single)?;
        Some(Param {
            fields: vec![field, etag],
        })
    })
}

/// Resolves the field path of a path variable. The error says what is wrong.
pub(super) fn path_param(message: &MessageDescriptor, path: &str) -> Result<Param, String> {
    let mut fields: Vec<FieldDescriptor> = Vec::new();
    let mut inside = Some(message.clone());
    for name in path.split('.') {
        let field = inside
            .as_ref()
            .and_then(|message| message.get_field_by_name(name))
            .ok_or_else(|| format!("path variable {path:?}: there is no field {name:?}"))?;
        if field.is_list() || field.is_map() {
            return Err(format!(
                "path variable {path:?}: field {name:?} is repeated"
            ));
        }
        inside = field.kind().as_message().cloned();
        fields.push(field);
    }
    let param = Param { fields };
    if !is_text(param.last()) {
        return Err(format!("path variable {path:?} is a message"));
    }
    Ok(param)
}

/// Returns every field the query can set, leaving out the given paths and all below them.
pub(super) fn query_params(message: &MessageDescriptor, taken: &[String]) -> Vec<Param> {
    let mut params = Vec::new();
    walk(message, &mut Vec::new(), taken, &mut params);
    params
}

fn walk(
    message: &MessageDescriptor,
    above: &mut Vec<FieldDescriptor>,
    taken: &[String],
    params: &mut Vec<Param>,
) {
    for field in message.fields() {
        above.push(field.clone());
        let param = Param {
            fields: above.clone(),
        };
        if !taken.contains(&param.proto_name()) && !field.is_map() {
            if is_text(&field) {
                params.push(param);
            } else if let Kind::Message(inner) = field.kind()
                && !field.is_list()
                && above.len() < MAX_DEPTH
                && !inner.full_name().starts_with("google.")
                && !above[..above.len() - 1]
                    .iter()
                    .any(|outer| outer.kind().as_message() == Some(&inner))
            {
                walk(&inner, above, taken, params);
            }
        }
        above.pop();
    }
}
