//! Where a photo was taken.

use exif::{In, Tag, Value};

/// A position on WGS 84.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Degrees, north positive, -90 to 90.
    pub latitude: f64,
    /// Degrees, east positive, -180 to 180.
    pub longitude: f64,
    /// Metres above sea level, negative below.
    pub altitude_m: Option<f64>,
}

/// Reads the GPS tags; `None` unless both angles are there and possible.
///
/// Source: EXIF 2.32, section 4.6.6.
pub(super) fn read(raw: &exif::Exif) -> Option<Place> {
    let latitude = angle(raw, Tag::GPSLatitude, Tag::GPSLatitudeRef, b'S', 90.0)?;
    let longitude = angle(raw, Tag::GPSLongitude, Tag::GPSLongitudeRef, b'W', 180.0)?;
    let altitude_m = raw
        .get_field(Tag::GPSAltitude, In::PRIMARY)
        .and_then(super::decimal)
        .map(|metres| {
            let below = raw
                .get_field(Tag::GPSAltitudeRef, In::PRIMARY)
                .and_then(|f| f.value.get_uint(0))
                == Some(1);
            if below { -metres } else { metres }
        });
    Some(Place {
        latitude,
        longitude,
        altitude_m,
    })
}

fn angle(raw: &exif::Exif, tag: Tag, side: Tag, negative: u8, limit: f64) -> Option<f64> {
    let Value::Rational(parts) = &raw.get_field(tag, In::PRIMARY)?.value else {
        return None;
    };
    let part = |at: usize| {
        parts
            .get(at)
            .map(|r| if r.num == 0 { 0.0 } else { r.to_f64() })
    };
    let degrees = part(0)? + part(1).unwrap_or(0.0) / 60.0 + part(2).unwrap_or(0.0) / 3600.0;
    let Value::Ascii(letters) = &raw.get_field(side, In::PRIMARY)?.value else {
        return None;
    };
    let letter = letters.first()?.first()?.to_ascii_uppercase();
    (degrees.is_finite() && degrees <= limit).then_some(if letter == negative {
        -degrees
    } else {
        degrees
    })
}
