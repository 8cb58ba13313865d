//! What is uploaded: JPEG files, each with a comment of its own, so that no two have the same hash and a mesh
//! never answers that it has one already.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use turbojpeg::{Image, PixelFormat, Subsamp};
use uuid::Uuid;

const WIDTH: usize = 1280;
const HEIGHT: usize = 960;
/// Made-up pictures; uploads take them in turn.
const PICTURES: u32 = 16;
const QUALITY: i32 = 85;
/// Most files of a folder that are kept in memory, and the largest of them.
const FILES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 32 << 20;
/// First bytes of a JPEG (SOI), and the marker of a comment (COM). Source: ITU-T T.81, table B.1.
const START: [u8; 2] = [0xff, 0xd8];
const COMMENT: [u8; 2] = [0xff, 0xfe];

/// Pictures to upload.
#[derive(Debug)]
pub(super) struct Photos {
    pictures: Vec<Vec<u8>>,
    /// Tells the pictures of this run from those of others.
    run: Uuid,
    next: AtomicU64,
}

impl Photos {
    /// Reads the JPEG files of a folder, or makes pictures up.
    ///
    /// Errors: a folder that cannot be read or has none.
    pub(super) async fn open(folder: Option<PathBuf>) -> Result<Self> {
        let make = move || match folder {
            Some(folder) => read(&folder),
            None => (0..PICTURES).map(made_up).collect(),
        };
        Ok(Self {
            pictures: tokio::task::spawn_blocking(make).await??,
            run: Uuid::now_v7(),
            next: AtomicU64::new(0),
        })
    }

    /// Number and bytes of the next picture.
    pub(super) fn next(&self) -> (u64, Bytes) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.pictures.len() as u64;
        let picture = &self.pictures[(number % count) as usize];
        let comment = format!("mediamesh load {} {number}", self.run);
        (number, commented(picture, &comment))
    }
}

/// A JPEG with a comment behind its first marker.
fn commented(picture: &[u8], comment: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(picture.len() + comment.len() + 4);
    out.put_slice(&START);
    out.put_slice(&COMMENT);
    // the length counts itself
    out.put_u16(u16::try_from(comment.len() + 2).unwrap_or(u16::MAX));
    out.put_slice(comment.as_bytes());
    out.put_slice(&picture[START.len()..]);
    out.freeze()
}

/// Waves of colour, each with others.
fn made_up(seed: u32) -> Result<Vec<u8>> {
    let turn = f64::from(seed) * 0.7 + 1.0;
    let mut pixels = Vec::with_capacity(WIDTH * HEIGHT * 3);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let (x, y) = (x as f64 / 97.0, y as f64 / 61.0);
            for channel in 0..3 {
                let phase = f64::from(channel) * turn;
                let wave = (x * turn + phase).sin() + (y + x * y / 9.0 + phase).cos();
                pixels.push((127.0 + 63.0 * wave) as u8);
            }
        }
    }
    let image = Image {
        pixels: pixels.as_slice(),
        width: WIDTH,
        pitch: WIDTH * 3,
        height: HEIGHT,
        format: PixelFormat::RGB,
    };
    Ok(turbojpeg::compress(image, QUALITY, Subsamp::Sub2x2)?.to_vec())
}

fn read(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let mut pictures = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        if !entry.file_type().is_file() || size > FILE_BYTES_MAX {
            continue;
        }
        let path = entry.path();
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if bytes.starts_with(&START) {
            pictures.push(bytes);
        }
        if pictures.len() == FILES_MAX {
            break;
        }
    }
    if pictures.is_empty() {
        bail!("{} has no JPEG files", folder.display());
    }
    Ok(pictures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_with_a_comment_is_another_file_and_the_same_picture() {
        let picture = made_up(3).unwrap();
        let [a, b] = ["a", "b"].map(|comment| commented(&picture, comment));
        assert_ne!(a, b);
        let decode = |bytes: &[u8]| {
            let limits = mediamesh_imaging::Limits::default();
            mediamesh_imaging::decode_rgb(bytes, &limits).unwrap().data
        };
        assert_eq!(decode(&a), decode(&picture));
        assert_eq!(decode(&b), decode(&picture));
    }
}
