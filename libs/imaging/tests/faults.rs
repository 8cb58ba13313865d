//! Bad input is refused by its own typed error, before it can cost anything.
#![allow(clippy::unwrap_used)]

use mediamesh_imaging::{Error, Kind, Limits, Plan, decode_rgb, probe, process, sniff};

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn reason(bytes: &[u8]) -> &'static str {
    process(bytes, &Limits::default(), &Plan::default())
        .unwrap_err()
        .reason()
}

/// A PNG header claiming that size, with a valid checksum and hardly any pixels.
fn png_claiming(width: u32, height: u32) -> Vec<u8> {
    let mut ihdr = b"IHDR".to_vec();
    ihdr.extend(width.to_be_bytes());
    ihdr.extend(height.to_be_bytes());
    ihdr.extend([8, 2, 0, 0, 0]);
    let mut crc = u32::MAX;
    for byte in &ihdr {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    bytes.extend(ihdr);
    bytes.extend((!crc).to_be_bytes());
    bytes.extend(b"\0\0\0\x02IDAT\x78\x01\0\0\0\0");
    bytes
}

#[test]
fn a_bomb_fails_from_its_header_and_says_its_size() {
    let e = probe(&png_claiming(50_000, 50_000), &Limits::default()).unwrap_err();
    assert!(
        matches!(
            e,
            Error::TooManyPixels {
                width: 50_000,
                height: 50_000,
                limit: 100_000_000
            }
        ),
        "{e:?}"
    );
    let e = probe(&png_claiming(12_000, 9_000), &Limits::default()).unwrap_err();
    assert_eq!(
        e.to_string(),
        "image is 12000 x 9000 pixels; limit is 100 megapixels"
    );
    assert_eq!(reason(&png_claiming(50_000, 50_000)), "too_many_pixels");
    assert_eq!(reason(&png_claiming(40_000, 2)), "side_too_long");
    assert_eq!(reason(&png_claiming(0, 2)), "no_pixels");
}

#[test]
fn memory_and_frames_are_limited_from_the_header() {
    let small = Limits {
        max_alloc_bytes: 1000,
        ..Limits::default()
    };
    assert_eq!(
        decode_rgb(&data("cat.jpg"), &small).unwrap_err().reason(),
        "too_much_memory"
    );
    assert_eq!(
        decode_rgb(&data("cat.webp"), &small).unwrap_err().reason(),
        "too_much_memory"
    );
    let still = Limits {
        max_frames: 1,
        ..Limits::default()
    };
    assert_eq!(
        probe(&data("animated.gif"), &still).unwrap_err().reason(),
        "too_many_frames"
    );
    assert_eq!(
        probe(&data("animated.webp"), &still).unwrap_err().reason(),
        "too_many_frames"
    );
}

#[test]
fn what_is_no_image_says_so() {
    assert_eq!(reason(b""), "image_empty");
    assert_eq!(
        reason(b"this is a text file that somebody called photo.jpg"),
        "not_an_image"
    );
    assert_eq!(
        reason(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        "unsupported_format"
    );
    let e = probe(
        b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
        &Limits::default(),
    )
    .unwrap_err();
    assert_eq!(
        e.to_string(),
        "image/avif images are not supported; convert to JPEG, PNG, WebP, GIF, TIFF or BMP"
    );
}

#[test]
fn every_cut_of_a_jpeg_is_called_truncated() {
    for name in ["cat.jpg", "cat_progressive.jpg"] {
        let bytes = data(name);
        for tenth in 1..10 {
            let cut = &bytes[..bytes.len() * tenth / 10];
            assert_eq!(reason(cut), "image_truncated", "{name} cut at {tenth}0 %");
        }
        assert_eq!(
            reason(&bytes[..bytes.len() - 2]),
            "image_truncated",
            "{name} without its end marker"
        );
    }
}

#[test]
fn a_cut_of_any_other_format_is_refused() {
    for name in [
        "cat.webp",
        "cat.tiff",
        "cat.bmp",
        "cat_palette.png",
        "alpha.png",
        "animated.gif",
    ] {
        let bytes = data(name);
        let cut = &bytes[..bytes.len() / 3];
        let found = reason(cut);
        assert!(
            matches!(found, "image_truncated" | "image_corrupt"),
            "{name} gave {found}"
        );
    }
}

#[test]
fn broken_entropy_data_is_never_taken_for_a_photo() {
    let mut bytes = data("cat.jpg");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 200].fill(0xff);
    let found = reason(&bytes);
    assert!(
        matches!(found, "image_corrupt" | "image_truncated"),
        "{found}"
    );
}

#[test]
fn containers_are_named_by_their_bytes() {
    let cases: [(&[u8], &str, Kind); 9] = [
        (
            b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41",
            "video/mp4",
            Kind::Video,
        ),
        (
            b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
            "video/quicktime",
            Kind::Video,
        ),
        (
            b"\0\0\0\x14ftyp3gp4\0\0\0\x003gp4",
            "video/3gpp",
            Kind::Video,
        ),
        (
            b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm",
            "video/webm",
            Kind::Video,
        ),
        (
            b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x88matroska",
            "video/x-matroska",
            Kind::Video,
        ),
        (b"RIFF\x24\0\0\0AVI LIST", "video/x-msvideo", Kind::Video),
        (
            b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif",
            "image/avif",
            Kind::Image,
        ),
        (b"\xff\xd8\xff\xe0", "image/jpeg", Kind::Image),
        (b"GIF89a\x01\0\x01\0", "image/gif", Kind::Image),
    ];
    for (bytes, content_type, kind) in cases {
        let found = sniff(bytes).unwrap_or_else(|| panic!("{content_type} was not recognised"));
        assert_eq!((found.content_type, found.kind), (content_type, kind));
    }
    assert_eq!(sniff(b"BMW drivers wanted, apply within"), None);
    assert_eq!(sniff(b"<html><body>GIF89a</body></html>"), None);
}
