//! Every format, depth and orientation gives the right pixels.
#![allow(clippy::unwrap_used)]

use mediamesh_imaging::{
    Format, Limits, Orientation, RgbImage, decode_rgb, decode_rgb_within, probe,
};

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn pixel(image: &RgbImage, x: u32, y: u32) -> [u8; 3] {
    let at = ((y * image.width + x) * 3) as usize;
    image.data[at..at + 3].try_into().unwrap()
}

#[track_caller]
fn assert_near(found: [u8; 3], expected: [u8; 3], tolerance: u8) {
    assert!(
        found
            .iter()
            .zip(expected)
            .all(|(f, e)| f.abs_diff(e) <= tolerance),
        "{found:?} is not {expected:?}"
    );
}

#[track_caller]
fn assert_quarters(image: &RgbImage) {
    assert_eq!((image.width, image.height), (48, 32));
    assert_near(pixel(image, 10, 6), [220, 30, 30], 6);
    assert_near(pixel(image, 38, 6), [30, 180, 40], 6);
    assert_near(pixel(image, 10, 26), [30, 40, 200], 6);
    assert_near(pixel(image, 38, 26), [230, 220, 40], 6);
}

#[test]
fn all_eight_orientations_come_out_upright() {
    for value in 1..=8u8 {
        let bytes = data(&format!("orientation_{value}.jpg"));
        let facts = probe(&bytes, &Limits::default()).unwrap();
        assert_eq!(facts.orientation.exif(), value);
        assert_eq!((facts.width, facts.height), (48, 32));
        let stored = if value >= 5 { (32, 48) } else { (48, 32) };
        assert_eq!((facts.stored_width, facts.stored_height), stored);
        assert_quarters(&decode_rgb(&bytes, &Limits::default()).unwrap());
    }
}

#[test]
fn animations_give_their_first_frame_and_their_number_of_frames() {
    for (name, format, frames) in [
        ("animated.gif", Format::Gif, 3),
        ("animated.webp", Format::WebP, 2),
    ] {
        let bytes = data(name);
        let facts = probe(&bytes, &Limits::default()).unwrap();
        assert_eq!(
            (facts.format, facts.frames, facts.animated),
            (format, frames, true),
            "{name}"
        );
        assert_quarters(&decode_rgb(&bytes, &Limits::default()).unwrap());
    }
}

#[test]
fn alpha_is_laid_on_white() {
    for name in ["alpha.png", "alpha.webp"] {
        let bytes = data(name);
        assert!(
            probe(&bytes, &Limits::default()).unwrap().has_alpha,
            "{name}"
        );
        let image = decode_rgb(&bytes, &Limits::default()).unwrap();
        assert_near(pixel(&image, 5, 5), [220, 30, 30], 2);
        assert_near(pixel(&image, 40, 5), [255, 255, 255], 2);
    }
}

#[test]
fn cmyk_jpeg_gives_the_colours_of_its_inks() {
    let image = decode_rgb(&data("cmyk.jpg"), &Limits::default()).unwrap();
    assert_eq!((image.width, image.height), (32, 16));
    assert_near(pixel(&image, 5, 8), [255, 0, 0], 8);
    assert_near(pixel(&image, 26, 8), [0, 255, 255], 8);
}

#[test]
fn grey_jpeg_gives_equal_channels() {
    let image = decode_rgb(&data("cat_grey.jpg"), &Limits::default()).unwrap();
    assert!(image.data.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]));
    assert!(image.data.iter().max().unwrap() - image.data.iter().min().unwrap() > 100);
}

#[test]
fn sixteen_bit_png_keeps_its_high_bytes() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Sixteen);
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_image_data(&[10, 200, 20, 100, 30, 0, 250, 0, 128, 255, 0, 1])
        .unwrap();
    writer.finish().unwrap();
    let image = decode_rgb(&bytes, &Limits::default()).unwrap();
    assert_near(pixel(&image, 0, 0), [10, 20, 30], 1);
    assert_near(pixel(&image, 1, 0), [250, 128, 0], 1);
}

/// The cat was shrunk and encoded by Pillow into each format: all must show the same picture.
#[test]
fn one_photo_looks_the_same_in_every_format() {
    let reference = decode_rgb_within(&data("cat.jpg"), &Limits::default(), 60).unwrap();
    assert_eq!((reference.width, reference.height), (60, 40));
    for name in [
        "cat_progressive.jpg",
        "cat.webp",
        "cat.tiff",
        "cat.bmp",
        "cat_palette.png",
    ] {
        let image = decode_rgb_within(&data(name), &Limits::default(), 60).unwrap();
        assert_eq!((image.width, image.height), (60, 40), "{name}");
        let off: u32 = image
            .data
            .iter()
            .zip(&reference.data)
            .map(|(x, y)| u32::from(x.abs_diff(*y)))
            .sum();
        let mean = f64::from(off) / image.data.len() as f64;
        assert!(mean < 8.0, "{name} differs by {mean:.1} per channel");
    }
}

#[test]
fn decoding_shrunk_agrees_with_shrinking_the_whole() {
    let bytes = data("cat.jpg");
    let small = decode_rgb_within(&bytes, &Limits::default(), 64).unwrap();
    let whole = decode_rgb(&bytes, &Limits::default()).unwrap();
    assert_eq!(
        (whole.width, whole.height, small.width, small.height),
        (300, 200, 64, 43)
    );
    let mean = |image: &RgbImage| {
        image.data.iter().map(|v| f64::from(*v)).sum::<f64>() / image.data.len() as f64
    };
    assert!((mean(&small) - mean(&whole)).abs() < 1.0);
}

#[test]
fn headers_tell_profile_and_orientation() {
    let facts = probe(&data("exif.jpg"), &Limits::default()).unwrap();
    assert!(facts.has_icc);
    assert_eq!(facts.orientation, Orientation::Upright);
    assert!(!probe(&data("cat.jpg"), &Limits::default()).unwrap().has_icc);
}
