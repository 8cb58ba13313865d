//! Bounds on what a status carries.
//!
//! A status travels in trailers, its message twice: percent-encoded, and in the details in base64.
//! A peer that is sent a longer header list than it takes, 16 KiB with most, fails the call or the
//! whole connection with every other call on it. So an answer never grows with the request it is
//! about: with these bounds its trailers stay below [`MAX_TRAILER_BYTES`].

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// Most that the trailers of a status take in all, bytes.
pub const MAX_TRAILER_BYTES: usize = 8 * 1024;
/// Most field violations of a status, the one that counts the left out included.
pub const MAX_VIOLATIONS: usize = 16;
/// Longest message, bytes.
const MAX_MESSAGE_BYTES: usize = 1024;
/// Longest name of a field or thing, bytes.
pub(super) const MAX_NAME_BYTES: usize = 128;
/// Longest description or value, bytes.
pub(super) const MAX_TEXT_BYTES: usize = 256;
/// Most that the violations take together, bytes.
const MAX_VIOLATIONS_BYTES: usize = 1024;
/// Room for "and 18446744073709551615 more".
const COUNT_BYTES: usize = 32;
/// Most that the values of the message take together, bytes.
const MAX_METADATA_BYTES: usize = 512;

/// Makes a status whose message and details are cut to the bounds; what is left out is counted.
#[must_use]
pub fn bounded(code: Code, message: &str, mut details: ErrorDetails) -> Status {
    if let Some(info) = details.error_info().cloned() {
        let reason = clipped(&info.reason, MAX_NAME_BYTES);
        let domain = clipped(&info.domain, MAX_NAME_BYTES);
        details.set_error_info(reason, domain, metadata(info.metadata));
    }
    if let Some(request) = details.bad_request().cloned() {
        let count = request.field_violations.len();
        details.set_bad_request(violations(request.field_violations, count));
    }
    if let Some(resource) = details.resource_info().cloned() {
        details.set_resource_info(
            clipped(&resource.resource_type, MAX_NAME_BYTES),
            clipped(&resource.resource_name, MAX_NAME_BYTES),
            "",
            clipped(&resource.description, MAX_TEXT_BYTES),
        );
    }
    Status::with_error_details(code, clipped(message, MAX_MESSAGE_BYTES), details)
}

/// The first violations that fit; of `count` in all the rest is counted by the last. What this
/// returned fits, so that a status may pass here twice.
pub(super) fn violations(found: Vec<FieldViolation>, count: usize) -> Vec<FieldViolation> {
    let bytes = |one: &FieldViolation| one.field.len() + one.description.len();
    let clip = |one: FieldViolation| {
        FieldViolation::new(
            clipped(&one.field, MAX_NAME_BYTES),
            clipped(&one.description, MAX_TEXT_BYTES),
        )
    };
    let first = found.into_iter().take(MAX_VIOLATIONS);
    let mut kept: Vec<FieldViolation> = first.map(clip).collect();
    if kept.len() == count && kept.iter().map(bytes).sum::<usize>() <= MAX_VIOLATIONS_BYTES {
        return kept;
    }
    kept.truncate(MAX_VIOLATIONS - 1);
    let mut room = MAX_VIOLATIONS_BYTES - COUNT_BYTES;
    let fitting = kept.iter().map_while(|one| {
        room = room.checked_sub(bytes(one))?;
        Some(())
    });
    let fitting = fitting.count();
    kept.truncate(fitting);
    kept.push(FieldViolation::new(
        "",
        format!("and {} more", count - fitting),
    ));
    kept
}

/// The values that fit, by name, so that the same ones are kept each time.
fn metadata(values: HashMap<String, String>) -> HashMap<String, String> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable();
    let mut room = MAX_METADATA_BYTES;
    let clip = |(key, value): (String, String)| {
        let value = clipped(&value, MAX_TEXT_BYTES);
        room = room.checked_sub(key.len() + value.len())?;
        Some((key, value))
    };
    values.into_iter().map_while(clip).collect()
}

/// The text, or its beginning and an ellipsis.
pub(super) fn clipped(text: &str, max_bytes: usize) -> String {
    const ELLIPSIS: &str = "...";
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let kept = &text[..text.floor_char_boundary(max_bytes - ELLIPSIS.len())];
    format!("{kept}{ELLIPSIS}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderMap;

    use super::*;
    use crate::{
        Error, ErrorKind, ErrorReason,
        status::{Violations, reason_of},
    };

    /// As HTTP/2 counts it. Source: RFC 9113, section 6.5.2.
    fn trailer_bytes(status: &Status) -> usize {
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        trailers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum()
    }

    fn wrong_ids(count: usize, id: &str) -> Status {
        let mut violations = Violations::new();
        for index in 0..count {
            let field = format!("media_item_ids[{index}]");
            violations.add(field, format!("{id:?} is not an id"));
        }
        violations.finish().unwrap_err().into()
    }

    #[test]
    fn a_request_with_ten_thousand_wrong_fields_is_answered_within_the_trailers() {
        for id in ["x", &"x".repeat(500), &"\u{1f4f7}%".repeat(100)] {
            let status = wrong_ids(10_000, id);
            let bytes = trailer_bytes(&status);
            assert!(bytes < MAX_TRAILER_BYTES, "{bytes} bytes");
            let again = bounded(status.code(), status.message(), status.get_error_details());
            assert_eq!(again.details(), status.details());
            let violations = status.get_details_bad_request().unwrap().field_violations;
            assert!(violations.len() <= MAX_VIOLATIONS, "{violations:?}");
            assert_eq!(violations[0].field, "media_item_ids[0]");
            let told = violations.len() - 1;
            let more = format!("and {} more", 10_000 - told);
            assert_eq!(violations[told].description, more);
            assert_eq!(reason_of(&status), Some(ErrorReason::InvalidField));
        }
        let message = wrong_ids(10_000, "x").message().to_owned();
        assert!(message.ends_with("(and 9999 more)"), "{message}");
    }

    #[test]
    fn everything_long_at_once_stays_within_the_trailers() {
        let long = "\u{1f4f7}\n".repeat(4_000);
        let mut error = Error::new(ErrorKind::NotFound, ErrorReason::JobNotFound, long.clone())
            .meta("jobId", &long)
            .meta("a", &long)
            .meta("b", &long)
            .resource("mediamesh.media.v1.Job", &long)
            .retry_after(std::time::Duration::MAX);
        for _ in 0..100 {
            error = error.violation(long.clone(), long.clone());
        }
        let bytes = trailer_bytes(&error.into());
        assert!(bytes < MAX_TRAILER_BYTES, "{bytes} bytes");
    }

    #[test]
    fn what_fits_is_told_whole() {
        let status = wrong_ids(3, "x");
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations.len(), 3);
        assert_eq!(violations[2].description, "\"x\" is not an id");
        let violations = wrong_ids(MAX_VIOLATIONS, "x")
            .get_details_bad_request()
            .unwrap()
            .field_violations;
        assert_eq!(violations.len(), MAX_VIOLATIONS);
        assert_eq!(violations[15].field, "media_item_ids[15]");
    }
}
