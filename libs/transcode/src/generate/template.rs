//! Path templates, as `google/api/http.proto` defines them:
//!
//! ```text
//! Template = "/" Segments [ ":" Verb ]       Segment  = "*" | "**" | LITERAL | Variable
//! Segments = Segment { "/" Segment }         Variable = "{" FieldPath [ "=" Segments ] "}"
//! ```

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(String),
    One,
    Rest,
}

/// A variable and the segments it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) field_path: String,
    pub(super) start: usize,
    /// `None` when the last of them is `**`.
    pub(super) len: Option<usize>,
}

/// A parsed template. A verb after a literal is part of the literal: axum matches it as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) source: String,
    pub(super) segments: Vec<Segment>,
    pub(super) variables: Vec<Variable>,
    pub(super) verb: Option<String>,
}

impl Template {
    /// Parses `source`. The error says what is wrong.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let path = source
            .strip_prefix('/')
            .ok_or_else(|| format!("path {source:?} does not start with /"))?;
        let mut template = Self {
            source: source.to_owned(),
            segments: Vec::new(),
            variables: Vec::new(),
            verb: None,
        };
        let (path, verb) = split_verb(path);
        for part in split_outside_braces(path) {
            match part.strip_prefix('{') {
                Some(variable) => {
                    let inner = variable.strip_suffix('}').ok_or_else(|| {
                        format!("path {source:?}: a variable must be a whole segment")
                    })?;
                    let (field_path, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
                    let start = template.segments.len();
                    for part in pattern.split('/') {
                        template.segments.push(segment(part, source)?);
                    }
                    let open = template.segments.last() == Some(&Segment::Rest);
                    template.variables.push(Variable {
                        field_path: field_path.to_owned(),
                        start,
                        len: (!open).then(|| template.segments.len() - start),
                    });
                }
                None => template.segments.push(segment(part, source)?),
            }
        }
        let (last, head) = template
            .segments
            .split_last_mut()
            .ok_or_else(|| format!("path {source:?} has no segments"))?;
        if head.contains(&Segment::Rest) {
            return Err(format!("path {source:?}: ** must be the last segment"));
        }
        match (last, verb) {
            (_, Some("")) => return Err(format!("path {source:?}: the verb is empty")),
            (Segment::Literal(text), Some(verb)) => *text = format!("{text}:{verb}"),
            (_, verb) => template.verb = verb.map(str::to_owned),
        }
        Ok(template)
    }

    /// Returns the path in axum's syntax. Parameters are named by place, so that templates which
    /// differ only in the names of their variables share a route.
    pub(super) fn axum_path(&self) -> String {
        let mut path = String::new();
        for (at, segment) in self.segments.iter().enumerate() {
            path.push('/');
            match segment {
                Segment::Literal(text) => path.push_str(text),
                Segment::One => path.push_str(&format!("{{p{at}}}")),
                Segment::Rest => path.push_str("{*rest}"),
            }
        }
        path
    }

    /// Returns the path in OpenAPI's syntax and the name of each of its parameters with the index
    /// of the variable it belongs to.
    pub(super) fn openapi_path(&self) -> (String, Vec<(String, Option<usize>)>) {
        let mut path = String::new();
        let mut names: Vec<(String, Option<usize>)> = Vec::new();
        for (at, segment) in self.segments.iter().enumerate() {
            path.push('/');
            if let Segment::Literal(text) = segment {
                path.push_str(text);
                continue;
            }
            let owner = self.variables.iter().position(|variable| {
                variable.start <= at && variable.len.is_none_or(|len| at < variable.start + len)
            });
            let base = owner.map_or_else(
                || format!("segment_{at}"),
                |owner| self.variables[owner].field_path.clone(),
            );
            let taken = names
                .iter()
                .filter(|(_, other)| *other == owner && owner.is_some());
            let name = match taken.count() {
                0 => base,
                n => format!("{base}_{}", n + 1),
            };
            path.push_str(&format!("{{{name}}}"));
            names.push((name, owner));
        }
        if let Some(verb) = &self.verb {
            path.push(':');
            path.push_str(verb);
        }
        (path, names)
    }

    /// Returns the text of a variable's pattern, such as `prefix/*`, unless it is a plain `*`.
    pub(super) fn pattern(&self, variable: &Variable) -> Option<String> {
        let end = variable
            .len
            .map_or(self.segments.len(), |len| variable.start + len);
        let segments = &self.segments[variable.start..end];
        if segments == [Segment::One] {
            return None;
        }
        let texts: Vec<&str> = segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => text.as_str(),
                Segment::One => "*",
                Segment::Rest => "**",
            })
            .collect();
        Some(texts.join("/"))
    }
}

fn split_verb(path: &str) -> (&str, Option<&str>) {
    let after_braces = path.rfind('}').map_or(0, |at| at + 1);
    let last_segment = path[after_braces..]
        .rfind('/')
        .map_or(after_braces, |at| after_braces + at);
    match path[last_segment..].rfind(':') {
        Some(at) => (
            &path[..last_segment + at],
            Some(&path[last_segment + at + 1..]),
        ),
        None => (path, None),
    }
}

fn split_outside_braces(path: &str) -> Vec<&str> {
    let mut inside = false;
    path.split(move |letter| {
        match letter {
            '{' => inside = true,
            '}' => inside = false,
            _ => {}
        }
        letter == '/' && !inside
    })
    .collect()
}

fn segment(text: &str, source: &str) -> Result<Segment, String> {
    match text {
        "*" => Ok(Segment::One),
        "**" => Ok(Segment::Rest),
        "" => Err(format!("path {source:?} has an empty segment")),
        text if text.contains(['{', '}', '*', '=', '?', '#', ' ', '%']) => Err(format!(
            "path {source:?}: segment {text:?} is neither a literal nor a variable"
        )),
        text if text.starts_with(':') => Err(format!(
            "path {source:?}: segment {text:?} starts with a colon"
        )),
        text => Ok(Segment::Literal(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_verb_after_a_variable_is_kept_apart() {
        let template = Template::parse("/v1/items/{item.id}:process").unwrap();
        assert_eq!(template.axum_path(), "/v1/items/{p2}");
        assert_eq!(template.verb.as_deref(), Some("process"));
        assert_eq!(template.openapi_path().0, "/v1/items/{item.id}:process");
    }

    #[test]
    fn a_verb_after_a_literal_is_part_of_it() {
        let template = Template::parse("/v1/items:search").unwrap();
        assert_eq!(template.axum_path(), "/v1/items:search");
        assert_eq!(template.verb, None);
    }

    #[test]
    fn a_pattern_spans_segments() {
        let template = Template::parse("/v1/{name=shelves/*/books/**}:read").unwrap();
        assert_eq!(template.axum_path(), "/v1/shelves/{p2}/books/{*rest}");
        assert_eq!(template.variables[0].len, None);
        assert_eq!(
            template.openapi_path().0,
            "/v1/shelves/{name}/books/{name_2}:read"
        );
        assert_eq!(
            template.pattern(&template.variables[0]).unwrap(),
            "shelves/*/books/**"
        );
    }

    #[test]
    fn broken_templates_are_refused() {
        for source in [
            "v1", "/v1//x", "/v1/{a", "/v1/x{a}", "/v1/**/x", "/v1/{a}:", "/",
        ] {
            assert!(Template::parse(source).is_err(), "{source}");
        }
    }
}
