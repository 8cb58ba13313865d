//! BM25 as FTS5 has it, over candidates (`fts5Bm25Function` in SQLite's fts5_aux.c).

use std::collections::HashMap;

use super::of;
use crate::{full_text::Wanted, search::TextHit};

/// Saturation of repeated words, and weight of a text's length; FTS5's own.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// Least inverse document frequency: a word that most items have still counts a little.
const LEAST_IDF: f64 = 1e-6;

/// The items among which one is ranked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Corpus {
    pub(crate) documents: i64,
    pub(crate) mean_tokens: f64,
}

impl Default for Corpus {
    fn default() -> Self {
        Self {
            documents: 1,
            mean_tokens: 1.0,
        }
    }
}

/// A word or phrase to score.
pub(crate) struct Term {
    lexemes: Vec<String>,
    prefix: bool,
    idf: f64,
}

/// A found item.
pub(crate) struct Candidate {
    pub(crate) item_key: u32,
    pub(crate) token_count: i32,
    /// Text form of its `tsvector`.
    pub(crate) words: String,
}

impl Term {
    /// Of a word or phrase that `holding` items hold.
    pub(crate) fn new(wanted: &Wanted, corpus: &Corpus, holding: i64) -> Option<Self> {
        let lexemes = of(wanted);
        let [documents, holding] = [corpus.documents, holding].map(|count| count as f64);
        let idf = ((documents - holding + 0.5) / (holding + 0.5)).ln();
        (!lexemes.is_empty()).then_some(Self {
            lexemes,
            prefix: wanted.prefix,
            idf: idf.max(LEAST_IDF),
        })
    }

    /// Weighted occurrences in an item.
    fn frequency(&self, words: &Words<'_>) -> f64 {
        let places: Vec<HashMap<u16, f64>> = self
            .lexemes
            .iter()
            .enumerate()
            .map(|(n, lexeme)| {
                let prefix = self.prefix && n + 1 == self.lexemes.len();
                words.positions(lexeme, prefix)
            })
            .collect();
        let Some((first, following)) = places.split_first() else {
            return 0.0;
        };
        let begins = |position: &u16| {
            (1_u16..)
                .zip(following)
                .all(|(n, places)| places.contains_key(&position.saturating_add(n)))
        };
        first
            .iter()
            .filter(|(position, _)| begins(position))
            .map(|(_, weight)| weight)
            .sum()
    }
}

/// Scores candidates; the order stays.
pub(crate) fn score(terms: &[Term], corpus: &Corpus, candidates: &[Candidate]) -> Vec<TextHit> {
    candidates
        .iter()
        .map(|candidate| {
            let words = Words::read(&candidate.words);
            let length = f64::from(candidate.token_count) / corpus.mean_tokens.max(1.0);
            let score: f64 = terms
                .iter()
                .map(|term| {
                    let frequency = term.frequency(&words);
                    term.idf * frequency * (K1 + 1.0)
                        / (frequency + K1 * (1.0 - B + B * length)).max(f64::MIN_POSITIVE)
                })
                .sum();
            TextHit {
                item_key: candidate.item_key,
                score: score as f32,
            }
        })
        .collect()
}

/// A `tsvector`, read: lexemes in order with their positions.
struct Words<'a> {
    lexemes: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    /// Reads `'lexeme':1A,2B 'other':3`; lexemes are letters and digits.
    fn read(text: &'a str) -> Self {
        let lexemes = text.split_ascii_whitespace().filter_map(|entry| {
            let (lexeme, positions) = entry.strip_prefix('\'')?.split_once('\'')?;
            Some((lexeme, positions.strip_prefix(':')?))
        });
        Self {
            lexemes: lexemes.collect(),
        }
    }

    /// Positions of a lexeme, or of all that begin with it, each with its weight.
    fn positions(&self, lexeme: &str, prefix: bool) -> HashMap<u16, f64> {
        self.lexemes
            .iter()
            .filter(|(known, _)| *known == lexeme || (prefix && known.starts_with(lexeme)))
            .flat_map(|(_, positions)| positions.split(','))
            .filter_map(|position| {
                let digits = position.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                Some((digits.parse().ok()?, weight(&position[digits.len()..])))
            })
            .collect()
    }
}

/// Weights as in the embedded database: tags 5, name and caption 4, folder 2, other words 1.
fn weight(letter: &str) -> f64 {
    match letter {
        "A" => 5.0,
        "B" => 4.0,
        "C" => 2.0,
        _ => 1.0,
    }
}
