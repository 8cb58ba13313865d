//! The `Content-Disposition` header (RFC 6266), and which types browsers may show.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// `attr-char` of RFC 5987, beside letters and digits.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// Types that cannot run script in our origin. Anything else is saved, never shown.
const SHOWN: [&str; 10] = [
    "image/avif",
    "image/bmp",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "image/webp",
    "video/mp4",
    "video/quicktime",
    "video/webm",
];

/// Returns whether a browser may show bytes of this type in place.
pub(crate) fn may_be_shown(content_type: &str) -> bool {
    SHOWN.contains(&content_type)
}

/// Returns the header's value; names beyond ASCII come twice, for old and new clients.
pub(crate) fn value(attachment: bool, file_name: &str) -> String {
    let kind = if attachment { "attachment" } else { "inline" };
    if file_name.is_empty() {
        return kind.to_owned();
    }
    let plain: String = file_name
        .chars()
        .map(|c| match c {
            '"' | '\\' | '/' | '%' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect();
    if plain == file_name {
        return format!("{kind}; filename=\"{plain}\"");
    }
    let encoded = utf8_percent_encode(file_name, ATTR_CHAR);
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_quotes_line_ends_and_other_scripts() {
        assert_eq!(value(false, "cat.jpg"), "inline; filename=\"cat.jpg\"");
        assert_eq!(
            value(true, "a\"b\r\nc é.jpg"),
            "attachment; filename=\"a_b__c _.jpg\"; \
             filename*=UTF-8''a%22b%0D%0Ac%20%C3%A9.jpg"
        );
        assert!(!may_be_shown("text/html") && !may_be_shown("image/svg+xml"));
    }
}
