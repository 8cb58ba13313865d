//! Proto comments as descriptions, and what the house rules let us read out of them.

use std::collections::BTreeMap;

use prost_reflect::FileDescriptor;

/// gRPC names in `- CODE (REASON): when` lines and the status each is answered with.
const CODES: [(&str, &str); 15] = [
    ("INVALID_ARGUMENT", "400"),
    ("FAILED_PRECONDITION", "400"),
    ("OUT_OF_RANGE", "400"),
    ("UNAUTHENTICATED", "401"),
    ("PERMISSION_DENIED", "403"),
    ("NOT_FOUND", "404"),
    ("ALREADY_EXISTS", "409"),
    ("ABORTED", "409"),
    ("RESOURCE_EXHAUSTED", "429"),
    ("CANCELLED", "499"),
    ("INTERNAL", "500"),
    ("DATA_LOSS", "500"),
    ("UNIMPLEMENTED", "501"),
    ("UNAVAILABLE", "503"),
    ("DEADLINE_EXCEEDED", "504"),
];

/// Returns the comment above the thing at `path`, without the comment marks; empty if it has none
/// or the set was written without source info.
pub(super) fn of(file: &FileDescriptor, path: &[i32]) -> String {
    let proto = file.file_descriptor_proto();
    let Some(info) = &proto.source_code_info else {
        return String::new();
    };
    let location = info.location.iter().find(|location| location.path == path);
    let text = location.and_then(|location| location.leading_comments.as_deref());
    let lines: Vec<&str> = text
        .unwrap_or_default()
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
        .collect();
    lines.join("\n").trim().to_owned()
}

/// Returns the first sentence, on one line.
pub(super) fn summary(text: &str) -> Option<String> {
    let paragraph = text.split("\n\n").next()?.replace('\n', " ");
    let end = paragraph.find(". ").map_or(paragraph.len(), |at| at + 1);
    let sentence = paragraph[..end].trim_end_matches(['.', ':']).trim();
    (!sentence.is_empty()).then(|| sentence.to_owned())
}

pub(super) fn is_required(text: &str) -> bool {
    has_sentence(text, "Required")
}

pub(super) fn is_output_only(text: &str) -> bool {
    has_sentence(text, "Output only")
}

fn has_sentence(text: &str, sentence: &str) -> bool {
    text.split(['.', ';', '\n'])
        .any(|part| part.trim() == sentence)
}

/// Returns the errors the comment lists, by HTTP status; those of one status in one description.
pub(super) fn errors(text: &str) -> BTreeMap<String, String> {
    let mut errors: BTreeMap<String, String> = BTreeMap::new();
    let mut open: Option<&str> = None;
    for line in text.lines() {
        let item = line.trim_start().strip_prefix("- ");
        let known = item.and_then(|item| {
            CODES.iter().find(|(code, _)| {
                item.strip_prefix(code)
                    .is_some_and(|rest| rest.starts_with([' ', ':']))
            })
        });
        match (item, known) {
            (Some(item), Some((_, status))) => {
                let entry = errors.entry((*status).to_owned()).or_default();
                if !entry.is_empty() {
                    entry.push('\n');
                }
                entry.push_str(&format!("- {item}"));
                open = Some(status);
            }
            // an indented line goes on with the item above
            (None, _) if line.starts_with("  ") => {
                if let Some(entry) = open.and_then(|status| errors.get_mut(status)) {
                    entry.push(' ');
                    entry.push_str(line.trim());
                }
            }
            _ => open = None,
        }
    }
    errors
}
