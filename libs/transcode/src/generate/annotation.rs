//! Reads `google.api.http` without generated types: the options are dynamic messages.

use prost_reflect::{DynamicMessage, ExtensionDescriptor, MethodDescriptor, Value};

/// One HTTP binding as annotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpRule {
    pub(super) http_method: String,
    pub(super) template: String,
    pub(super) body: String,
    pub(super) response_body: String,
}

/// Returns the bindings of `method`, the primary one first; empty if it is not annotated.
pub(super) fn rules(method: &MethodDescriptor, extension: &ExtensionDescriptor) -> Vec<HttpRule> {
    let options = method.options();
    if !options.has_extension(extension) {
        return Vec::new();
    }
    let value = options.get_extension(extension);
    let Some(primary) = value.as_message() else {
        return Vec::new();
    };
    let mut rules = vec![rule(primary)];
    if let Some(additional) = primary.get_field_by_name("additional_bindings")
        && let Some(list) = additional.as_list()
    {
        rules.extend(list.iter().filter_map(Value::as_message).map(rule));
    }
    rules
}

fn rule(message: &DynamicMessage) -> HttpRule {
    let simple = ["get", "put", "post", "delete", "patch"]
        .into_iter()
        .map(|name| (name.to_ascii_uppercase(), text(message, name)))
        .find(|(_, template)| !template.is_empty());
    let (http_method, template) = simple.unwrap_or_else(|| {
        let custom = message.get_field_by_name("custom");
        let custom = custom.as_deref().and_then(Value::as_message);
        custom.map_or_else(Default::default, |custom| {
            (text(custom, "kind"), text(custom, "path"))
        })
    });
    HttpRule {
        http_method,
        template,
        body: text(message, "body"),
        response_body: text(message, "response_body"),
    }
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value
        .as_deref()
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
