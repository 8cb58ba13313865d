//! Names of entries by pattern: `*` stands for any signs, or none; `\` takes the sign after it as it
//! is. Nothing else is special, so that the same pattern means the same to every tier.

/// A pattern of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// What is between the stars, literally; at least one.
    parts: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; `None` if it ends with a `\` that takes nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = vec![String::new()];
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            let literal = match letter {
                '*' => {
                    parts.push(String::new());
                    continue;
                }
                '\\' => letters.next()?,
                other => other,
            };
            parts.last_mut()?.push(literal);
        }
        Some(Self { parts })
    }

    /// Names that start with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &str) -> Self {
        Self {
            parts: vec![prefix.to_owned(), String::new()],
        }
    }

    /// What is between the stars, literally.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// What every name that it matches starts with.
    #[must_use]
    pub fn beginning(&self) -> &str {
        self.parts.first().map_or("", String::as_str)
    }

    /// Whether it matches `name`, from beginning to end.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (Some((first, rest)), Some(last)) = (self.parts.split_first(), self.parts.last())
        else {
            return false;
        };
        let Some((_, between)) = rest.split_last() else {
            return name == first;
        };
        let inner = name.strip_prefix(first.as_str());
        let Some(mut inner) = inner.and_then(|inner| inner.strip_suffix(last.as_str())) else {
            return false;
        };
        // the first place is always right: it leaves the most for those that follow
        for part in between {
            let Some(place) = inner.find(part.as_str()) else {
                return false;
            };
            inner = &inner[place + part.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stars_stand_for_anything_and_everything_else_for_itself() {
        for (pattern, matching, others) in [
            ("a", &["a"][..], &["", "ab", "ba"][..]),
            ("a*", &["a", "ab"], &["ba", ""]),
            ("*", &["", "a"], &[]),
            ("*b", &["b", "ab"], &["ba"]),
            ("a*a", &["aa", "aba"], &["a", "ab"]),
            ("u:*:p:*", &["u:1:p:", "u:1:2:p:3"], &["u:p:", "u:1:q:"]),
            ("*ab*ab*", &["abab", "xabyabz"], &["ab", "aba"]),
            ("**", &["", "x"], &[]),
            ("a\\*b\\\\", &["a*b\\"], &["axb\\", "a*b"]),
            ("[a]?", &["[a]?"], &["a1"]),
            ("s*r", &["söder"], &["söde"]),
        ] {
            let read = Pattern::parse(pattern).unwrap();
            for name in matching {
                assert!(read.matches(name), "{pattern} {name}");
                assert!(name.starts_with(read.beginning()), "{pattern} {name}");
            }
            for name in others {
                assert!(!read.matches(name), "{pattern} {name}");
            }
        }
        assert_eq!(Pattern::parse("a\\"), None);
        assert!(Pattern::prefix("a*").matches("a*b"));
        assert!(!Pattern::prefix("a*").matches("ab"));
    }
}
