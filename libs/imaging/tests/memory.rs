//! What decoding holds in memory. A file of its own, as the peak is that of the process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::io::Write as _;

use mediamesh_imaging::{Error, Limits, Plan, decode_rgb, decode_rgb_within, process};
use png::{BitDepth, ColorType, Compression, Encoder};

/// A picture of colours that run from left to right; opaque.
fn png(width: u32, height: u32, depth: BitDepth) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(depth);
    encoder.set_compression(Compression::Fast);
    let bytes = if depth == BitDepth::Sixteen { 2 } else { 1 };
    let row: Vec<u8> = (0..width)
        .flat_map(|x| [(x * 255 / width) as u8, 120, 30, 255])
        .flat_map(|sample| std::iter::repeat_n(sample, bytes))
        .collect();
    let mut writer = encoder.write_header().unwrap();
    let mut stream = writer.stream_writer().unwrap();
    (0..height).for_each(|_| stream.write_all(&row).unwrap());
    stream.finish().unwrap();
    drop(writer);
    file
}

/// Highest resident memory of this process so far, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kib: String = line.chars().filter(char::is_ascii_digit).collect();
    kib.parse::<u64>().unwrap() / 1024
}

#[test]
fn deep_pictures_are_not_held_whole_and_the_limit_counts_bytes() {
    let deep = png(11_400, 8_600, BitDepth::Sixteen);
    let before = peak();
    let made = process(&deep, &Limits::default(), &Plan::default()).unwrap();
    assert_eq!((made.probe.width, made.probe.height), (11_400, 8_600));
    let main = made.renditions.iter().find(|made| made.name == "main");
    assert_eq!(
        main.map(|main| (main.width, main.height)),
        Some((2048, 1545))
    );
    let small = decode_rgb_within(&deep, &Limits::default(), 512).unwrap();
    assert_eq!((small.width, small.height), (512, 386));
    let half = small.data.as_chunks::<3>().0[512 * 100 + 256];
    assert!(
        half[0].abs_diff(127) <= 2 && half[1..] == [120, 30],
        "{half:?}"
    );
    let grown = peak() - before;
    eprintln!("98 megapixels of RGBA16: {grown} MiB");
    assert!(grown < 160, "decoding held {grown} MiB");

    let tight = Limits {
        max_alloc_bytes: 64 << 20,
        ..Limits::default()
    };
    match decode_rgb(&deep, &tight) {
        Err(Error::TooMuchMemory { needed, limit }) => {
            assert_eq!(limit, 64 << 20);
            assert!(needed > 11_400 * 8_600 * 4, "{needed}");
        }
        other => panic!("{other:?}"),
    }
    // the same file fits when it is shrunk while it is read
    assert!(decode_rgb_within(&deep, &tight, 512).is_ok());
    assert!(decode_rgb(&png(8_000, 8_000, BitDepth::Eight), &Limits::default()).is_ok());
}
