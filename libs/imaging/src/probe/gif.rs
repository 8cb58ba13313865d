//! Walking the GIF blocks.

use super::{Facts, le16};
use crate::error::{Error, Result};
use crate::limits::Limits;

const TYPE: &str = "image/gif";

/// Reads the screen size and counts frames, stopping once past `limits.max_frames`.
///
/// Errors: `Truncated` if the data ends inside the header; a later cut only ends the count.
/// Source: GIF89a specification, sections 18 to 26.
pub(super) fn facts(bytes: &[u8], limits: &Limits) -> Result<Facts> {
    let truncated = || Error::Truncated { content_type: TYPE };
    let mut facts = Facts {
        width: u32::from(le16(bytes, 6).ok_or_else(truncated)?),
        height: u32::from(le16(bytes, 8).ok_or_else(truncated)?),
        ..Facts::default()
    };
    let flags = *bytes.get(10).ok_or_else(truncated)?;
    let at = 13 + color_table(flags);
    walk(bytes, at, limits.max_frames, &mut facts);
    Ok(facts)
}

/// Walks the blocks until the trailer, the end of data or too many frames; `None` is a cut, which is no fault here.
fn walk(bytes: &[u8], mut at: usize, max_frames: u32, facts: &mut Facts) -> Option<()> {
    while facts.frames <= max_frames {
        match *bytes.get(at)? {
            0x21 => {
                // Graphic control: bit 0 of its flags says that a colour is transparent.
                if bytes.get(at + 1) == Some(&0xf9) && bytes.get(at + 3)? & 1 == 1 {
                    facts.has_alpha = true;
                }
                facts.has_icc |= bytes.get(at + 3..at + 14) == Some(b"ICCRGBG1012");
                at = sub_blocks(bytes, at + 2)?;
            }
            0x2c => {
                facts.frames += 1;
                let flags = *bytes.get(at + 9)?;
                at = sub_blocks(bytes, at + 10 + color_table(flags) + 1)?;
            }
            _ => break,
        }
    }
    Some(())
}

/// Bytes of the colour table that `flags` announces.
fn color_table(flags: u8) -> usize {
    if flags & 0x80 == 0 {
        0
    } else {
        3 << ((flags & 7) + 1)
    }
}

/// Skips length-prefixed blocks up to and including the empty one.
fn sub_blocks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}
