//! The full text as `tsvector` and `tsquery`.
//!
//! Words are split, folded and stemmed here, not by a text search configuration of the server: the
//! same lexemes on every server, whatever its locale, and the same as FTS5's
//! `porter unicode61 remove_diacritics 2` makes of them in the embedded database.

pub(super) mod rank;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mediamesh_proto::TenantId;
use unicode_normalization::char::decompose_canonical;

use crate::full_text::Wanted;

/// Highest position of a `tsvector`, and most positions of one lexeme in it.
const MAX_POSITION: usize = 16_383;
const MAX_POSITIONS: usize = 255;
/// Longer runs of letters and digits are no words, and a lexeme has a limit of 2 KB.
const MAX_WORD_BYTES: usize = 256;
/// FTS5 stems no longer words than these, nor shorter ones than 3 bytes.
const MAX_STEMMED_BYTES: usize = 64;

/// An item as the full text holds it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// Text form of a `tsvector`.
    pub(super) tsvector: String,
    /// Words in all columns.
    pub(super) token_count: i32,
}

impl Document {
    /// Reads columns, each with the weight of its words.
    pub(super) fn new(tenant: TenantId, columns: &[(&str, char)]) -> Self {
        let mut positions: BTreeMap<String, Vec<(usize, char)>> = BTreeMap::new();
        let (mut position, mut token_count) = (0, 0_i32);
        for (text, weight) in columns {
            for lexeme in lexemes(text) {
                position += 1;
                token_count = token_count.saturating_add(1);
                let of_lexeme = positions.entry(lexeme).or_default();
                if position <= MAX_POSITION && of_lexeme.len() < MAX_POSITIONS {
                    of_lexeme.push((position, *weight));
                }
            }
            // no phrase goes from one column into the next
            position += 1;
        }
        let mut tsvector = format!("'{}'", tenant_lexeme(tenant));
        for (lexeme, positions) in positions {
            let _ = write!(tsvector, " '{lexeme}'");
            for (place, (position, weight)) in positions.into_iter().enumerate() {
                let sign = if place == 0 { ':' } else { ',' };
                let _ = write!(tsvector, "{sign}{position}{weight}");
            }
        }
        Self {
            tsvector,
            token_count,
        }
    }
}

/// A lexeme that every item of a tenant has, and that no word is: the index of all tenants then
/// answers for one.
fn tenant_lexeme(tenant: TenantId) -> String {
    format!("@{}", tenant.0.simple())
}

/// Items of a tenant that hold every word or phrase; `None` if nothing is wanted.
pub(super) fn all_of(tenant: TenantId, wanted: &[Wanted]) -> Option<String> {
    let terms: Vec<String> = wanted.iter().filter_map(term).collect();
    (!terms.is_empty()).then(|| format!("'{}' & {}", tenant_lexeme(tenant), terms.join(" & ")))
}

/// A word or phrase; `None` if none of its signs is part of a word.
pub(super) fn term(wanted: &Wanted) -> Option<String> {
    let lexemes = of(wanted);
    let quoted: Vec<String> = lexemes.iter().map(|lexeme| format!("'{lexeme}'")).collect();
    let star = if wanted.prefix { ":*" } else { "" };
    match quoted.as_slice() {
        [] => None,
        [word] => Some(format!("{word}{star}")),
        words => Some(format!("({}{star})", words.join(" <-> "))),
    }
}

/// Lexemes of a word or phrase, in order.
fn of(wanted: &Wanted) -> Vec<String> {
    wanted
        .tokens
        .iter()
        .flat_map(|token| lexemes(token))
        .collect()
}

/// Words of a text, folded and stemmed.
fn lexemes(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if is_mark(c) {
            // of the letter before, which goes without
            continue;
        }
        if c.is_alphanumeric() {
            word.extend(fold(c).to_lowercase());
        } else if !word.is_empty() {
            if word.len() <= MAX_WORD_BYTES {
                out.push(stem(&word));
            }
            word.clear();
        }
    }
    out
}

/// Combining diacritical marks.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

/// A Latin letter without its marks; other letters as they are.
fn fold(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    let mut base = None;
    let mut others = false;
    decompose_canonical(c, |part| match base {
        None => base = Some(part),
        Some(_) => others |= !is_mark(part),
    });
    base.filter(|base| base.is_ascii_alphabetic() && !others)
        .unwrap_or(c)
}

/// Porter's stem of an English word; others mostly stay as they are.
fn stem(word: &str) -> String {
    if word.len() < 3 || word.len() > MAX_STEMMED_BYTES || !word.is_ascii() {
        return word.to_owned();
    }
    let stem = porter_stemmer::stem(word);
    // Step 1c turns a last y into i after a vowel only: `happi`, but `sky` and `dy` (of dying). The
    // library takes the y itself for that vowel.
    if let Some(begin) = stem.strip_suffix('i')
        && word.as_bytes().get(begin.len()) == Some(&b'y')
        && !has_vowel(begin)
    {
        return format!("{begin}y");
    }
    stem
}

fn has_vowel(letters: &str) -> bool {
    letters
        .bytes()
        .enumerate()
        .any(|(place, letter)| b"aeiou".contains(&letter) || (letter == b'y' && place > 0))
}
