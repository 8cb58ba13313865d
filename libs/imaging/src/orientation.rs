//! The eight EXIF orientations and turning pixels upright.

use crate::pixels::Pixels;

/// How stored pixels must be turned to stand upright.
///
/// Source: EXIF 2.32, tag 0x0112; values 1 to 8 in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Orientation {
    /// 1: as stored.
    #[default]
    Upright = 1,
    /// 2: mirrored left to right.
    MirrorHorizontal = 2,
    /// 3: turned by 180 degrees.
    Rotate180 = 3,
    /// 4: mirrored top to bottom.
    MirrorVertical = 4,
    /// 5: transposed (rows are columns).
    Transpose = 5,
    /// 6: to be turned 90 degrees clockwise.
    Rotate90 = 6,
    /// 7: transposed along the other diagonal.
    Transverse = 7,
    /// 8: to be turned 90 degrees counter-clockwise.
    Rotate270 = 8,
}

impl Orientation {
    /// Converts the EXIF value; anything but 2 to 8 means upright, as readers agree.
    pub fn from_exif(value: u32) -> Self {
        match value {
            2 => Self::MirrorHorizontal,
            3 => Self::Rotate180,
            4 => Self::MirrorVertical,
            5 => Self::Transpose,
            6 => Self::Rotate90,
            7 => Self::Transverse,
            8 => Self::Rotate270,
            _ => Self::Upright,
        }
    }

    /// Returns the EXIF value, 1 to 8.
    pub fn exif(self) -> u8 {
        self as u8
    }

    /// Tells whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        self.exif() >= 5
    }

    /// Returns the upright size of an image stored as `width` x `height`.
    pub fn upright_size(self, width: u32, height: u32) -> (u32, u32) {
        if self.swaps_sides() {
            (height, width)
        } else {
            (width, height)
        }
    }

    /// Turns the pixels upright; a plain move for [`Self::Upright`].
    pub(crate) fn apply(self, image: Pixels) -> Pixels {
        match (self, image.channels) {
            (Self::Upright, _) => image,
            (_, 4) => turn::<4>(image, self),
            _ => turn::<3>(image, self),
        }
    }
}

/// Side of the square tiles that are turned one after the other, so that both images stay in the L1 cache.
const TILE: usize = 32;

fn turn<const N: usize>(image: Pixels, orientation: Orientation) -> Pixels {
    let (w, h) = (image.width as usize, image.height as usize);
    let (out_width, out_height) = orientation.upright_size(image.width, image.height);
    let mut out = vec![0; image.data.len()];
    let source = image.data.as_chunks::<N>().0;
    let target = out.as_chunks_mut::<N>().0;
    let out_w = out_width as usize;
    for tile_y in (0..h).step_by(TILE) {
        for tile_x in (0..w).step_by(TILE) {
            for y in tile_y..(tile_y + TILE).min(h) {
                for x in tile_x..(tile_x + TILE).min(w) {
                    let (to_x, to_y) = match orientation {
                        Orientation::Upright => (x, y),
                        Orientation::MirrorHorizontal => (w - 1 - x, y),
                        Orientation::Rotate180 => (w - 1 - x, h - 1 - y),
                        Orientation::MirrorVertical => (x, h - 1 - y),
                        Orientation::Transpose => (y, x),
                        Orientation::Rotate90 => (h - 1 - y, x),
                        Orientation::Transverse => (h - 1 - y, w - 1 - x),
                        Orientation::Rotate270 => (y, w - 1 - x),
                    };
                    target[to_y * out_w + to_x] = source[y * w + x];
                }
            }
        }
    }
    Pixels::new(out_width, out_height, N, out)
}
