//! Words of people, as a full text looks for them.
//!
//! `beach "red boat"` finds items with beach and the phrase "red boat". The last word also matches
//! as the beginning of a word, so that results can follow typing. What must be absent is split off
//! before, see [`split_unwanted`].

pub(crate) mod ranking;

/// The words of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    wanted: Vec<Wanted>,
}

/// A word, or a phrase of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Never empty; as typed.
    pub(crate) tokens: Vec<String>,
    /// The last one may be the beginning of a word.
    pub(crate) prefix: bool,
}

impl Words {
    /// Reads a query; `None` if no word is in it.
    pub(crate) fn parse(query: &str) -> Option<Self> {
        let mut wanted = Vec::new();
        let open_quote = query.matches('"').count() % 2 == 1;
        let parts: Vec<&str> = query.split('"').collect();
        let last = parts.len() - 1;
        for (place, part) in parts.iter().enumerate() {
            let quoted = place % 2 == 1 && !(open_quote && place == last);
            if quoted {
                wanted.extend(Wanted::phrase(part));
                continue;
            }
            wanted.extend(tokens(part).into_iter().map(|token| Wanted {
                tokens: vec![token],
                prefix: false,
            }));
            let typing = place == last && !part.ends_with(char::is_whitespace) && !part.is_empty();
            if typing
                && let Some(word) = wanted.last_mut()
                && word.tokens.len() == 1
            {
                word.prefix = true;
            }
        }
        (!wanted.is_empty()).then_some(Self { wanted })
    }

    /// What an item must hold all of.
    pub(crate) fn all(&self) -> &[Wanted] {
        &self.wanted
    }

    /// What an item may hold one of; nothing if that is the same as all.
    pub(crate) fn each(&self) -> &[Wanted] {
        match self.wanted.as_slice() {
            [_] => &[],
            words => words,
        }
    }
}

impl Wanted {
    /// Words that stand together; `None` if there is none.
    pub(crate) fn phrase(text: &str) -> Option<Self> {
        let tokens = tokens(text);
        (!tokens.is_empty()).then_some(Self {
            tokens,
            prefix: false,
        })
    }
}

/// Splits a query into what is wanted and the words or phrases that must be absent.
pub(crate) fn split_unwanted(query: &str) -> (String, Vec<String>) {
    let (mut wanted, mut unwanted) = (String::new(), Vec::new());
    let mut rest = query;
    let mut word_begins = true;
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        let taken = match next {
            '"' => after.find('"').map_or(rest.len(), |end| end + 2),
            _ => next.len_utf8(),
        };
        if next == '-' && word_begins {
            let (phrase, length) = excluded(after);
            if !phrase.is_empty() {
                unwanted.push(phrase);
                rest = &after[length..];
                continue;
            }
        }
        wanted.push_str(&rest[..taken]);
        word_begins = next.is_whitespace() || next == '"';
        rest = &rest[taken..];
    }
    (wanted.trim().to_owned(), unwanted)
}

/// The word or phrase after a minus sign, and the bytes it takes.
fn excluded(after: &str) -> (String, usize) {
    let (text, length) = match after.strip_prefix('"') {
        Some(quoted) => match quoted.find('"') {
            Some(end) => (&quoted[..end], end + 2),
            None => (quoted, after.len()),
        },
        None => {
            let end = after
                .find(|c: char| c.is_whitespace() || c == '"')
                .unwrap_or(after.len());
            (&after[..end], end)
        }
    };
    (tokens(text).join(" "), length)
}

/// Runs of letters and digits, as the index splits them; nothing in them needs escaping.
pub(crate) fn tokens(text: &str) -> Vec<String> {
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
    fn nothing_to_look_for_is_no_query() {
        for query in ["", "  ", "\"\"", "*)(\"'", "-"] {
            assert_eq!(Words::parse(query), None, "{query}");
        }
    }

    #[test]
    fn what_must_be_absent_is_split_off() {
        for (query, wanted, unwanted) in [
            ("beach -dog sun", "beach  sun", vec!["dog"]),
            ("-dog", "", vec!["dog"]),
            (
                "-\"red boat\" sea -e-mail",
                "sea",
                vec!["red boat", "e mail"],
            ),
            ("\"well -known\" a-b", "\"well -known\" a-b", vec![]),
            ("- dog", "- dog", vec![]),
            ("-", "-", vec![]),
            ("--é", "", vec!["é"]),
            ("-\"open", "", vec!["open"]),
            ("\"open -x", "\"open -x", vec![]),
        ] {
            let split = split_unwanted(query);
            assert_eq!(
                (split.0.as_str(), split.1),
                (
                    wanted,
                    unwanted.iter().map(|word| (*word).to_owned()).collect()
                ),
                "{query}"
            );
        }
    }
}
