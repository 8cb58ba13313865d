//! JSON request bodies.
//!
//! The body is parsed once, straight into the request type. Only when that fails is it read again,
//! to name every field at fault; the good path pays nothing for good errors.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header, request::Parts};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
};
use serde_json::error::Category;
use tonic::Code;

use super::{
    FieldError, Options, Problem,
    problem::reason,
    shape::{self, Shape},
};

/// Where the body goes.
#[derive(Clone, Copy, Debug)]
pub enum BodyRule {
    /// The binding takes no body; one that is sent is not read.
    None,
    /// The whole request message.
    Message,
    /// One top-level field, by its JSON name.
    Field(&'static str),
}

/// Reads the whole body.
///
/// Errors: 415 unless the media type is JSON or absent, 413 over the limit, 408 if it does not
/// arrive in time, 400 if the connection breaks.
pub(crate) async fn read(
    parts: &Parts,
    body: Body,
    options: &Options,
) -> Result<Bytes, Box<Problem>> {
    let limit = options.body_limit_bytes;
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if let Some(media_type) = other_media_type(&parts.headers) {
        let detail = format!("content type is {media_type}; application/json is expected");
        return Err(Problem::new(
            Code::InvalidArgument,
            reason::UNSUPPORTED_MEDIA_TYPE,
            detail,
        )
        .with("contentType", media_type)
        .into());
    }
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit).into());
    }
    let whole = Limited::new(body, limit).collect();
    let Ok(read) = tokio::time::timeout(options.body_timeout, whole).await else {
        return Err(Problem::late_body().into());
    };
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit).into()),
        Err(error) => {
            let detail = format!("request body could not be read: {error}");
            Err(Problem::new(Code::InvalidArgument, reason::INVALID_FIELD, detail).into())
        }
    }
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("request body is over the limit of {limit} bytes");
    Problem::new(Code::InvalidArgument, reason::TOO_LARGE, detail).with("maxSizeBytes", limit)
}

/// Returns the media type if it is one we do not read.
fn other_media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = value.to_str().unwrap_or("not text");
    let essence = text.split(';').next().unwrap_or_default().trim();
    let (kind, subtype) = essence.split_once('/').unwrap_or(("", essence));
    let json = kind.eq_ignore_ascii_case("application")
        && (subtype.eq_ignore_ascii_case("json")
            || subtype.to_ascii_lowercase().ends_with("+json"));
    (!json).then_some(text)
}

/// Parses `bytes` into a request. An empty body is an empty message.
///
/// Errors: 400 with line and column for bad syntax, 400 with the paths of all unknown fields and
/// wrong types.
pub(crate) fn parse<T>(
    rule: BodyRule,
    shape: Option<&'static Shape>,
    bytes: &[u8],
) -> Result<T, Box<Problem>>
where
    T: DeserializeOwned + Default,
{
    if bytes.is_empty() {
        return Ok(T::default());
    }
    let parsed = match rule {
        BodyRule::None => return Ok(T::default()),
        BodyRule::Message => serde_json::from_slice(bytes),
        BodyRule::Field(name) => T::deserialize(OneField { name, bytes }),
    };
    parsed.map_err(|error| describe::<T>(rule, shape, bytes, &error).into())
}

fn describe<T: DeserializeOwned>(
    rule: BodyRule,
    shape: Option<&'static Shape>,
    bytes: &[u8],
    error: &serde_json::Error,
) -> Problem {
    if error.classify() == Category::Data
        && let Some(shape) = shape
        && let Ok(body) = serde_json::from_slice(bytes)
    {
        let root = match rule {
            BodyRule::Field(name) => name,
            BodyRule::None | BodyRule::Message => "",
        };
        let faults = shape::faults(shape, root, &body);
        if !faults.is_empty() {
            return Problem::invalid(faults);
        }
        // a fault that the tables do not know, such as a name given twice: the parser's words
    }
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let place = format!(" at line {line} column {column}");
    let what = text.strip_suffix(&place).unwrap_or(&text);
    let problem = if error.classify() == Category::Data {
        let path = match rule {
            BodyRule::Field(name) => {
                serde_path_to_error::deserialize::<_, T>(OneField { name, bytes }).err()
            }
            BodyRule::None | BodyRule::Message => {
                let mut json = serde_json::Deserializer::from_slice(bytes);
                serde_path_to_error::deserialize::<_, T>(&mut json).err()
            }
        };
        let path = path
            .map(|error| error.path().to_string())
            .unwrap_or_default();
        let field = if matches!(path.as_str(), "" | "." | "?") {
            "body".to_owned()
        } else {
            path
        };
        Problem::invalid(vec![FieldError {
            field,
            description: what.to_owned(),
        }])
    } else {
        let detail = format!("request body is not JSON: {text}");
        Problem::new(Code::InvalidArgument, reason::INVALID_FIELD, detail)
    };
    problem.with("line", line).with("column", column)
}

/// Presents `bytes` as the only member of an object, without copying them into one.
struct OneField<'a> {
    name: &'static str,
    bytes: &'a [u8],
}

impl<'de> Deserializer<'de> for OneField<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_map(OneMember {
            name: Some(self.name),
            bytes: self.bytes,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

struct OneMember<'a> {
    name: Option<&'static str>,
    bytes: &'a [u8],
}

impl<'de> MapAccess<'de> for OneMember<'de> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        match self.name.take() {
            Some(name) => seed.deserialize(name.into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Self::Error> {
        let mut json = serde_json::Deserializer::from_slice(self.bytes);
        let value = seed.deserialize(&mut json)?;
        json.end()?;
        Ok(value)
    }
}
