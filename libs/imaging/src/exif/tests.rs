#![allow(clippy::unwrap_used)]

use super::*;

fn fixture() -> Exif {
    read(include_bytes!("../../tests/data/exif.jpg")).unwrap()
}

#[test]
fn camera_exposure_and_software_are_read() {
    let exif = fixture();
    assert_eq!(exif.make.as_deref(), Some("Canon"));
    assert_eq!(exif.model.as_deref(), Some("EOS 5D"));
    assert_eq!(exif.lens.as_deref(), Some("EF50mm f/1.8"));
    assert_eq!(exif.software.as_deref(), Some("darktable"));
    assert_eq!(
        (exif.exposure_secs, exif.f_number),
        (Some(0.004), Some(2.8))
    );
    assert_eq!((exif.iso, exif.focal_length_mm), (Some(400), Some(50.0)));
}

#[test]
fn time_keeps_its_offset_and_a_leap_day() {
    let taken = fixture().taken_at.unwrap();
    assert_eq!(taken.to_string(), "2024-02-29T13:45:06+05:30");
    // By `date -u -d "2024-02-29T13:45:06+05:30" +%s`.
    assert_eq!(taken.unix_seconds(), 1_709_194_506);
}

#[test]
fn southern_latitude_is_negative_and_altitude_is_metres() {
    let place = fixture().place.unwrap();
    assert!((place.latitude + 33.86).abs() < 1e-9, "{place:?}");
    assert!((place.longitude - 151.211_111).abs() < 1e-5, "{place:?}");
    assert_eq!(place.altitude_m, Some(58.5));
}

#[test]
fn tags_are_sorted_named_and_displayed() {
    let tags = fixture().tags;
    assert!(tags.is_sorted());
    assert!(
        tags.contains(&("FNumber".to_owned(), "f/2.8".to_owned())),
        "{tags:?}"
    );
    assert!(
        tags.contains(&("Model".to_owned(), "EOS 5D".to_owned())),
        "{tags:?}"
    );
}

#[test]
fn long_and_dirty_values_are_cut_and_cleaned() {
    let text = format!(" a\u{7}b{} ", "x".repeat(400));
    let clean = bounded(&text);
    assert_eq!(clean.chars().count(), MAX_VALUE_CHARS);
    assert!(clean.starts_with("abx") && clean.ends_with('…'));
}

#[test]
fn files_without_metadata_give_none() {
    assert_eq!(read(include_bytes!("../../tests/data/cat.jpg")), None);
    assert_eq!(read(b"no image"), None);
    assert_eq!(read(b""), None);
}
