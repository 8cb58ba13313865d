//! Rules for names, folders, tags and captions. Lengths are in Unicode scalar values.

use mediamesh_proto::Violations;

/// Longest display name.
pub const MAX_NAME_CHARS: usize = 255;
/// Longest folder path.
pub const MAX_FOLDER_CHARS: usize = 1_024;
/// Most labels of an item.
pub const MAX_TAGS: usize = 64;
/// Longest label.
pub const MAX_TAG_CHARS: usize = 63;
/// Longest caption.
pub const MAX_CAPTION_CHARS: usize = 4_096;

/// Cleans a file's name: what follows the last path separator, without control characters.
pub fn display_name(raw: &str, field: &str, violations: &mut Violations) -> String {
    let last = raw
        .rsplit(['/', '\\'])
        .find(|part| !part.trim().is_empty())
        .unwrap_or_default();
    let name: String = last.chars().filter(|c| !c.is_control()).collect();
    let name = name.trim().to_owned();
    let chars = name.chars().count();
    violations.check(chars == 0 || name == "." || name == "..", field, || {
        "must be a name".to_owned()
    });
    violations.check(chars > MAX_NAME_CHARS, field, || {
        format!("has {chars} characters; limit is {MAX_NAME_CHARS}")
    });
    name
}

/// Normalises a folder path: no leading, trailing or double separators, no `.`.
///
/// `..` is a violation and not resolved: whoever sends it is mistaken about what a folder is.
pub fn folder(raw: &str, field: &str, violations: &mut Violations) -> String {
    let parts: Vec<&str> = raw
        .split('/')
        .map(str::trim)
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    violations.check(parts.contains(&".."), field, || {
        "must not contain `..`".to_owned()
    });
    violations.check(raw.chars().any(char::is_control), field, || {
        "must not contain control characters".to_owned()
    });
    let path = parts.join("/");
    let chars = path.chars().count();
    violations.check(chars > MAX_FOLDER_CHARS, field, || {
        format!("has {chars} characters; limit is {MAX_FOLDER_CHARS}")
    });
    path
}

/// Trims labels and drops repetitions; the order stays.
pub fn tags(raw: &[String], field: &str, violations: &mut Violations) -> Vec<String> {
    let mut tags: Vec<String> = Vec::with_capacity(raw.len().min(MAX_TAGS));
    violations.check(raw.len() > MAX_TAGS, field, || {
        format!("has {} tags; limit is {MAX_TAGS}", raw.len())
    });
    for (index, tag) in raw.iter().enumerate().take(MAX_TAGS) {
        let tag = tag.trim();
        let chars = tag.chars().count();
        let place = format!("{field}[{index}]");
        violations.check(chars == 0, &place, || "must not be empty".to_owned());
        violations.check(chars > MAX_TAG_CHARS, &place, || {
            format!("has {chars} characters; limit is {MAX_TAG_CHARS}")
        });
        violations.check(tag.chars().any(char::is_control), &place, || {
            "must not contain control characters".to_owned()
        });
        if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

/// Checks a caption; line breaks and tabs stay, other control characters go.
pub fn caption(raw: &str, field: &str, violations: &mut Violations) -> String {
    let text: String = raw
        .trim()
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    let chars = text.chars().count();
    violations.check(chars > MAX_CAPTION_CHARS, field, || {
        format!("has {chars} characters; limit is {MAX_CAPTION_CHARS}")
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_paths_and_control_characters() {
        for (raw, clean) in [
            ("/home/me/a.jpg", "a.jpg"),
            ("C:\\photos\\b.jpg", "b.jpg"),
            ("c\u{0}\n.jpg", "c.jpg"),
            ("folder/", "folder"),
            ("  é.png ", "é.png"),
        ] {
            let mut violations = Violations::new();
            assert_eq!(display_name(raw, "display_name", &mut violations), clean);
            assert!(violations.finish().is_ok(), "{raw}");
        }
        for bad in ["", "/", "..", "a/..", &"x".repeat(256)] {
            let mut violations = Violations::new();
            display_name(bad, "display_name", &mut violations);
            assert!(violations.finish().is_err(), "{bad}");
        }
    }

    #[test]
    fn folders_are_normal_and_never_climb() {
        for (raw, clean) in [
            ("", ""),
            ("/", ""),
            ("/a//b/./c/", "a/b/c"),
            (" 2024 / Rome ", "2024/Rome"),
        ] {
            let mut violations = Violations::new();
            assert_eq!(folder(raw, "folder", &mut violations), clean);
            assert!(violations.finish().is_ok(), "{raw}");
        }
        for bad in ["..", "a/../b", "a\u{7}", &"x/".repeat(600)] {
            let mut violations = Violations::new();
            folder(bad, "folder", &mut violations);
            assert!(violations.finish().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_bad_tag_is_named() {
        let mut violations = Violations::new();
        let raw = ["ok", "", "ok ", "a\tb"].map(str::to_owned);
        assert_eq!(tags(&raw, "tags", &mut violations), ["ok", "", "a\tb"]);
        let message = violations.finish().map_err(|error| error.to_string());
        assert_eq!(
            message,
            Err("tags[1]: must not be empty (and 1 more)".to_owned())
        );
    }
}
