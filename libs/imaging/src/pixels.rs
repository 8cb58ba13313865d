//! Plain pixel buffers.

/// An upright 8-bit RGB image, rows from the top without padding.
///
/// Shape: `data` is `height * width * 3` bytes, taken to be sRGB.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pixels, `R G B` interleaved.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for RgbImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({} x {})", self.width, self.height)
    }
}

/// A decoded image of three (RGB) or four (RGBA, straight alpha) channels.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pixels {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) channels: usize,
    /// `height * width * channels` bytes.
    pub(crate) data: Vec<u8>,
}

impl Pixels {
    pub(crate) fn new(width: u32, height: u32, channels: usize, data: Vec<u8>) -> Self {
        debug_assert!(channels == 3 || channels == 4);
        debug_assert_eq!(data.len(), width as usize * height as usize * channels);
        Pixels {
            width,
            height,
            channels,
            data,
        }
    }

    /// Lays the image on white if it has alpha; a plain move otherwise.
    pub(crate) fn into_rgb(self) -> RgbImage {
        let Pixels {
            width,
            height,
            channels,
            data,
        } = self;
        let data = if channels == 4 {
            flatten_on_white(&data)
        } else {
            data
        };
        RgbImage {
            width,
            height,
            data,
        }
    }

    /// As [`Self::into_rgb`], borrowing the bytes when there is nothing to flatten.
    pub(crate) fn rgb_bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        if self.channels == 4 {
            flatten_on_white(&self.data).into()
        } else {
            self.data.as_slice().into()
        }
    }

    /// Copies the pixels as RGBA, opaque where there is no alpha.
    pub(crate) fn to_rgba(&self) -> Vec<u8> {
        if self.channels == 4 {
            return self.data.clone();
        }
        self.data
            .as_chunks::<3>()
            .0
            .iter()
            .flat_map(|&[r, g, b]| [r, g, b, 255])
            .collect()
    }
}

fn flatten_on_white(rgba: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rgba.len() / 4 * 3);
    for &[r, g, b, a] in rgba.as_chunks::<4>().0 {
        let over =
            |c: u8| ((u32::from(c) * u32::from(a) + 255 * (255 - u32::from(a)) + 127) / 255) as u8;
        out.extend_from_slice(&[over(r), over(g), over(b)]);
    }
    out
}
