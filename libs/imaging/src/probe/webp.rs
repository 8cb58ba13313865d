//! Walking the RIFF chunks of a WebP.

use super::{Facts, le16, le32};
use crate::error::{Error, Result};
use crate::limits::Limits;

const TYPE: &str = "image/webp";

/// Reads size and flags of the first chunk and counts frames, stopping once past `limits.max_frames`.
///
/// Errors: `Truncated` if the file says it is longer than `bytes`, `Corrupt` if the first chunk is unknown.
/// Source: RFC 9649, section 2.
pub(super) fn facts(bytes: &[u8], limits: &Limits) -> Result<Facts> {
    let truncated = || Error::Truncated { content_type: TYPE };
    let corrupt = |detail: &str| Error::Corrupt {
        content_type: TYPE,
        detail: detail.to_owned(),
    };
    let mut facts = Facts {
        frames: 1,
        ..Facts::default()
    };
    let extended = match bytes.get(12..16).ok_or_else(truncated)? {
        b"VP8 " => {
            facts.width = u32::from(le16(bytes, 26).ok_or_else(truncated)? & 0x3fff);
            facts.height = u32::from(le16(bytes, 28).ok_or_else(truncated)? & 0x3fff);
            false
        }
        b"VP8L" => {
            let bits = le32(bytes, 21).ok_or_else(truncated)?;
            facts.width = (bits & 0x3fff) + 1;
            facts.height = (bits >> 14 & 0x3fff) + 1;
            facts.has_alpha = bits >> 28 & 1 == 1;
            false
        }
        b"VP8X" => {
            let flags = *bytes.get(20).ok_or_else(truncated)?;
            facts.has_icc = flags & 0x20 != 0;
            facts.has_alpha = flags & 0x10 != 0;
            // 24-bit sizes; the fourth byte read belongs to the next field.
            facts.width = (le32(bytes, 24).ok_or_else(truncated)? & 0xff_ffff) + 1;
            facts.height = (u32::from(le16(bytes, 27).ok_or_else(truncated)?)
                | u32::from(*bytes.get(29).ok_or_else(truncated)?) << 16)
                + 1;
            flags & 0x02 != 0
        }
        _ => return Err(corrupt("first chunk is not an image")),
    };
    // Sizes before completeness, so that a bomb is named as one.
    limits.check_size(facts.width, facts.height)?;
    let stated = le32(bytes, 4).ok_or_else(truncated)? as usize;
    if stated.saturating_add(8) > bytes.len() {
        return Err(truncated());
    }
    if extended {
        facts.frames = count_frames(bytes, limits.max_frames).max(1);
    }
    Ok(facts)
}

fn count_frames(bytes: &[u8], max_frames: u32) -> u32 {
    let (mut at, mut frames) = (12usize, 0);
    while frames <= max_frames {
        let (Some(name), Some(length)) = (bytes.get(at..at + 4), le32(bytes, at + 4)) else {
            break;
        };
        frames += u32::from(name == b"ANMF");
        // Chunks are padded to even lengths.
        at = at
            .saturating_add(8)
            .saturating_add(length as usize)
            .saturating_add(length as usize & 1);
    }
    frames
}
