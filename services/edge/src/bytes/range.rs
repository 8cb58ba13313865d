//! The `Range` header (RFC 9110, section 14).

use http::HeaderValue;

/// One range of bytes, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// From the first to the last byte, or to the end.
    From {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: Option<u64>,
    },
    /// The last bytes.
    Suffix(u64),
}

impl Range {
    /// Reads a header; `None` means the whole is answered, as the RFC wants it for malformed
    /// ranges and allows for several ranges.
    pub(crate) fn parse(header: &HeaderValue) -> Option<Self> {
        let (unit, range) = header.to_str().ok()?.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = range.trim().split_once('-')?;
        if first.is_empty() {
            return Some(Self::Suffix(digits(last)?));
        }
        let first = digits(first)?;
        let last = if last.is_empty() {
            None
        } else {
            Some(digits(last)?)
        };
        last.is_none_or(|last| first <= last)
            .then_some(Self::From { first, last })
    }

    /// Returns offset and length in a body of `size` bytes; `None` if not a byte of it exists.
    pub(crate) fn resolve(self, size: u64) -> Option<(u64, u64)> {
        match self {
            Self::From { first, .. } if first >= size => None,
            Self::From { first, last } => {
                let last = last.map_or(size - 1, |last| last.min(size - 1));
                Some((first, last - first + 1))
            }
            Self::Suffix(0) => None,
            Self::Suffix(_) if size == 0 => None,
            Self::Suffix(length) => {
                let length = length.min(size);
                Some((size - length, length))
            }
        }
    }
}

fn digits(text: &str) -> Option<u64> {
    // parse alone would take a sign
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // a number too large for us is a place behind the end like any other
    all.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(header: &'static str) -> Option<Option<(u64, u64)>> {
        Range::parse(&HeaderValue::from_static(header)).map(|range| range.resolve(100))
    }

    #[test]
    fn ranges_are_cut_to_the_size() {
        assert_eq!(resolve("bytes=0-9"), Some(Some((0, 10))));
        assert_eq!(resolve("bytes=90-"), Some(Some((90, 10))));
        assert_eq!(resolve("bytes=90-500"), Some(Some((90, 10))));
        assert_eq!(
            resolve("bytes=90-99999999999999999999999"),
            Some(Some((90, 10)))
        );
        assert_eq!(resolve("bytes=-10"), Some(Some((90, 10))));
        assert_eq!(resolve("bytes=-1000"), Some(Some((0, 100))));
        assert_eq!(resolve("Bytes=99-99"), Some(Some((99, 1))));
    }

    #[test]
    fn a_range_without_a_byte_cannot_be_satisfied() {
        assert_eq!(resolve("bytes=100-"), Some(None));
        assert_eq!(resolve("bytes=-0"), Some(None));
        assert_eq!(resolve("bytes=99999999999999999999999-"), Some(None));
    }

    #[test]
    fn a_malformed_or_multiple_range_is_no_range() {
        for header in [
            "bytes=",
            "bytes=-",
            "bytes=9-0",
            "bytes=a-b",
            "bytes=+1-2",
            "items=0-1",
        ] {
            assert_eq!(resolve(header), None, "{header}");
        }
        assert_eq!(resolve("bytes=0-1,5-6"), None);
    }
}
