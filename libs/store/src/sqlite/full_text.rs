//! Words of people as an FTS5 query.
//!
//! `beach "red boat" -dog` finds items with beach and the phrase "red boat" but not dog. The last
//! word also matches as the beginning of a word, so that results can follow typing.

pub(super) mod ranking;

/// The words of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    wanted: Vec<String>,
    unwanted: Vec<String>,
}

impl Words {
    /// Reads a query; `None` if no wanted word is in it.
    pub(super) fn parse(query: &str) -> Option<Self> {
        let mut words = Self {
            wanted: Vec::new(),
            unwanted: Vec::new(),
        };
        let open_quote = query.matches('"').count() % 2 == 1;
        let parts: Vec<&str> = query.split('"').collect();
        let last = parts.len() - 1;
        for (place, part) in parts.iter().enumerate() {
            let quoted = place % 2 == 1 && !(open_quote && place == last);
            if quoted {
                let phrase = tokens(part).join(" ");
                if !phrase.is_empty() {
                    words.wanted.push(format!("\"{phrase}\""));
                }
                continue;
            }
            for text in part.split_whitespace() {
                let unwanted = text.starts_with('-') && text.len() > 1;
                for token in tokens(text) {
                    let list = if unwanted {
                        &mut words.unwanted
                    } else {
                        &mut words.wanted
                    };
                    list.push(format!("\"{token}\""));
                }
            }
            let typing = place == last && !part.ends_with(char::is_whitespace) && !part.is_empty();
            if typing
                && let Some(word) = words.wanted.last_mut()
                && !word.contains(' ')
            {
                word.push('*');
            }
        }
        (!words.wanted.is_empty()).then_some(words)
    }

    /// Items that hold every word.
    pub(super) fn all(&self) -> String {
        self.without(&format!("({})", self.wanted.join(" AND ")))
    }

    /// Items that hold one word, for each word; none if that is the same as all.
    pub(super) fn each(&self) -> Vec<String> {
        match self.wanted.as_slice() {
            [_] => Vec::new(),
            words => words.iter().map(|word| self.without(word)).collect(),
        }
    }

    fn without(&self, wanted: &str) -> String {
        let mut query = wanted.to_owned();
        for word in &self.unwanted {
            query.push_str(" NOT ");
            query.push_str(word);
        }
        query
    }
}

/// Runs of letters and digits, as the index splits them; nothing in them needs escaping.
fn tokens(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_phrases_and_exclusions_become_a_query() {
        let words = Words::parse("beach \"red boat\" -dog sun").unwrap();
        assert_eq!(
            words.all(),
            r#"("beach" AND "red boat" AND "sun"*) NOT "dog""#
        );
        assert_eq!(
            words.each(),
            [
                r#""beach" NOT "dog""#,
                r#""red boat" NOT "dog""#,
                r#""sun"* NOT "dog""#
            ]
        );
        assert_eq!(
            Words::parse("IMG_2024.jpg ").unwrap().all(),
            r#"("IMG" AND "2024" AND "jpg")"#
        );
        assert_eq!(
            Words::parse("open \"quote").unwrap().all(),
            r#"("open" AND "quote"*)"#
        );
    }

    #[test]
    fn nothing_to_look_for_is_no_query() {
        for query in ["", "  ", "-dog", "\"\"", "*)(\"'", "-"] {
            assert_eq!(Words::parse(query), None, "{query}");
        }
    }
}
