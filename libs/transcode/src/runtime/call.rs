//! The one shape of a call: decode, send, answer. Generated handlers only name types and methods.

use std::future::Future;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header, request::Parts};
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};
use tonic::{Code, Status, Streaming, metadata::MetadataMap};

use super::{
    BodyRule, FieldError, Options, Param, Problem, body, condition, params,
    problem::reason,
    shape::Shape,
    stream::{self, Format},
};

/// Most JSON answers of one resource fit without growing.
const ANSWER_CAPACITY_BYTES: usize = 1024;

/// What a generated handler returns.
pub type Reply = BoxFuture<'static, Response>;

/// How a request message is put together.
#[derive(Debug)]
pub struct Binding {
    /// Path variables, in the order of the template's captures.
    pub path: &'static [Param],
    /// Fields accepted in the query.
    pub query: &'static [Param],
    /// Where the body goes.
    pub body: BodyRule,
    /// What the body may hold, if it is a message.
    pub shape: Option<&'static Shape>,
    /// The etag a write is compared with, where the request has one: `If-Match` sets it.
    pub etag: Option<Param>,
}

/// One HTTP request on its way to a generated handler.
#[derive(Debug)]
pub struct Call {
    pub(crate) parts: Parts,
    pub(crate) body: Body,
    pub(crate) captures: Vec<String>,
    pub(crate) options: Options,
}

/// Answers a unary method with JSON; `etag` reads the answer's etag, empty if it has none.
pub async fn unary<T, R, V, F>(
    binding: &'static Binding,
    call: Call,
    prepare: impl FnOnce(&Parts, T) -> tonic::Request<T>,
    send: impl FnOnce(tonic::Request<T>) -> F,
    pick: impl FnOnce(R) -> V,
    etag: fn(&V) -> &str,
) -> Response
where
    T: Message + Default + DeserializeOwned,
    V: Serialize,
    F: Future<Output = Result<tonic::Response<R>, Status>>,
{
    let (parts, options, message) = match decode(binding, call).await {
        Ok(decoded) => decoded,
        Err(response) => return response,
    };
    if let Some(response) = refuse_stream_format(&options, &parts) {
        return response;
    }
    match send(prepare(&parts, message)).await {
        Ok(response) => {
            let (metadata, message, _) = response.into_parts();
            let message = pick(message);
            let mut answer = Vec::with_capacity(ANSWER_CAPACITY_BYTES);
            if let Err(error) = serde_json::to_writer(&mut answer, &message) {
                return unserialisable(&options, &parts, &error);
            }
            let mut headers = HeaderMap::new();
            condition::tag(&mut headers, etag(&message), &answer);
            let mut response = finish(&options, &metadata, "application/json", Body::from(answer));
            response.headers_mut().extend(headers);
            response
        }
        Err(status) => {
            let problem = Problem::from_status(&status);
            let problem = condition::refine(binding, &parts.headers, problem);
            options.answer(problem, &parts)
        }
    }
}

/// Answers a unary method that returns `google.api.HttpBody` with its own bytes.
pub async fn raw<T, R, D, F>(
    binding: &'static Binding,
    call: Call,
    prepare: impl FnOnce(&Parts, T) -> tonic::Request<T>,
    send: impl FnOnce(tonic::Request<T>) -> F,
    pick: impl FnOnce(R) -> (String, D),
) -> Response
where
    T: Message + Default + DeserializeOwned,
    D: Into<Bytes>,
    F: Future<Output = Result<tonic::Response<R>, Status>>,
{
    let (parts, options, message) = match decode(binding, call).await {
        Ok(decoded) => decoded,
        Err(response) => return response,
    };
    match send(prepare(&parts, message)).await {
        Ok(response) => {
            let (metadata, message, _) = response.into_parts();
            let (content_type, data) = pick(message);
            finish(&options, &metadata, &content_type, Body::from(data.into()))
        }
        Err(status) => options.answer(Problem::from_status(&status), &parts),
    }
}

/// Answers a server-streaming method with NDJSON or SSE.
pub async fn server_stream<T, R, V, F>(
    binding: &'static Binding,
    call: Call,
    prepare: impl FnOnce(&Parts, T) -> tonic::Request<T>,
    send: impl FnOnce(tonic::Request<T>) -> F,
    pick: fn(R) -> V,
) -> Response
where
    T: Message + Default + DeserializeOwned,
    R: Send + 'static,
    V: Serialize + 'static,
    F: Future<Output = Result<tonic::Response<Streaming<R>>, Status>>,
{
    let (parts, options, message) = match decode(binding, call).await {
        Ok(decoded) => decoded,
        Err(response) => return response,
    };
    let format = match Format::negotiate(&parts) {
        Ok(format) => format,
        Err(problem) => return options.answer(*problem, &parts),
    };
    match send(prepare(&parts, message)).await {
        Ok(response) => {
            let (metadata, messages, _) = response.into_parts();
            match stream::body(messages, pick, format, parts, options.clone()).await {
                Ok(body) => {
                    let mut answer = finish(&options, &metadata, format.content_type(), body);
                    let headers = answer.headers_mut();
                    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                    headers.append(header::VARY, HeaderValue::from_static("accept"));
                    // nginx would otherwise hold records back
                    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
                    answer
                }
                Err((problem, parts)) => options.answer(problem, &parts),
            }
        }
        Err(status) => options.answer(Problem::from_status(&status), &parts),
    }
}

/// Answers a method that streams `google.api.HttpBody` with the bytes, one after another.
///
/// The first message names the media type. A failure half-way breaks the connection: plain bytes
/// have no place for an error record, and a short body must not look complete.
pub async fn raw_stream<T, R, D, F>(
    binding: &'static Binding,
    call: Call,
    prepare: impl FnOnce(&Parts, T) -> tonic::Request<T>,
    send: impl FnOnce(tonic::Request<T>) -> F,
    pick: fn(R) -> (String, D),
) -> Response
where
    T: Message + Default + DeserializeOwned,
    R: Send + 'static,
    D: Into<Bytes> + 'static,
    F: Future<Output = Result<tonic::Response<Streaming<R>>, Status>>,
{
    let (parts, options, message) = match decode(binding, call).await {
        Ok(decoded) => decoded,
        Err(response) => return response,
    };
    let outcome = async {
        let (metadata, mut messages, _) = send(prepare(&parts, message)).await?.into_parts();
        let first = messages.message().await?;
        Ok::<_, Status>((metadata, first, messages))
    };
    match outcome.await {
        Ok((metadata, first, messages)) => {
            let (content_type, head) = first.map(pick).map_or_else(
                || (String::new(), Bytes::new()),
                |(content_type, data)| (content_type, data.into()),
            );
            finish(
                &options,
                &metadata,
                &content_type,
                stream::bytes(head, messages, pick),
            )
        }
        Err(status) => options.answer(Problem::from_status(&status), &parts),
    }
}

/// Puts the request message together from path, query and body.
async fn decode<T>(binding: &'static Binding, call: Call) -> Result<(Parts, Options, T), Response>
where
    T: Message + Default + DeserializeOwned,
{
    let Call {
        parts,
        body,
        captures,
        options,
    } = call;
    match message(binding, &parts, body, &captures, &options).await {
        Ok(message) => Ok((parts, options, message)),
        Err(problem) => Err(options.answer(*problem, &parts)),
    }
}

async fn message<T>(
    binding: &'static Binding,
    parts: &Parts,
    body: Body,
    captures: &[String],
    options: &Options,
) -> Result<T, Box<Problem>>
where
    T: Message + Default + DeserializeOwned,
{
    let mut fields = params::encode(binding.path, captures, binding.query, &parts.uri)
        .map_err(Problem::invalid)?;
    if let Some(etag) = &binding.etag
        && let Some(tag) = condition::if_match(&parts.headers)?
    {
        // last, so that it replaces one of the body
        params::text(etag, &tag, &mut fields);
    }
    let mut message = match binding.body {
        BodyRule::None => T::default(),
        rule => {
            let bytes = body::read(parts, body, options).await?;
            body::parse(rule, binding.shape, &bytes)?
        }
    };
    if !fields.is_empty() {
        message.merge(fields.as_slice()).map_err(|error| {
            let detail = format!("parameters do not fit the request: {error}");
            Problem::new(Code::Internal, reason::INTERNAL, detail)
        })?;
    }
    Ok(message)
}

fn refuse_stream_format(options: &Options, parts: &Parts) -> Option<Response> {
    let alt = params::alt(&parts.uri)?;
    if alt == "json" {
        return None;
    }
    let problem = Problem::invalid(vec![FieldError {
        field: "alt".to_owned(),
        description: format!("{alt:?} is not one of json"),
    }]);
    Some(options.answer(problem, parts))
}

fn finish(options: &Options, metadata: &MetadataMap, content_type: &str, body: Body) -> Response {
    let mut response = body.into_response();
    let content_type = HeaderValue::from_str(content_type)
        .ok()
        .filter(|value| !value.is_empty())
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    options.copy_headers(metadata, response.headers_mut());
    response
}

/// pbjson refuses numbers of an enum this build does not know, and times out of range.
fn unserialisable(options: &Options, parts: &Parts, error: &serde_json::Error) -> Response {
    let detail = format!("answer cannot be written as JSON: {error}");
    options.answer(
        Problem::new(Code::Internal, reason::INTERNAL, detail),
        parts,
    )
}
