//! Words of an item: those of the full text beyond its name (camera, colours, date, shape), and those
//! that a text model reads.

use mediamesh_imaging::{colors::Swatch, exif::Exif};
use mediamesh_store::media::{MediaItem, Orientation};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Least share of a colour that people would name the picture by.
const MIN_COLOR_SHARE: f32 = 0.05;

/// Joins the words, each once.
#[must_use]
pub fn search_text(exif: Option<&Exif>, palette: &[Swatch], orientation: Orientation) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut add = |word: &str| {
        let word = word.trim();
        if !word.is_empty() && !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    };
    if let Some(exif) = exif {
        for text in [&exif.make, &exif.model, &exif.lens].into_iter().flatten() {
            add(text);
        }
        if let Some(taken) = exif.taken_at {
            add(&taken.year.to_string());
            add(MONTHS[usize::from(taken.month.clamp(1, 12)) - 1]);
        }
    }
    for swatch in palette
        .iter()
        .filter(|swatch| swatch.share >= MIN_COLOR_SHARE)
    {
        add(swatch.word());
    }
    add(match orientation {
        Orientation::Landscape => "landscape",
        Orientation::Portrait => "portrait",
        Orientation::Square => "square",
        Orientation::Unknown => "",
    });
    words.join(" ")
}

/// Most bytes of a text for a model: text models read some hundred words.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Beginnings of names that cameras and phones give; they say nothing about what is seen.
const CAMERA_PREFIXES: [&str; 12] = [
    "dcim", "dsc", "dscf", "dscn", "dji", "gopr", "img", "mvi", "pano", "pxl", "vid", "whatsapp",
];

/// What a text model reads of an item: its caption, its labels, and the words of its name and
/// folder; empty if none of them says anything.
#[must_use]
pub fn item_text(item: &MediaItem) -> String {
    let stem = match item.display_name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => &item.display_name,
    };
    let parts = [
        item.caption.trim().to_owned(),
        item.tags.join(", "),
        telling_words(stem),
        telling_words(&item.folder),
    ];
    let mut text = parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(". ");
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    text
}

/// Words without the numbers, hashes and prefixes of cameras.
fn telling_words(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| {
            word.chars().any(char::is_alphabetic)
                && !word.chars().any(char::is_numeric)
                && !CAMERA_PREFIXES
                    .iter()
                    .any(|prefix| prefix.eq_ignore_ascii_case(word))
        })
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_cameras_say_nothing() {
        for (text, words) in [
            ("IMG_2041", ""),
            ("PXL_20240101_a1b2c3", ""),
            ("2024/Norway/Lofoten", "Norway Lofoten"),
            ("green-lights_over harbour (2)", "green lights over harbour"),
            ("海辺の犬", "海辺の犬"),
        ] {
            assert_eq!(telling_words(text), words, "{text}");
        }
    }
}
