//! When a photo was taken.

use exif::{DateTime, In, Tag, Value};

/// A moment as the camera's clock showed it.
///
/// Without `offset_minutes` it is naive: cameras rarely know their time zone, and guessing it would invent facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TakenAt {
    /// Year, 1 to 9999.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month; valid for year and month.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
    /// Nanoseconds within the second.
    pub nanosecond: u32,
    /// Minutes east of UTC, if the camera says so.
    pub offset_minutes: Option<i16>,
}

impl TakenAt {
    /// Returns seconds since 1970-01-01 00:00:00; of UTC if there is an offset, else of the camera's clock.
    ///
    /// Source: Howard Hinnant, "chrono-compatible low-level date algorithms", days_from_civil.
    pub fn unix_seconds(&self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year =
            (153 * ((i64::from(self.month) + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let clock =
            i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        days * 86_400 + clock - i64::from(self.offset_minutes.unwrap_or(0)) * 60
    }
}

impl std::fmt::Display for TakenAt {
    /// Writes ISO 8601, with the offset only if it is known.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TakenAt {
            year,
            month,
            day,
            hour,
            minute,
            second,
            ..
        } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )?;
        if let Some(offset) = self.offset_minutes {
            let sign = if offset < 0 { '-' } else { '+' };
            write!(f, "{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)?;
        }
        Ok(())
    }
}

/// Reads the first possible time among original, digitised and changed, each with its own offset tag.
pub(super) fn taken_at(raw: &exif::Exif) -> Option<TakenAt> {
    [
        (
            Tag::DateTimeOriginal,
            Tag::OffsetTimeOriginal,
            Tag::SubSecTimeOriginal,
        ),
        (
            Tag::DateTimeDigitized,
            Tag::OffsetTimeDigitized,
            Tag::SubSecTimeDigitized,
        ),
        (Tag::DateTime, Tag::OffsetTime, Tag::SubSecTime),
    ]
    .into_iter()
    .find_map(|(time, offset, fraction)| {
        let mut parsed = DateTime::from_ascii(ascii(raw, time)?).ok()?;
        // Bad extras do not spoil a good time.
        if let Some(text) = ascii(raw, offset) {
            let _ = parsed.parse_offset(text);
        }
        if let Some(text) = ascii(raw, fraction) {
            let _ = parsed.parse_subsec(text);
        }
        checked(&parsed)
    })
}

fn ascii(raw: &exif::Exif, tag: Tag) -> Option<&[u8]> {
    match &raw.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(lines) => lines.first().map(Vec::as_slice),
        _ => None,
    }
}

/// Takes the time if such a moment exists; clocks never set write zeros.
fn checked(t: &DateTime) -> Option<TakenAt> {
    let leap =
        t.year.is_multiple_of(4) && (!t.year.is_multiple_of(100) || t.year.is_multiple_of(400));
    let days = match t.month {
        2 => 28 + u8::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    let possible =
        t.year >= 1 && (1..=days).contains(&t.day) && t.hour < 24 && t.minute < 60 && t.second < 60;
    possible.then_some(TakenAt {
        year: t.year,
        month: t.month,
        day: t.day,
        hour: t.hour,
        minute: t.minute,
        second: t.second,
        nanosecond: t.nanosecond.unwrap_or(0),
        // No zone is further than 14 hours from UTC.
        offset_minutes: t.offset.filter(|minutes| minutes.abs() <= 14 * 60),
    })
}
