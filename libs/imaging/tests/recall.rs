//! Search by example with the descriptor on real photos: those below the folder in `MEDIAMESH_TEST_CORPUS`.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;

use mediamesh_imaging::{Limits, RgbImage, decode_rgb_within, descriptor};

#[allow(dead_code, reason = "shared with examples that use more of it")]
#[path = "recall/changes.rs"]
mod changes;

use changes::{CHANGES, cosine, files, nearest};

/// The photos, or none on a machine without; fails there if `MEDIAMESH_TEST_REQUIRE` has `corpus`.
fn photos() -> Option<Vec<RgbImage>> {
    let Some(folder) = std::env::var_os("MEDIAMESH_TEST_CORPUS") else {
        let required = std::env::var("MEDIAMESH_TEST_REQUIRE")
            .is_ok_and(|names| names.split(',').any(|name| name.trim() == "corpus"));
        assert!(
            !required,
            "MEDIAMESH_TEST_CORPUS is not set: run `make corpus`"
        );
        // Not eprintln!, whose output the test harness keeps to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: needs MEDIAMESH_TEST_CORPUS: run `make corpus`"
        );
        return None;
    };
    let decode =
        |path| decode_rgb_within(&std::fs::read(path).unwrap(), &Limits::default(), 512).unwrap();
    Some(
        files(folder.as_ref())
            .unwrap()
            .into_iter()
            .map(decode)
            .collect(),
    )
}

fn describe(bytes: &[u8]) -> Vec<f32> {
    descriptor::visual_descriptor(&decode_rgb_within(bytes, &Limits::default(), 512).unwrap())
}

#[test]
fn altered_copies_find_their_originals_and_strangers_are_far() {
    let Some(photos) = photos() else { return };
    assert!(photos.len() >= 20, "only {} photos", photos.len());
    let index: Vec<_> = photos.iter().map(descriptor::visual_descriptor).collect();
    let (mut found, mut tries) = (0, 0);
    for (name, change) in CHANGES {
        let misses: Vec<_> = (0..photos.len())
            .filter(|&at| nearest(&index, &describe(&change(&photos[at]))) != at)
            .collect();
        // None of the changes may be a blind spot that the others make up for.
        assert!(
            misses.len() * 10 <= photos.len(),
            "{name} misses {misses:?}"
        );
        found += photos.len() - misses.len();
        tries += photos.len();
    }
    assert!(found * 100 >= tries * 95, "{found} of {tries} came first");

    let pairs = (0..index.len()).flat_map(|x| (0..x).map(move |y| (x, y)));
    let scores: Vec<f32> = pairs.map(|(x, y)| cosine(&index[x], &index[y])).collect();
    let mean = scores.iter().sum::<f32>() / scores.len() as f32;
    assert!(mean.abs() < 0.15, "strangers have a mean cosine of {mean}");
}
