//! Walking the JPEG markers up to the first scan.

use super::{Facts, be16};
use crate::error::{Error, Result};

const TYPE: &str = "image/jpeg";

/// What the segments before the first scan say.
///
/// Source: ITU-T T.81 annex B; Adobe technical note 5116 for APP14; ICC.1 annex B.4 for APP2.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Header {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// 1 grey, 3 colour, 4 CMYK or YCCK.
    pub(crate) components: u8,
    /// Samples of all components in a minimum coded unit, and those of the finest component alone.
    sampling: (u64, u64),
    /// Bits per sample.
    pub(crate) precision: u8,
    pub(crate) progressive: bool,
    pub(crate) lossless: bool,
    /// An Adobe marker, whose writers store CMYK inverted.
    pub(crate) adobe: bool,
    pub(crate) has_icc: bool,
    /// Offset of the first scan.
    pub(crate) scan_start: usize,
}

impl Header {
    /// Walks the segments.
    ///
    /// Errors: `Truncated` if the data ends before the first scan, `Corrupt` if no frame header precedes it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let truncated = || Error::Truncated { content_type: TYPE };
        let corrupt = |detail: &str| Error::Corrupt {
            content_type: TYPE,
            detail: detail.to_owned(),
        };
        let mut header = Header::default();
        let mut at = 2;
        loop {
            // Fill bytes and stray data before a marker are allowed for, as decoders do.
            while *bytes.get(at).ok_or_else(truncated)? != 0xff {
                at += 1;
            }
            while *bytes.get(at).ok_or_else(truncated)? == 0xff {
                at += 1;
            }
            let marker = bytes[at];
            at += 1;
            match marker {
                0x00 | 0x01 | 0xd0..=0xd8 => continue,
                0xd9 => return Err(corrupt("image ends before it begins")),
                _ => {}
            }
            let length = usize::from(be16(bytes, at).ok_or_else(truncated)?);
            if length < 2 {
                return Err(corrupt("segment is shorter than its length field"));
            }
            let body = bytes.get(at + 2..at + length).ok_or_else(truncated)?;
            match marker {
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                    header.frame(marker, body)?
                }
                0xe2 => header.has_icc |= body.starts_with(b"ICC_PROFILE\0"),
                0xee => header.adobe |= body.starts_with(b"Adobe"),
                0xda if header.components == 0 => return Err(corrupt("scan without frame header")),
                0xda => {
                    header.scan_start = at;
                    return Ok(header);
                }
                _ => {}
            }
            at += length;
        }
    }

    fn frame(&mut self, marker: u8, body: &[u8]) -> Result<()> {
        let &[precision, h1, h0, w1, w0, components, ..] = body else {
            return Err(Error::Corrupt {
                content_type: TYPE,
                detail: "frame header is too short".to_owned(),
            });
        };
        self.precision = precision;
        self.height = u32::from(u16::from_be_bytes([h1, h0]));
        self.width = u32::from(u16::from_be_bytes([w1, w0]));
        self.components = components;
        let factors = body[6..].chunks_exact(3).take(usize::from(components));
        let (mut all, mut wide, mut high) = (0, 1, 1);
        for [h, v] in factors.map(|c| [u64::from(c[1] >> 4), u64::from(c[1] & 15)]) {
            (all, wide, high) = (all + h * v, wide.max(h), high.max(v));
        }
        self.sampling = (all, wide * high);
        self.progressive = matches!(marker, 0xc2 | 0xc6 | 0xca | 0xce);
        self.lossless = matches!(marker, 0xc3 | 0xc7 | 0xcb | 0xcf);
        Ok(())
    }

    /// Memory of the whole image's coefficients: two bytes a sample, fewer samples where colour is stored coarser.
    pub(crate) fn coefficient_bytes(&self) -> u64 {
        let (all, finest) = self.sampling;
        u64::from(self.width) * u64::from(self.height) * 2 * all / finest.max(1)
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts {
            width: self.width,
            height: self.height,
            frames: 1,
            has_icc: self.has_icc,
            ..Facts::default()
        }
    }
}
