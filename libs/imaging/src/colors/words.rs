//! Twelve colour words, for full-text search and for people.

use std::sync::LazyLock;

use super::{Oklab, distance};

/// The colour words, in the order of the rainbow, then the quiet ones.
pub const WORDS: [&str; 12] = [
    "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown", "black", "grey",
    "white",
];

/// Typical colours of each word: light, plain, dark and dull ones, as one point cannot stand for a whole word.
///
/// Source: the CSS named colours and the survey of Munroe 2010 (xkcd colour names), thinned by hand.
const TYPICAL: [(&str, u32); 58] = [
    ("red", 0xff0000),
    ("red", 0xdc143c),
    ("red", 0xb22222),
    ("red", 0x8b0000),
    ("red", 0xe0483e),
    ("orange", 0xffa500),
    ("orange", 0xff7f0e),
    ("orange", 0xff6347),
    ("orange", 0xe08030),
    ("orange", 0xf4a460),
    ("yellow", 0xffff00),
    ("yellow", 0xffd700),
    ("yellow", 0xfff58a),
    ("yellow", 0xd8c020),
    ("yellow", 0xf0e068),
    ("green", 0x00ff00),
    ("green", 0x008000),
    ("green", 0x006400),
    ("green", 0x9acd32),
    ("green", 0x6b8e23),
    ("green", 0x90ee90),
    ("green", 0x3cb371),
    ("green", 0x556b2f),
    ("green", 0x2e4a28),
    ("teal", 0x008080),
    ("teal", 0x20b2aa),
    ("teal", 0x40e0d0),
    ("teal", 0x005f60),
    ("teal", 0x5f9ea0),
    ("blue", 0x0000ff),
    ("blue", 0x000080),
    ("blue", 0x4169e1),
    ("blue", 0x87ceeb),
    ("blue", 0x4682b4),
    ("blue", 0x1e90ff),
    ("blue", 0x203a5c),
    ("blue", 0xa8cbe8),
    ("purple", 0x800080),
    ("purple", 0x8a2be2),
    ("purple", 0x4b0082),
    ("purple", 0x9370db),
    ("purple", 0xc39bd3),
    ("pink", 0xffc0cb),
    ("pink", 0xff69b4),
    ("pink", 0xff1493),
    ("pink", 0xf4a0a8),
    ("pink", 0xdb7093),
    ("brown", 0x8b4513),
    ("brown", 0xa0522d),
    ("brown", 0x5c3a21),
    ("brown", 0xa67b5b),
    ("brown", 0x6f5840),
    ("black", 0x000000),
    ("black", 0x141414),
    ("grey", 0x808080),
    ("grey", 0x4a4a4a),
    ("grey", 0xb8b8b8),
    ("white", 0xffffff),
];

static POINTS: LazyLock<Vec<(&str, Oklab)>> = LazyLock::new(|| {
    TYPICAL
        .iter()
        .map(|&(word, rgb)| {
            (
                word,
                Oklab::from([(rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8]),
            )
        })
        .collect()
});

/// Returns the colour word whose typical colours are nearest.
pub fn word(rgb: [u8; 3]) -> &'static str {
    let color = Oklab::from(rgb);
    let nearest = POINTS
        .iter()
        .min_by(|x, y| distance(x.1, color).total_cmp(&distance(y.1, color)));
    nearest.map_or("grey", |&(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyday_colours_get_their_word() {
        let cases = [
            ([230, 30, 40], "red"),
            ([250, 150, 20], "orange"),
            ([250, 235, 60], "yellow"),
            ([40, 140, 50], "green"),
            ([10, 130, 135], "teal"),
            ([40, 90, 200], "blue"),
            ([130, 50, 150], "purple"),
            ([250, 150, 190], "pink"),
            ([110, 70, 40], "brown"),
            ([8, 8, 10], "black"),
            ([128, 130, 127], "grey"),
            ([250, 250, 248], "white"),
            ([135, 190, 235], "blue"),
            ([60, 80, 40], "green"),
        ];
        for (rgb, expected) in cases {
            assert_eq!(word(rgb), expected, "{rgb:?}");
        }
    }

    #[test]
    fn every_word_has_typical_colours_and_no_other_word_does() {
        for known in WORDS {
            assert!(TYPICAL.iter().any(|(word, _)| *word == known), "{known}");
        }
        assert!(TYPICAL.iter().all(|(word, _)| WORDS.contains(word)));
    }
}
