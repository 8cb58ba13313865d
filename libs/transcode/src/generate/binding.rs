//! Annotations checked against messages: the model both outputs are made from.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use super::{
    Error,
    annotation::{self, HttpRule},
    params::{self, Param},
    template::Template,
};

/// Where a request body goes.
#[derive(Clone, Debug)]
pub(super) enum Body {
    None,
    Message,
    Field(FieldDescriptor),
}

/// One HTTP method and path of one RPC.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) method: MethodDescriptor,
    /// 0 for the primary binding, then one per additional binding.
    pub(super) index: usize,
    pub(super) http_method: String,
    pub(super) template: Template,
    /// One per variable of the template.
    pub(super) path: Vec<Param>,
    pub(super) query: Vec<Param>,
    pub(super) body: Body,
    pub(super) response_field: Option<FieldDescriptor>,
    /// The etag of the request, for methods that write.
    pub(super) etag: Option<Param>,
}

/// The bindings that share one axum path, as indices, those with a verb first.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) path: String,
    pub(super) bindings: Vec<usize>,
}

impl Binding {
    /// Returns the message answered, if it is one and carries an etag.
    pub(super) fn answers_etag(&self) -> Option<MessageDescriptor> {
        let message = match &self.response_field {
            Some(field) if field.is_list() || field.is_map() => return None,
            Some(field) => field.kind().as_message()?.clone(),
            None => self.method.output(),
        };
        params::etag_of(&message).map(|_| message)
    }

    /// Returns the message of the body, if it is one.
    pub(super) fn body_message(&self) -> Option<MessageDescriptor> {
        match &self.body {
            Body::None => None,
            Body::Message => Some(self.method.input()),
            Body::Field(field) if field.is_list() || field.is_map() => None,
            Body::Field(field) => field.kind().as_message().cloned(),
        }
    }

    /// Returns whether the answer is `google.api.HttpBody`.
    pub(super) fn answers_http_body(&self) -> bool {
        match &self.response_field {
            Some(field) => !field.is_list() && !field.is_map() && is_http_body(&field.kind()),
            None => is_http_body(&Kind::Message(self.method.output())),
        }
    }
}

fn is_http_body(kind: &Kind) -> bool {
    kind.as_message()
        .is_some_and(|message| message.full_name() == "google.api.HttpBody")
}

/// Returns every binding, in the order of the descriptor set.
pub(super) fn collect(pool: &DescriptorPool) -> Result<Vec<Binding>, Error> {
    let extension = pool
        .get_extension_by_name("google.api.http")
        .ok_or(Error::NoAnnotations)?;
    let mut bindings = Vec::new();
    for service in pool.services() {
        for method in service.methods() {
            let rules = annotation::rules(&method, &extension);
            if !rules.is_empty() && method.is_client_streaming() {
                return Err(Error::ClientStreaming {
                    method: method.full_name().to_owned(),
                });
            }
            for (index, rule) in rules.iter().enumerate() {
                let binding =
                    resolve(&method, index, rule).map_err(|problem| Error::Annotation {
                        method: method.full_name().to_owned(),
                        problem,
                    })?;
                bindings.push(binding);
            }
        }
    }
    if bindings.is_empty() {
        return Err(Error::NoAnnotations);
    }
    Ok(bindings)
}

fn resolve(method: &MethodDescriptor, index: usize, rule: &HttpRule) -> Result<Binding, String> {
    if rule.template.is_empty() || rule.http_method.is_empty() {
        return Err("the annotation names no HTTP method and path".to_owned());
    }
    let input = method.input();
    let template = Template::parse(&rule.template)?;
    let path = template
        .variables
        .iter()
        .map(|variable| params::path_param(&input, &variable.field_path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut taken: Vec<String> = path.iter().map(Param::proto_name).collect();
    for (at, name) in taken.iter().enumerate() {
        if taken[..at].contains(name) {
            return Err(format!("path variable {name:?} appears twice"));
        }
    }
    let body = body(&input, &rule.body)?;
    let query = match &body {
        Body::Message => Vec::new(),
        Body::Field(field) => {
            taken.push(field.name().to_owned());
            params::query_params(&input, &taken)
        }
        Body::None => params::query_params(&input, &taken),
    };
    Ok(Binding {
        method: method.clone(),
        index,
        http_method: rule.http_method.clone(),
        template,
        path,
        query,
        body,
        etag: (rule.http_method != "GET")
            .then(|| params::etag(&input))
            .flatten(),
        response_field: response_field(&method.output(), &rule.response_body)?,
    })
}

fn body(input: &MessageDescriptor, name: &str) -> Result<Body, String> {
    let (body, kind) = match name {
        "" => return Ok(Body::None),
        "*" => (Body::Message, Kind::Message(input.clone())),
        name => {
            let field = input
                .get_field_by_name(name)
                .ok_or_else(|| format!("body {name:?} is not a field of the request"))?;
            let kind = field.kind();
            (Body::Field(field), kind)
        }
    };
    if is_http_body(&kind) {
        return Err("google.api.HttpBody is supported in answers only".to_owned());
    }
    Ok(body)
}

fn response_field(
    output: &MessageDescriptor,
    name: &str,
) -> Result<Option<FieldDescriptor>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    let field = output
        .get_field_by_name(name)
        .ok_or_else(|| format!("response_body {name:?} is not a field of the response"))?;
    if field
        .containing_oneof()
        .is_some_and(|oneof| !oneof.is_synthetic())
    {
        return Err(format!("response_body {name:?} is in a oneof"));
    }
    let value_kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    match value_kind {
        Kind::Message(_)
        | Kind::String
        | Kind::Bool
        | Kind::Int32
        | Kind::Sint32
        | Kind::Sfixed32
        | Kind::Uint32
        | Kind::Fixed32
        | Kind::Float
        | Kind::Double => Ok(Some(field)),
        // their JSON is not what serde writes for the Rust type
        other => Err(format!(
            "response_body {name:?} is {other:?}; wrap it in a message"
        )),
    }
}

/// Groups the bindings by axum path and checks that the router can hold them all.
pub(super) fn group(bindings: &[Binding]) -> Result<Vec<Group>, Error> {
    let mut paths: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, binding) in bindings.iter().enumerate() {
        let path = binding.template.axum_path();
        let members = paths.entry(path).or_default();
        let same = members.iter().find(|other| {
            let other = &bindings[**other];
            other.http_method == binding.http_method && other.template.verb == binding.template.verb
        });
        if let Some(other) = same {
            return Err(Error::Duplicate {
                route: format!("{} {}", binding.http_method, binding.template.source),
                first: bindings[*other].method.full_name().to_owned(),
                second: binding.method.full_name().to_owned(),
            });
        }
        members.push(at);
    }
    let mut router = matchit::Router::new();
    let mut groups = Vec::new();
    for (path, mut members) in paths {
        router
            .insert(path.clone(), ())
            .map_err(|source| Error::Route {
                path: path.clone(),
                source,
            })?;
        // stable: within each half the order of the protos stays
        members.sort_by_key(|at| bindings[*at].template.verb.is_none());
        groups.push(Group {
            path,
            bindings: members,
        });
    }
    Ok(groups)
}
