//! What counts as the same search, however it is written (S1-27).

/// A query as people see it: control characters part words, one space between them.
#[must_use]
pub(crate) fn cleaned(query: &str) -> String {
    let words = query.split(|c: char| c.is_whitespace() || c.is_control());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The same for every way to write a query: cleaned, in lower case.
#[must_use]
pub(crate) fn wording(query: &str) -> String {
    cleaned(query).to_lowercase()
}

/// The beginning of a wording: what follows a space is a new word.
#[must_use]
pub(crate) fn beginning(prefix: &str) -> String {
    let mut wording = wording(prefix);
    let parted = |c: char| c.is_whitespace() || c.is_control();
    if !wording.is_empty() && prefix.ends_with(parted) {
        wording.push(' ');
    }
    wording
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_spaces_do_not_matter_and_the_space_at_the_end_of_a_beginning_does() {
        assert_eq!(cleaned(" Red \t\n Car\0s "), "Red Car s");
        assert_eq!(wording("  RED   Söder "), "red söder");
        assert_eq!(wording(" \n "), "");
        assert_eq!(beginning("Red"), "red");
        assert_eq!(beginning("Red  "), "red ");
        assert_eq!(beginning("  "), "");
    }
}
