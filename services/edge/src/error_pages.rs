//! `/errors` and `/errors/{reason}`: the page that a problem's `type` leads to.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use http::header;

use crate::{Shared, cache_table, problem};

const PAGE: &str = include_str!("../../../docs/errors.md");
const PREFIX: &str = "ERROR_REASON_";

pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/errors", get(all))
        .route("/errors/{reason}", get(one))
        .with_state(Arc::clone(shared))
}

async fn all() -> Response {
    page("Errors", PAGE)
}

async fn one(
    State(shared): State<Arc<Shared>>,
    Path(reason): Path<String>,
    request: Request,
) -> Response {
    let wanted = reason.to_ascii_uppercase();
    let wanted = wanted.strip_prefix(PREFIX).unwrap_or(&wanted);
    match section(wanted) {
        Some(section) => page(wanted, section),
        None => {
            let (parts, _) = request.into_parts();
            shared
                .answers
                .answer(problem::not_found(parts.uri.path()), &parts)
        }
    }
}

/// The section of a reason, from its heading to the next.
fn section(reason: &str) -> Option<&'static str> {
    let heading = format!("## {PREFIX}{reason}\n");
    let start = PAGE.find(&heading)?;
    let rest = &PAGE[start + heading.len()..];
    let end = rest
        .find("\n## ")
        .map_or(PAGE.len(), |end| start + heading.len() + end);
    Some(&PAGE[start..end])
}

fn page(title: &str, markdown: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <title>{title} - mediamesh</title>\n\
         <link rel=\"stylesheet\" href=\"/console/base.css\">\n\
         <main>\n{}</main>\n</html>\n",
        render(markdown)
    );
    ([(header::CACHE_CONTROL, cache_table::ASSET)], Html(html)).into_response()
}

/// Renders what the page uses of Markdown: headings, paragraphs, lists, code and strong words.
fn render(markdown: &str) -> String {
    let mut html = String::with_capacity(markdown.len() * 2);
    for block in markdown
        .split("\n\n")
        .map(str::trim)
        .filter(|block| !block.is_empty())
    {
        let (open, close, text) = if let Some(text) = block.strip_prefix("## ") {
            let anchor = format!("<h2 id=\"{}\">", escape(text));
            html.push_str(&anchor);
            ("", "</h2>", text)
        } else if let Some(text) = block.strip_prefix("# ") {
            ("<h1>", "</h1>", text)
        } else if block.starts_with("- ") {
            html.push_str("<ul>\n");
            for item in format!("\n{block}").split("\n- ").skip(1) {
                html.push_str(&format!("<li>{}</li>\n", inline(item)));
            }
            html.push_str("</ul>\n");
            continue;
        } else {
            ("<p>", "</p>", block)
        };
        html.push_str(&format!("{open}{}{close}\n", inline(text)));
    }
    html
}

/// Code and strong words of one block.
fn inline(text: &str) -> String {
    let tagged = alternate(&escape(text), "`", "code");
    alternate(&alternate(&tagged, "**", "strong"), "*", "em")
}

fn alternate(text: &str, mark: &str, tag: &str) -> String {
    let mut html = String::new();
    for (at, piece) in text.split(mark).enumerate() {
        match at {
            0 => {}
            at if at % 2 == 1 => html.push_str(&format!("<{tag}>")),
            _ => html.push_str(&format!("</{tag}>")),
        }
        html.push_str(piece);
    }
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_is_whole_and_its_marks_are_closed() {
        for heading in PAGE
            .lines()
            .filter_map(|line| line.strip_prefix("## ERROR_REASON_"))
        {
            let section = section(heading).expect("heading was taken from the page");
            assert_eq!(section.matches("\n## ").count(), 0, "{heading} runs on");
            let html = render(section);
            for tag in ["code", "strong", "em", "ul", "p"] {
                let open = html.matches(&format!("<{tag}>")).count();
                let close = html.matches(&format!("</{tag}>")).count();
                assert_eq!(open, close, "{tag} of {heading}: {html}");
            }
        }
        assert_eq!(section("NO_SUCH_REASON"), None);
    }
}
