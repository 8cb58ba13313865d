//! No input makes the library panic.
#![allow(clippy::unwrap_used)]

use mediamesh_imaging::{Limits, Plan, exif, probe, process, sniff};
use proptest::prelude::*;

const SEEDS: [&str; 11] = [
    "cat.webp",
    "cat.tiff",
    "cat.bmp",
    "cat_palette.png",
    "cat_grey.jpg",
    "alpha.png",
    "alpha.webp",
    "animated.gif",
    "animated.webp",
    "exif.jpg",
    "cmyk.jpg",
];

/// Small limits, so that a mutated header cannot make one case slow.
fn limits() -> Limits {
    Limits {
        max_pixels: 1_000_000,
        max_side: 4096,
        max_frames: 50,
        max_alloc_bytes: 32 << 20,
    }
}

fn try_all(bytes: &[u8]) {
    let _ = sniff(bytes);
    let _ = probe(bytes, &limits());
    if let Some(found) = exif::read(bytes) {
        assert!(found.tags.len() <= exif::MAX_TAGS);
        assert!(
            found
                .tags
                .iter()
                .all(|(_, value)| value.chars().count() <= exif::MAX_VALUE_CHARS)
        );
    }
    let _ = process(bytes, &limits(), &Plan::default());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        seed in 0..SEEDS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        // Headers are short: half of the edits go there, or most would only touch pixels.
        front in any::<bool>(),
        keep in 0.2f64..1.0,
    ) {
        let path = format!("{}/tests/data/{}", env!("CARGO_MANIFEST_DIR"), SEEDS[seed]);
        let mut bytes = std::fs::read(path).unwrap();
        let reach = if front { bytes.len().min(120) } else { bytes.len() };
        for (at, value) in edits {
            bytes[at.index(reach)] = value;
        }
        try_all(&bytes);
        bytes.truncate((bytes.len() as f64 * keep) as usize);
        try_all(&bytes);
    }

    #[test]
    fn noise_behind_a_magic_number_never_panics(
        magic in prop::sample::select(vec![
            &b"\xff\xd8\xff\xe1\0\x40Exif\0\0"[..], b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBP", b"GIF89a", b"II*\0", b"MM\0*",
            b"BM\x40\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", b"\0\0\0\x18ftypheic",
        ]),
        noise in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        try_all(&[magic, &noise].concat());
    }
}
