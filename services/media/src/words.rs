//! What the full text knows about a picture beyond its name: camera, colours, date, shape.

use mediamesh_imaging::{colors::Swatch, exif::Exif};
use mediamesh_store::media::Orientation;

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
