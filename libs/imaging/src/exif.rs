//! Camera metadata, bounded in size and robust against garbage.

mod place;
mod time;

use std::io::Cursor;

use exif::{Context, Field, In, Reader, Tag, Value};

use crate::orientation::Orientation;

pub use place::Place;
pub use time::TakenAt;

/// Most entries of [`Exif::tags`].
pub const MAX_TAGS: usize = 200;

/// Longest value of a tag in characters; longer ones are cut and end in `…`.
pub const MAX_VALUE_CHARS: usize = 256;

/// Largest TIFF file that is searched, as its metadata may lie anywhere and is copied to be read.
const MAX_TIFF_BYTES: usize = 16 << 20;

/// Values with more parts than this are left out of the list: they are tables, not facts.
const MAX_PARTS: u32 = 4096;

/// What the camera wrote. Every field is optional and none is trusted further than its type.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exif {
    /// How to turn the stored pixels upright.
    pub orientation: Option<Orientation>,
    /// When the photo was taken (original, else digitised, else changed).
    pub taken_at: Option<TakenAt>,
    /// Camera maker.
    pub make: Option<String>,
    /// Camera model.
    pub model: Option<String>,
    /// Lens model.
    pub lens: Option<String>,
    /// Exposure time in seconds.
    pub exposure_secs: Option<f64>,
    /// Aperture as f-number.
    pub f_number: Option<f64>,
    /// Sensitivity (ISO).
    pub iso: Option<u32>,
    /// Focal length in millimetres.
    pub focal_length_mm: Option<f64>,
    /// Where the photo was taken.
    pub place: Option<Place>,
    /// Software that wrote the file.
    pub software: Option<String>,
    /// All readable tags of the main image as (name, display value), sorted by name; at most [`MAX_TAGS`].
    pub tags: Vec<(String, String)>,
}

/// Reads EXIF from a JPEG, PNG, WebP, TIFF or HEIF; `None` if there is none that can be read at all.
///
/// Damaged entries are skipped, good ones kept. TIFF files above 16 MiB are not searched.
/// Blocking: microseconds; copies the EXIF block.
pub fn read(bytes: &[u8]) -> Option<Exif> {
    let raw = parse(bytes)?;
    let text = |tag| raw.get_field(tag, In::PRIMARY).and_then(ascii);
    let number = |tag| {
        raw.get_field(tag, In::PRIMARY)
            .and_then(decimal)
            .filter(|v| *v > 0.0)
    };
    Some(Exif {
        orientation: stored_orientation(&raw),
        taken_at: time::taken_at(&raw),
        make: text(Tag::Make),
        model: text(Tag::Model),
        lens: text(Tag::LensModel),
        exposure_secs: number(Tag::ExposureTime),
        f_number: number(Tag::FNumber),
        iso: raw
            .get_field(Tag::PhotographicSensitivity, In::PRIMARY)
            .and_then(|f| f.value.get_uint(0)),
        focal_length_mm: number(Tag::FocalLength),
        place: place::read(&raw),
        software: text(Tag::Software),
        tags: tags(&raw),
    })
}

/// Reads only the orientation.
pub(crate) fn orientation(bytes: &[u8]) -> Option<Orientation> {
    stored_orientation(&parse(bytes)?)
}

fn stored_orientation(raw: &exif::Exif) -> Option<Orientation> {
    let value = raw
        .get_field(Tag::Orientation, In::PRIMARY)?
        .value
        .get_uint(0)?;
    (1..=8)
        .contains(&value)
        .then(|| Orientation::from_exif(value))
}

fn parse(bytes: &[u8]) -> Option<exif::Exif> {
    let is_tiff = bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*");
    if is_tiff && bytes.len() > MAX_TIFF_BYTES {
        return None;
    }
    let mut reader = Reader::new();
    reader.continue_on_error(true);
    reader
        .read_from_container(&mut Cursor::new(bytes))
        .or_else(|e| e.distill_partial_result(|_| {}))
        .ok()
        .filter(|raw| raw.fields().len() > 0)
}

/// Takes a text tag, trimmed and without control characters; `None` if nothing is left.
fn ascii(field: &Field) -> Option<String> {
    let Value::Ascii(lines) = &field.value else {
        return None;
    };
    let text = String::from_utf8_lossy(lines.first()?);
    Some(bounded(&text)).filter(|text| !text.is_empty())
}

fn decimal(field: &Field) -> Option<f64> {
    let value = match &field.value {
        Value::Rational(v) => v.first()?.to_f64(),
        Value::SRational(v) => v.first()?.to_f64(),
        Value::Float(v) => f64::from(*v.first()?),
        Value::Double(v) => *v.first()?,
        other => f64::from(other.get_uint(0)?),
    };
    value.is_finite().then_some(value)
}

fn tags(raw: &exif::Exif) -> Vec<(String, String)> {
    let mut tags: Vec<(String, String)> = raw
        .fields()
        .take(MAX_TAGS * 2)
        // The thumbnail's own tags and the maker's private block say nothing about the photo to others.
        .filter(|f| {
            f.ifd_num == In::PRIMARY && f.tag.description().is_some() && f.tag != Tag::MakerNote
        })
        .filter(|f| parts(&f.value) <= MAX_PARTS && f.tag.context() != Context::Interop)
        .map(|f| {
            (
                f.tag.to_string(),
                bounded(&f.display_value().with_unit(raw).to_string()),
            )
        })
        .filter(|(_, value)| !value.is_empty())
        .take(MAX_TAGS)
        .collect();
    tags.sort();
    tags.dedup_by(|x, y| x.0 == y.0);
    tags
}

/// Number of parts a display of the value would print.
fn parts(value: &Value) -> u32 {
    let n = match value {
        Value::Byte(v) | Value::Undefined(v, _) => v.len(),
        Value::Ascii(v) => v.iter().map(Vec::len).sum(),
        Value::Short(v) => v.len(),
        Value::Long(v) => v.len(),
        Value::Rational(v) => v.len(),
        Value::SByte(v) => v.len(),
        Value::SShort(v) => v.len(),
        Value::SLong(v) => v.len(),
        Value::SRational(v) => v.len(),
        Value::Float(v) => v.len(),
        Value::Double(v) => v.len(),
        Value::Unknown(..) => return u32::MAX,
    };
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Drops control characters and outer blanks, and cuts at [`MAX_VALUE_CHARS`].
fn bounded(text: &str) -> String {
    let clean: String = text
        .chars()
        .filter(|c| !c.is_control() && *c != char::REPLACEMENT_CHARACTER)
        .collect();
    let clean = clean.trim().trim_matches('"').trim();
    if clean.chars().count() <= MAX_VALUE_CHARS {
        return clean.to_owned();
    }
    clean
        .chars()
        .take(MAX_VALUE_CHARS - 1)
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests;
