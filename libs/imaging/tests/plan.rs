//! A plan's outputs have the sizes, formats and contents asked for.
#![allow(clippy::unwrap_used)]

use mediamesh_imaging::{
    Limits, OutputFormat, Plan, Processed, decode_rgb, descriptor, exif, hash, probe, process,
};

fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn run(name: &str, plan: &Plan) -> Processed {
    process(&data(name), &Limits::default(), plan).unwrap()
}

/// A JPEG of smooth colour waves.
fn waves(width: u32, height: u32) -> Vec<u8> {
    let wave = |at: u32, length: f32| (128.0 + 100.0 * (at as f32 / length).sin()) as u8;
    let data: Vec<u8> = (0..height)
        .flat_map(|y| {
            (0..width).flat_map(move |x| [wave(x, 90.0), wave(y, 70.0), wave(x + y, 120.0)])
        })
        .collect();
    let (width, height) = (width as usize, height as usize);
    let format = turbojpeg::PixelFormat::RGB;
    let image = turbojpeg::Image {
        pixels: data.as_slice(),
        width,
        pitch: 3 * width,
        height,
        format,
    };
    turbojpeg::compress(image, 90, turbojpeg::Subsamp::Sub2x2)
        .unwrap()
        .to_vec()
}

#[test]
fn a_large_photo_gives_every_size_in_a_fixed_order() {
    let made = process(&waves(2400, 1600), &Limits::default(), &Plan::default()).unwrap();
    let sizes: Vec<_> = made
        .renditions
        .iter()
        .map(|r| (r.name.as_str(), r.width, r.height))
        .collect();
    let expected = [
        ("thumb_150", 150, 150),
        ("thumb_300", 300, 300),
        ("thumb_600", 600, 600),
        ("main", 2048, 1365),
        ("w320", 320, 213),
        ("w640", 640, 427),
        ("w1024", 1024, 683),
        ("w1920", 1920, 1280),
    ];
    assert_eq!(sizes, expected);
    for rendition in &made.renditions {
        let image = decode_rgb(&rendition.bytes, &Limits::default()).unwrap();
        assert_eq!(
            (image.width, image.height),
            (rendition.width, rendition.height),
            "{}",
            rendition.name
        );
        let progressive = rendition.bytes.windows(2).any(|w| w == [0xff, 0xc2]);
        assert_eq!(
            progressive,
            !rendition.name.starts_with("thumb"),
            "{}",
            rendition.name
        );
    }
    assert_eq!(
        (made.embedding_input.width, made.embedding_input.height),
        (512, 341)
    );
}

/// The waves are known at every place, so each output can be held against the formula it came from.
#[test]
fn outputs_show_what_the_source_shows() {
    let made = process(&waves(2400, 1600), &Limits::default(), &Plan::default()).unwrap();
    for rendition in made
        .renditions
        .iter()
        .filter(|r| !r.name.starts_with("thumb"))
    {
        let image = decode_rgb(&rendition.bytes, &Limits::default()).unwrap();
        let factor = 2400.0 / image.width as f32;
        for (x, y) in [(0.1, 0.2), (0.5, 0.5), (0.83, 0.61)]
            .map(|(x, y)| (x * image.width as f32, y * image.height as f32))
        {
            let at = (y as usize * image.width as usize + x as usize) * 3;
            let source = |v: f32| (v.floor() + 0.5) * factor;
            let expected = [
                source(x) / 90.0,
                source(y) / 70.0,
                (source(x) + source(y)) / 120.0,
            ];
            for (found, wave) in image.data[at..at + 3].iter().zip(expected) {
                let off = f32::from(*found) - (128.0 + 100.0 * wave.sin());
                assert!(
                    off.abs() < 8.0,
                    "{} is off by {off} at {x} {y}",
                    rendition.name
                );
            }
        }
    }
}

#[test]
fn small_images_are_never_enlarged() {
    let made = run("cat.jpg", &Plan::default());
    let sizes: Vec<_> = made
        .renditions
        .iter()
        .map(|r| (r.name.as_str(), r.width, r.height))
        .collect();
    assert_eq!(
        sizes,
        [
            ("thumb_150", 150, 150),
            ("thumb_300", 200, 200),
            ("thumb_600", 200, 200),
            ("main", 300, 200)
        ]
    );
    assert_eq!(
        (made.embedding_input.width, made.embedding_input.height),
        (300, 200)
    );
}

#[test]
fn every_output_is_upright_and_carries_no_metadata() {
    for value in 1..=8 {
        let made = run(&format!("orientation_{value}.jpg"), &Plan::default());
        let main = made.renditions.iter().find(|r| r.name == "main").unwrap();
        let image = decode_rgb(&main.bytes, &Limits::default()).unwrap();
        assert_eq!((image.width, image.height), (48, 32));
        assert!(
            image.data[0] > 150 && image.data[1] < 90,
            "orientation {value}: top left is not red"
        );
        assert!(
            made.renditions
                .iter()
                .all(|r| exif::read(&r.bytes).is_none())
        );
    }
    let made = run("exif.jpg", &Plan::default());
    for rendition in &made.renditions {
        assert!(
            !rendition
                .bytes
                .windows(5)
                .any(|w| w == b"Canon" || w == b"ICC_P"),
            "{}",
            rendition.name
        );
    }
}

#[test]
fn the_format_of_the_plan_is_honoured_and_keeps_alpha_where_it_can() {
    for (format, keeps) in [
        (OutputFormat::Jpeg, false),
        (OutputFormat::Png, true),
        (OutputFormat::WebP, true),
    ] {
        let made = run(
            "alpha.png",
            &Plan {
                format,
                ..Plan::default()
            },
        );
        let main = made.renditions.iter().find(|r| r.name == "main").unwrap();
        assert_eq!(main.content_type, format.content_type());
        let facts = probe(&main.bytes, &Limits::default()).unwrap();
        assert_eq!(
            (facts.format.content_type(), facts.has_alpha),
            (format.content_type(), keeps)
        );
        let image = decode_rgb(&main.bytes, &Limits::default()).unwrap();
        assert!(
            image.data[(16 * 48 + 40) * 3..][..3]
                .iter()
                .all(|v| *v > 245),
            "transparent half is not white"
        );
    }
}

#[test]
fn the_same_bytes_give_the_same_results() {
    assert_eq!(
        run("cat.jpg", &Plan::default()),
        run("cat.jpg", &Plan::default())
    );
}

#[test]
fn an_impossible_plan_is_refused() {
    for plan in [
        Plan {
            quality: 0,
            ..Plan::default()
        },
        Plan {
            thumbnails: vec![0],
            ..Plan::default()
        },
        Plan {
            main_side: Some(20_000),
            ..Plan::default()
        },
        Plan {
            palette_colors: 0,
            ..Plan::default()
        },
    ] {
        assert_eq!(
            process(&data("cat.jpg"), &Limits::default(), &plan)
                .unwrap_err()
                .reason(),
            "invalid_plan"
        );
    }
}

#[test]
fn fingerprints_of_a_copy_are_near_and_of_another_photo_far() {
    let (cat, copy) = (
        run("cat.jpg", &Plan::default()),
        run("cat_progressive.jpg", &Plan::default()),
    );
    let other = process(&waves(300, 200), &Limits::default(), &Plan::default()).unwrap();
    assert!(hash::hamming(cat.perceptual_hash, copy.perceptual_hash) <= 6);
    assert!(hash::hamming(cat.perceptual_hash, other.perceptual_hash) >= 16);
    assert_eq!((cat.blur_hash.len(), copy.blur_hash.len()), (28, 28));
    assert!((20..=30).contains(&cat.thumb_hash.len()));
    let describe = |p: &Processed| descriptor::visual_descriptor(&p.embedding_input);
    let cosine = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
    let (one, two, far) = (describe(&cat), describe(&copy), describe(&other));
    assert_eq!(one.len(), descriptor::DIMS);
    assert!((cosine(&one, &one) - 1.0).abs() < 1e-4);
    assert!(cosine(&one, &two) > 0.95, "{}", cosine(&one, &two));
    assert!(cosine(&one, &far) < 0.6, "{}", cosine(&one, &far));
}
