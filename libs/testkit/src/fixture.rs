//! Pictures made up from a seed, and files that are broken in one known way.
//!
//! These are written by hand or by libjpeg-turbo, never by the code under test.

use turbojpeg::{Image, PixelFormat, Subsamp};

/// A picture of `width` x `height` pixels: a gradient with blocks. Other seeds give other bytes, other
/// colours and another structure.
#[must_use]
pub fn rgb(seed: u32, width: u32, height: u32) -> Vec<u8> {
    // xorshift32 over a spread seed: repeatable on every machine
    let mut state = seed.wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let base: [u32; 3] = [next() % 256, next() % 256, next() % 256];
    let cells: Vec<[u32; 3]> = (0..64)
        .map(|_| [next() % 256, next() % 256, next() % 256])
        .collect();
    let mut pixels = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let cell = cells[(y * 8 / height * 8 + x * 8 / width) as usize];
            for channel in 0..3 {
                let gradient = (base[channel] + x * 128 / width + y * 128 / height) % 256;
                pixels.push(((gradient + cell[channel]) / 2) as u8);
            }
        }
    }
    pixels
}

/// A JPEG of [`rgb`] at quality 85.
///
/// # Panics
/// If libjpeg-turbo refuses, which it does for sizes over 65500 only.
#[must_use]
pub fn jpeg(seed: u32, width: u32, height: u32) -> Vec<u8> {
    encode_jpeg(&rgb(seed, width, height), width, height, 85)
}

/// Encodes packed RGB as a JPEG.
///
/// # Panics
/// If the pixels do not fit the size, or it is over 65500.
#[must_use]
pub fn encode_jpeg(pixels: &[u8], width: u32, height: u32, quality: i32) -> Vec<u8> {
    let image = Image {
        pixels,
        width: width as usize,
        pitch: width as usize * 3,
        height: height as usize,
        format: PixelFormat::RGB,
    };
    turbojpeg::compress(image, quality, Subsamp::Sub2x2)
        .expect("the pixels fit the size")
        .to_vec()
}

/// A JPEG whose last two thirds are missing.
#[must_use]
pub fn truncated_jpeg(seed: u32) -> Vec<u8> {
    let mut bytes = jpeg(seed, 640, 480);
    bytes.truncate(bytes.len() / 3);
    bytes
}

/// A PNG of a few dozen bytes that declares 50,000 x 50,000 pixels (7.5 GB decoded).
#[must_use]
pub fn png_bomb() -> Vec<u8> {
    png(
        50_000,
        50_000,
        &[0x78, 0x9c, 0x63, 0x00, 0x00, 0x00, 0x01, 0x00, 0x01],
    )
}

/// Plain text, to be sent under an image's name.
#[must_use]
pub fn text() -> Vec<u8> {
    b"Dear diary, today I was saved under the name of a photograph.\n".to_vec()
}

/// A PNG with this size in its header and these bytes as its pixel data, checksums correct.
fn png(width: u32, height: u32, data: &[u8]) -> Vec<u8> {
    let mut header = Vec::from(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    // 8 bits, RGB, deflate, adaptive filter, not interlaced
    header.extend([8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, body) in [
        (b"IHDR", header.as_slice()),
        (b"IDAT", data),
        (b"IEND", &[]),
    ] {
        let chunk = [name.as_slice(), body].concat();
        file.extend((body.len() as u32).to_be_bytes());
        file.extend(&chunk);
        file.extend(crc32(&chunk).to_be_bytes());
    }
    file
}

/// CRC-32 of PNG. Source: PNG specification, annex D.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use mediamesh_imaging::{Limits, probe};

    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        // the CRC of an empty IEND chunk stands in every PNG file
        assert_eq!(crc32(b"IEND"), 0xae42_6082);
    }

    #[test]
    fn the_bomb_is_small_and_declares_its_size() {
        let bomb = png_bomb();
        assert!(bomb.len() < 100);
        let wide = Limits {
            max_pixels: u64::MAX,
            max_side: u32::MAX,
            ..Limits::default()
        };
        let probe = probe(&bomb, &wide).unwrap();
        assert_eq!((probe.width, probe.height), (50_000, 50_000));
    }

    #[test]
    fn seeds_give_different_pictures_and_the_same_seed_the_same() {
        assert_eq!(jpeg(1, 64, 48), jpeg(1, 64, 48));
        assert_ne!(jpeg(1, 64, 48), jpeg(2, 64, 48));
    }

    #[test]
    fn a_truncated_picture_keeps_its_header_only() {
        let whole = jpeg(7, 640, 480);
        let cut = truncated_jpeg(7);
        assert!(whole.starts_with(&cut) && cut.len() < whole.len());
    }
}
