//! Path and query parameters.
//!
//! Each value is written as a protobuf field and merged into the request by prost. Merging is
//! exactly what is wanted: a scalar replaces what the body said, repeated fields append, nested
//! messages combine, oneofs switch; and no Rust field name or dynamic message is needed.

use base64::Engine;
use http::Uri;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use serde::de::{IntoDeserializer, value::StrDeserializer};
use serde_json::Value;

use super::{FieldError, shape::kind_of};

/// Query names every binding accepts: answer format, and credentials read by the edge.
const ALWAYS_ALLOWED: [&str; 4] = ["alt", "stream", "key", "access_token"];

/// A parameter a binding accepts.
#[derive(Debug)]
pub struct Param {
    /// Field path in lowerCamel, dots for nesting.
    pub json: &'static str,
    /// Field path as in the proto, dots for nesting.
    pub proto: &'static str,
    /// Field numbers from the request message down; never empty.
    pub tags: &'static [u32],
    /// Type of the last field.
    pub kind: Kind,
    /// Whether it may be given more than once.
    pub repeated: bool,
}

/// Type of a parameter. Wrapper messages appear as their scalar with one more tag.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named after the proto types")]
pub enum Kind {
    Bool,
    String,
    Bytes,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
    /// Names and numbers of the values.
    Enum(&'static [(&'static str, i32)]),
    Timestamp,
    Duration,
    /// Comma-separated paths, lowerCamel or snake.
    FieldMask,
}

/// Writes the path parameters and the query of `uri` as protobuf fields of the request.
///
/// Errors: every unknown name, wrong value and unwanted repetition, not only the first.
pub(crate) fn encode(
    path: &'static [Param],
    captures: &[String],
    query: &'static [Param],
    uri: &Uri,
) -> Result<Vec<u8>, Vec<FieldError>> {
    let mut wire = Vec::new();
    let mut errors = Vec::new();
    for (param, value) in path.iter().zip(captures) {
        if let Err(description) = write(param, value, &mut wire) {
            errors.push(FieldError {
                field: param.json.to_owned(),
                description,
            });
        }
    }
    let mut seen = vec![false; query.len()];
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let found = query
            .iter()
            .position(|param| param.json == name || param.proto == name);
        let outcome = match found {
            Some(at) if seen[at] && !query[at].repeated => Err("given more than once".to_owned()),
            Some(at) => {
                seen[at] = true;
                write(&query[at], &value, &mut wire)
            }
            None if ALWAYS_ALLOWED.contains(&name.as_ref()) => Ok(()),
            None => Err("unknown query parameter".to_owned()),
        };
        if let Err(description) = outcome {
            errors.push(FieldError {
                field: name.into_owned(),
                description,
            });
        }
    }
    if errors.is_empty() {
        Ok(wire)
    } else {
        Err(errors)
    }
}

/// Returns the value of `alt`, if given.
pub(crate) fn alt(uri: &Uri) -> Option<String> {
    form_urlencoded::parse(uri.query()?.as_bytes())
        .find(|(name, _)| name == "alt")
        .map(|(_, value)| value.into_owned())
}

fn write(param: &Param, text: &str, wire: &mut Vec<u8>) -> Result<(), String> {
    let (tag, parents) = param.tags.split_last().expect("a parameter has a field");
    let mut field = Vec::with_capacity(text.len() + 8);
    write_value(*tag, param.kind, text, &mut field)?;
    for parent in parents.iter().rev() {
        field = delimited(*parent, &field);
    }
    wire.extend_from_slice(&field);
    Ok(())
}

/// Writes a text that cannot be wrong.
pub(crate) fn text(param: &Param, text: &str, wire: &mut Vec<u8>) {
    debug_assert!(matches!(param.kind, Kind::String));
    write(param, text, wire).expect("every text is a string");
}

/// Checks one JSON value of a body as pbjson reads it.
///
/// Errors: what was expected instead.
pub(crate) fn check(kind: Kind, value: &Value) -> Result<(), String> {
    let fits = match (kind, value) {
        (Kind::Bool, value) => value.is_boolean(),
        (Kind::Enum(values), Value::Number(number)) => values
            .iter()
            .any(|(_, known)| Some(i64::from(*known)) == number.as_i64()),
        (
            Kind::String
            | Kind::Bytes
            | Kind::Enum(_)
            | Kind::Timestamp
            | Kind::Duration
            | Kind::FieldMask,
            value,
        ) if !value.is_string() => false,
        (Kind::String, _) => true,
        // a number or its text
        (kind, Value::Number(number)) => {
            return write_value(1, kind, &number.to_string(), &mut Vec::new());
        }
        (kind, Value::String(text)) => return write_value(1, kind, text, &mut Vec::new()),
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(format!("{} is not {}", kind_of(value), expected(kind)))
    }
}

/// What a value of this type looks like in JSON.
fn expected(kind: Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::String => "a text".to_owned(),
        Kind::Bytes => "base64 text".to_owned(),
        Kind::Float | Kind::Double => "a number".to_owned(),
        Kind::Timestamp => "an RFC 3339 time like 2026-01-31T08:00:00Z".to_owned(),
        Kind::Duration => "a duration in seconds like 1.5s".to_owned(),
        Kind::FieldMask => "a list of paths".to_owned(),
        Kind::Enum(values) => {
            let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
            format!("one of {}", names.join(", "))
        }
        _ => "an integer".to_owned(),
    }
}

fn delimited(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(content.len() + 8);
    encode_key(tag, WireType::LengthDelimited, &mut field);
    encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

fn write_value(tag: u32, kind: Kind, text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    use prost::encoding as proto;
    match kind {
        Kind::Bool => proto::bool::encode(tag, &boolean(text)?, out),
        Kind::Int32 => proto::int32::encode(tag, &number(text, "a 32-bit integer")?, out),
        Kind::Int64 => proto::int64::encode(tag, &number(text, "a 64-bit integer")?, out),
        Kind::Uint32 => {
            proto::uint32::encode(tag, &number(text, "an unsigned 32-bit integer")?, out)
        }
        Kind::Uint64 => {
            proto::uint64::encode(tag, &number(text, "an unsigned 64-bit integer")?, out)
        }
        Kind::Sint32 => proto::sint32::encode(tag, &number(text, "a 32-bit integer")?, out),
        Kind::Sint64 => proto::sint64::encode(tag, &number(text, "a 64-bit integer")?, out),
        Kind::Fixed32 => {
            proto::fixed32::encode(tag, &number(text, "an unsigned 32-bit integer")?, out);
        }
        Kind::Fixed64 => {
            proto::fixed64::encode(tag, &number(text, "an unsigned 64-bit integer")?, out);
        }
        Kind::Sfixed32 => proto::sfixed32::encode(tag, &number(text, "a 32-bit integer")?, out),
        Kind::Sfixed64 => proto::sfixed64::encode(tag, &number(text, "a 64-bit integer")?, out),
        Kind::Float => proto::float::encode(tag, &number(text, "a number")?, out),
        Kind::Double => proto::double::encode(tag, &number(text, "a number")?, out),
        Kind::String => out.extend(delimited(tag, text.as_bytes())),
        Kind::Bytes => out.extend(delimited(tag, &bytes(text)?)),
        Kind::Enum(values) => proto::int32::encode(tag, &enum_number(text, values)?, out),
        Kind::Timestamp => {
            let time: pbjson_types::Timestamp = well_known(text).ok_or_else(|| {
                format!("{text:?} is not an RFC 3339 time like 2026-01-31T08:00:00Z")
            })?;
            out.extend(delimited(tag, &time.encode_to_vec()));
        }
        Kind::Duration => {
            let duration: pbjson_types::Duration = well_known(text)
                .ok_or_else(|| format!("{text:?} is not a duration in seconds like 1.5s"))?;
            out.extend(delimited(tag, &duration.encode_to_vec()));
        }
        Kind::FieldMask => {
            let paths = text
                .split(',')
                .map(str::trim)
                .filter(|path| !path.is_empty());
            let mask = paths.fold(Vec::new(), |mut mask, path| {
                mask.extend(delimited(1, snake(path).as_bytes()));
                mask
            });
            out.extend(delimited(tag, &mask));
        }
    }
    Ok(())
}

fn well_known<T: for<'de> serde::Deserialize<'de>>(text: &str) -> Option<T> {
    let deserializer: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(deserializer).ok()
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is not true or false")),
    }
}

fn number<T: std::str::FromStr>(text: &str, expected: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not {expected}"))
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    use base64::{
        alphabet,
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };
    let padding =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    // in a query `+` has become a space already, so both spellings are tried on the given text
    let text = text.replace(' ', "+");
    GeneralPurpose::new(&alphabet::URL_SAFE, padding)
        .decode(&text)
        .or_else(|_| GeneralPurpose::new(&alphabet::STANDARD, padding).decode(&text))
        .map_err(|_| "not base64".to_owned())
}

fn enum_number(text: &str, values: &[(&str, i32)]) -> Result<i32, String> {
    let by_name = values.iter().find(|(name, _)| *name == text);
    let by_number = || {
        let number: i32 = text.parse().ok()?;
        values.iter().find(|(_, value)| *value == number)
    };
    if let Some((_, number)) = by_name.or_else(by_number) {
        return Ok(*number);
    }
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    Err(format!("{text:?} is not one of {}", names.join(", ")))
}

/// A mask is written lowerCamel in JSON; a path that is snake already stays as it is.
fn snake(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 4);
    for letter in path.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
