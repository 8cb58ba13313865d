//! The OpenAPI 3.1 document.
//!
//! - `schema`: messages and enums as JSON Schema.
//! - `comment`: proto comments, and the errors they list.
//! - `merge`: hand-written documents.
//!
//! `serde_json` maps are sorted here whatever features the workspace turns on, so the same protos
//! always give the same bytes.

mod comment;
mod merge;
mod schema;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    Error, Generator,
    binding::{Binding, Body},
};
use schema::Schemas;

const PROBLEM_TYPE: &str = "application/problem+json";

pub(super) fn document(bindings: &[Binding], options: &Generator<'_>) -> Result<String, Error> {
    let bodies = bindings.iter().filter_map(Binding::body_message);
    let mut schemas = Schemas::new(options.emits_all_fields, bodies);
    let mut paths = Map::new();
    let mut tags = BTreeMap::new();
    for binding in bindings {
        let service = binding.method.parent_service();
        tags.insert(
            service.name().to_owned(),
            comment::of(&service.parent_file(), service.path()),
        );
        let (path, _) = binding.template.openapi_path();
        // one path item per shape: `{id}` and `{item.id}` in one place are the same path
        let known = paths.keys().find(|known| shape(known) == shape(&path));
        let path = known.cloned().unwrap_or(path);
        let operation = operation(binding, &path, &mut schemas);
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[binding.http_method.to_ascii_lowercase()] = operation;
    }
    let tags: Vec<Value> = tags
        .into_iter()
        .map(|(name, text)| described(json!({ "name": name }), &text))
        .collect();
    if let Some(binding) = bindings.first() {
        let pool = binding.method.parent_pool();
        for other in &options.merged {
            merge::references(other, &mut |name| {
                if let Some(message) = pool.get_message_by_name(name) {
                    schemas.reference(&message);
                }
            });
        }
    }
    let mut components = schemas.finish();
    components.insert("Problem".to_owned(), problem_schema());
    let mut document = json!({
        "openapi": "3.1.0",
        "info": described(
            json!({ "title": options.title, "version": options.version }),
            &options.description,
        ),
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": { "Problem": {
                "description": "The request failed. `reason` is stable and says why; `errors` lists every field violation.",
                "content": { PROBLEM_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
            } },
        },
    });
    for other in &options.merged {
        merge::into(&mut document, other)?;
    }
    Ok(serde_json::to_string_pretty(&merge::sorted(document))
        .expect("a JSON value always serialises"))
}

/// The path without the names of its parameters.
fn shape(path: &str) -> String {
    let segments = path.split('{').enumerate().map(|(at, text)| match at {
        0 => text,
        _ => text.split_once('}').map_or("", |(_, rest)| rest),
    });
    segments.collect::<Vec<_>>().join("{}")
}

/// The names of a path's parameters, in order.
fn names(path: &str) -> impl Iterator<Item = &str> {
    let after = path.split('{').skip(1);
    after.map(|text| text.split_once('}').map_or(text, |(name, _)| name))
}

fn operation(binding: &Binding, path: &str, schemas: &mut Schemas) -> Value {
    let method = &binding.method;
    let service = method.parent_service();
    let text = comment::of(&method.parent_file(), method.path());
    let mut id = format!("{}_{}", service.name(), method.name());
    if binding.index > 0 {
        id.push_str(&format!("_{}", binding.index + 1));
    }
    let mut operation = json!({
        "operationId": id,
        "tags": [service.name()],
        "parameters": parameters(binding, path, schemas),
        "responses": responses(binding, &text, schemas),
    });
    if let Some(summary) = comment::summary(&text) {
        operation["summary"] = summary.into();
        operation["description"] = text.into();
    }
    if method
        .method_descriptor_proto()
        .options
        .as_ref()
        .is_some_and(|options| options.deprecated())
    {
        operation["deprecated"] = true.into();
    }
    if let Some(body) = request_body(binding, schemas) {
        operation["requestBody"] = body;
    }
    operation
}

fn parameters(binding: &Binding, path: &str, schemas: &mut Schemas) -> Vec<Value> {
    let mut parameters = Vec::new();
    for (name, (_, owner)) in names(path).zip(binding.template.openapi_path().1) {
        let parameter = json!({ "name": name, "in": "path", "required": true });
        let Some(owner) = owner else {
            parameters.push(described(
                with_schema(parameter, json!({ "type": "string" })),
                "",
            ));
            continue;
        };
        let field = binding.path[owner].last();
        let mut text = comment::of(&field.parent_message().parent_file(), field.path());
        if let Some(pattern) = binding.template.pattern(&binding.template.variables[owner]) {
            text = format!("{text}\n\nThe field's value is the path matched by `{pattern}`.")
                .trim()
                .to_owned();
        }
        parameters.push(described(
            with_schema(parameter, schemas.parameter(field)),
            &text,
        ));
    }
    for param in &binding.query {
        let field = param.last();
        let text = comment::of(&field.parent_message().parent_file(), field.path());
        let mut parameter = json!({ "name": param.json_name(), "in": "query" });
        if comment::is_required(&text) && param.fields.len() == 1 {
            parameter["required"] = true.into();
        }
        let mut schema = schemas.parameter(field);
        if field.is_list() {
            schema = json!({ "type": "array", "items": schema });
            parameter["explode"] = true.into();
        }
        parameters.push(described(with_schema(parameter, schema), &text));
    }
    if binding.etag.is_some() {
        parameters.push(json!({
            "name": "If-Match",
            "in": "header",
            "description": "The `ETag` that must be current, or `*`. Takes the place of an `etag` elsewhere in the request.",
            "schema": { "type": "string" },
        }));
    }
    if binding.method.is_server_streaming() && !binding.answers_http_body() {
        parameters.push(json!({
            "name": "alt",
            "in": "query",
            "description": "Format of the stream; otherwise `Accept` decides, else NDJSON.",
            "schema": { "type": "string", "enum": ["ndjson", "sse"] },
        }));
    }
    parameters
}

fn with_schema(mut parameter: Value, schema: Value) -> Value {
    parameter["schema"] = schema;
    parameter
}

fn request_body(binding: &Binding, schemas: &mut Schemas) -> Option<Value> {
    let (schema, required) = match &binding.body {
        Body::None => return None,
        Body::Message => {
            let taken: Vec<&str> = binding
                .path
                .iter()
                .filter(|param| param.fields.len() == 1)
                .map(|param| param.last().name())
                .collect();
            let input = binding.method.input();
            if taken.is_empty() {
                (schemas.reference(&input), true)
            } else {
                // without what the path says already
                let schema = schemas.object(&input, &taken);
                let required = schema.get("required").is_some();
                (schema, required)
            }
        }
        Body::Field(field) => (schemas.field(field), true),
    };
    Some(json!({
        "required": required,
        "content": { "application/json": { "schema": schema } },
    }))
}

fn responses(binding: &Binding, text: &str, schemas: &mut Schemas) -> Value {
    let output = binding.method.output();
    let answer = match &binding.response_field {
        Some(field) => schemas.field(field),
        None if binding.answers_http_body() => json!({}),
        None => schemas.reference(&output),
    };
    let ok = if binding.answers_http_body() {
        json!({ "description": "The content itself.", "content": { "*/*": {} } })
    } else if binding.method.is_server_streaming() {
        json!({
            "description": "A stream of records. NDJSON: one per line; a failure half-way is a last line \
                `{\"error\": Problem}`. SSE: one per `data:`; `event: end` closes a whole stream, \
                `event: error` carries a Problem.",
            "content": {
                "application/x-ndjson": { "schema": answer },
                "text/event-stream": { "schema": answer },
            },
        })
    } else {
        let message = binding
            .response_field
            .as_ref()
            .and_then(|field| field.kind().as_message().cloned());
        let message = message.unwrap_or(output);
        let text = comment::of(&message.parent_file(), message.path());
        let summary = comment::summary(&text).unwrap_or_else(|| "OK".to_owned());
        json!({
            "description": summary,
            "content": { "application/json": { "schema": answer } },
        })
    };
    let mut responses = Map::new();
    responses.insert("200".to_owned(), ok);
    if binding.etag.is_some() {
        responses.insert(
            "412".to_owned(),
            json!({
                "description": "`If-Match` is not the current version; nothing was written.",
                "content": { PROBLEM_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
            }),
        );
    }
    for (status, description) in comment::errors(text) {
        responses.insert(
            status,
            json!({
                "description": description,
                "content": { PROBLEM_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
            }),
        );
    }
    responses.insert(
        "default".to_owned(),
        json!({ "$ref": "#/components/responses/Problem" }),
    );
    Value::Object(responses)
}

fn described(mut value: Value, text: &str) -> Value {
    if !text.is_empty() {
        value["description"] = text.into();
    }
    value
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "An RFC 9457 problem.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference", "description": "Link to the reason's page." },
            "title": { "type": "string", "description": "The reason in words." },
            "status": { "type": "integer", "format": "int32", "description": "HTTP status code." },
            "detail": { "type": "string", "description": "What went wrong this time. The text may change." },
            "instance": { "type": "string", "format": "uri-reference", "description": "This occurrence." },
            "code": { "type": "string", "description": "gRPC code name, such as `NOT_FOUND`." },
            "reason": { "type": "string", "description": "Stable name of the reason." },
            "metadata": {
                "type": "object",
                "additionalProperties": { "type": "string" },
                "description": "The dynamic values of `detail`.",
            },
            "trace_id": { "type": "string", "description": "W3C trace id of the request." },
            "errors": {
                "type": "array",
                "description": "Every field violation.",
                "items": {
                    "type": "object",
                    "required": ["field", "description"],
                    "properties": {
                        "field": { "type": "string", "description": "Path in the request, dots for nesting." },
                        "description": { "type": "string" },
                    },
                },
            },
            "retry_after_seconds": { "type": "integer", "format": "int64", "description": "Wait at least this long before trying again." },
        },
    })
}
