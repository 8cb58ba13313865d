//! Path matching behind axum.
//!
//! axum's router finds the group by its shape (`/v1/mediaItems/{p2}`); the templates of the group
//! then decide by verb and method. Templates that axum cannot tell apart, such as `{id}` and
//! `{id}:process`, are one group. A `:` left bare in the last segment starts a verb whenever the
//! group has verbs; `%3A` is data.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
    routing::any,
};
use http::{Method, StatusCode, header, request::Parts};
use percent_encoding::percent_decode_str;
use tonic::Code;

use super::{Call, FieldError, Options, Problem, Reply, problem::reason};

/// One segment of a template.
#[derive(Debug)]
pub enum Segment {
    /// Exactly this text.
    Literal(&'static str),
    /// `*`: any one segment.
    One,
    /// `**`: the rest of the path, at least one segment.
    Rest,
}

/// The segments a variable takes: `len` of them from `start`, all that remain when `len` is `None`.
#[derive(Debug)]
pub struct Capture {
    /// Index of the first segment.
    pub start: usize,
    /// Number of segments.
    pub len: Option<usize>,
}

/// A compiled path template.
#[derive(Debug)]
pub struct Template {
    /// Segments in order, without the verb.
    pub segments: &'static [Segment],
    /// Text after the last `:`, for a custom method.
    pub verb: Option<&'static str>,
    /// One per variable, in the order of the binding's path parameters.
    pub captures: &'static [Capture],
}

/// One method of one template.
pub struct Route<C> {
    /// HTTP method.
    pub method: &'static str,
    /// Path template.
    pub template: Template,
    /// What [`Matched`] tells.
    pub matched: Matched,
    /// Generated handler.
    pub handler: fn(&C, Call) -> Reply,
}

/// The routes that share one axum path.
pub struct Group<C: 'static> {
    /// Path in axum's syntax.
    pub path: &'static str,
    /// Routes in order of precedence: templates with a verb first.
    pub routes: &'static [Route<C>],
}

/// What answered: a response extension, for metrics and spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// gRPC method, such as `mediamesh.media.v1.MediaService/GetMediaItem`.
    pub rpc: &'static str,
    /// Path template as annotated.
    pub template: &'static str,
}

/// Adds the groups to a new router.
pub fn mount<C, S>(groups: &'static [Group<C>], clients: C, options: Options) -> Router<S>
where
    C: Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    let shared = Arc::new((clients, options));
    groups.iter().fold(Router::new(), |router, group| {
        let shared = Arc::clone(&shared);
        let handler = move |request: Request| {
            let shared = Arc::clone(&shared);
            async move { dispatch(group, &shared.0, &shared.1, request).await }
        };
        router.route(group.path, any(handler))
    })
}

/// Answers 404: the fallback of the whole router.
pub async fn not_found(options: Options, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    no_such_path(&options, &parts)
}

async fn dispatch<C>(
    group: &'static Group<C>,
    clients: &C,
    options: &Options,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let segments: Vec<&str> = parts
        .uri
        .path()
        .trim_start_matches('/')
        .split('/')
        .collect();
    let has_verbs = group
        .routes
        .iter()
        .any(|route| route.template.verb.is_some());
    // HEAD is GET whose body the HTTP server drops
    let method = match parts.method {
        Method::HEAD => "GET",
        ref other => other.as_str(),
    };
    let mut allowed: Vec<&'static str> = Vec::new();
    for route in group.routes {
        let Some(segments) = matches(&route.template, &segments, has_verbs) else {
            continue;
        };
        if route.method != method {
            allowed.push(route.method);
            continue;
        }
        let captures = match decode_captures(&route.template, &segments) {
            Ok(captures) => captures,
            Err(error) => return options.answer(Problem::invalid(vec![error]), &parts),
        };
        let call = Call {
            parts,
            body,
            captures,
            options: options.clone(),
        };
        let mut response = (route.handler)(clients, call).await;
        response.extensions_mut().insert(route.matched);
        return response;
    }
    if allowed.is_empty() {
        return no_such_path(options, &parts);
    }
    allowed.extend(options.methods_by_hand(parts.uri.path()));
    not_allowed(options, &parts, &allowed)
}

fn no_such_path(options: &Options, parts: &Parts) -> Response {
    let detail = format!("no route has the path {}", parts.uri.path());
    let problem = Problem::new(Code::NotFound, reason::ROUTE_NOT_FOUND, detail)
        .with("path", parts.uri.path());
    options.answer(problem, parts)
}

fn not_allowed(options: &Options, parts: &Parts, methods: &[&'static str]) -> Response {
    let mut allow: Vec<&str> = methods.to_vec();
    if allow.contains(&"GET") {
        allow.push("HEAD");
    }
    allow.push("OPTIONS");
    allow.sort_unstable();
    allow.dedup();
    let allow = allow.join(", ");
    if parts.method == Method::OPTIONS {
        return (
            StatusCode::NO_CONTENT,
            [(header::ALLOW, allow)],
            Body::empty(),
        )
            .into_response();
    }
    let path = parts.uri.path();
    let detail = format!(
        "{} is not allowed on {path}; allowed: {allow}",
        parts.method
    );
    let mut problem = Problem::new(Code::Unimplemented, reason::UNIMPLEMENTED, detail)
        .with("method", &parts.method)
        .with("path", path)
        .with("allow", &allow);
    // gRPC has no code for it
    problem.status = StatusCode::METHOD_NOT_ALLOWED.as_u16();
    "Method not allowed".clone_into(&mut problem.title);
    problem.allow = Some(allow);
    options.answer(problem, parts)
}

/// Returns the segments with the verb taken off, if the template fits.
fn matches<'a>(
    template: &Template,
    segments: &[&'a str],
    group_has_verbs: bool,
) -> Option<Vec<&'a str>> {
    let (last, head) = segments.split_last()?;
    let last = match template.verb {
        Some(verb) => last.strip_suffix(verb)?.strip_suffix(':')?,
        // a literal may hold a colon of its own: `mediaItems:search`
        None if group_has_verbs
            && last.contains(':')
            && !matches!(template.segments.last(), Some(Segment::Literal(_))) =>
        {
            return None;
        }
        None => last,
    };
    let mut path = head.to_vec();
    path.push(last);
    let mut rest = path.as_slice();
    for segment in template.segments {
        let (first, tail) = rest.split_first()?;
        match segment {
            Segment::Literal(text) if first == text => rest = tail,
            Segment::Literal(_) => return None,
            Segment::One if first.is_empty() => return None,
            Segment::One => rest = tail,
            Segment::Rest => rest = &[],
        }
    }
    rest.is_empty().then_some(path)
}

fn decode_captures(template: &Template, segments: &[&str]) -> Result<Vec<String>, FieldError> {
    template
        .captures
        .iter()
        .map(|capture| {
            let end = capture
                .len
                .map_or(segments.len(), |len| capture.start + len);
            let taken = &segments[capture.start..end];
            match taken {
                [one] => decode(one),
                // an encoded slash inside one segment must not look like a separator
                many => many
                    .iter()
                    .map(|segment| {
                        let guarded = segment.replace("%2F", "%252F").replace("%2f", "%252f");
                        decode(&guarded)
                    })
                    .collect::<Result<Vec<_>, _>>()
                    .map(|decoded| decoded.join("/")),
            }
        })
        .collect()
}

fn decode(segment: &str) -> Result<String, FieldError> {
    match percent_decode_str(segment).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(FieldError {
            field: segment.to_owned(),
            description: "path segment is not percent-encoded UTF-8".to_owned(),
        }),
    }
}
