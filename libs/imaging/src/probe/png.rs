//! Walking the PNG chunks up to the pixels.

use super::{Facts, be32};
use crate::error::{Error, Result};

const TYPE: &str = "image/png";

/// Reads IHDR and the chunks before IDAT.
///
/// Errors: `Truncated` if the data ends before IDAT, `Corrupt` if IHDR is not first.
/// Source: PNG third edition (W3C 2025), sections 5.3 and 11.
pub(super) fn facts(bytes: &[u8]) -> Result<Facts> {
    let truncated = || Error::Truncated { content_type: TYPE };
    if bytes.len() < 8 + 8 + 13 {
        return Err(truncated());
    }
    if &bytes[12..16] != b"IHDR" {
        return Err(Error::Corrupt {
            content_type: TYPE,
            detail: "first chunk is not IHDR".to_owned(),
        });
    }
    let mut facts = Facts {
        width: be32(bytes, 16).ok_or_else(truncated)?,
        height: be32(bytes, 20).ok_or_else(truncated)?,
        frames: 1,
        has_alpha: matches!(bytes[25], 4 | 6),
        ..Facts::default()
    };
    let mut at = 8;
    loop {
        let length = be32(bytes, at).ok_or_else(truncated)? as usize;
        match bytes.get(at + 4..at + 8).ok_or_else(truncated)? {
            b"IDAT" | b"IEND" => return Ok(facts),
            b"tRNS" => facts.has_alpha = true,
            b"iCCP" => facts.has_icc = true,
            b"acTL" => facts.frames = be32(bytes, at + 8).ok_or_else(truncated)?.max(1),
            _ => {}
        }
        at = at.saturating_add(length).saturating_add(12);
        if at > bytes.len() {
            // A bomb need not carry pixels: its size is known, so let the limits speak first.
            return if facts.width > 0 {
                Ok(facts)
            } else {
                Err(truncated())
            };
        }
    }
}
