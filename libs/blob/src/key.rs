//! The keys of originals and renditions.
//!
//! A key holds the SHA-256 (so that files spread evenly and can be checked by hand) **and** the
//! item's id. With the hash alone, removing an item's bytes could race with a new upload of the
//! same bytes and take them away; a key with the id is never used twice.

use std::fmt::Display;

/// First part of every key that [`crate::Writer`] uses before bytes are published.
pub const STAGING: &str = "staging";

/// Returns the key of an original: `<tenant>/originals/ab/cd/<sha256>.<id>`.
#[must_use]
pub fn original(tenant: impl Display, sha256: &[u8; 32], id: impl Display) -> String {
    format!("{tenant}/originals/{}", stem(sha256, id))
}

/// Returns the key of a rendition; the same for the same item and name, always.
///
/// Square thumbnails (`thumb_300`) lie at `<tenant>/thumbnails/<stem>-300w.<extension>`, all others
/// at `<tenant>/renditions/<stem>-<name>.<extension>`.
#[must_use]
pub fn rendition(
    tenant: impl Display,
    sha256: &[u8; 32],
    id: impl Display,
    name: &str,
    extension: &str,
) -> String {
    let stem = stem(sha256, id);
    match name.strip_prefix("thumb_") {
        Some(side) => format!("{tenant}/thumbnails/{stem}-{side}w.{extension}"),
        None => format!("{tenant}/renditions/{stem}-{name}.{extension}"),
    }
}

/// `ab/cd/<sha256>.<id>`: two levels of 256 folders keep each below some thousand entries.
fn stem(sha256: &[u8; 32], id: impl Display) -> String {
    let hash = hex::encode(sha256);
    format!("{}/{}/{hash}.{id}", &hash[..2], &hash[2..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_deterministic_and_differ_by_item() {
        let hash = [0xab; 32];
        assert_eq!(
            original("t", &hash, 1),
            format!("t/originals/ab/ab/{}.1", "ab".repeat(32))
        );
        assert_ne!(original("t", &hash, 1), original("t", &hash, 2));
        let thumb = rendition("t", &hash, 1, "thumb_300", "jpg");
        assert_eq!(
            thumb,
            format!("t/thumbnails/ab/ab/{}.1-300w.jpg", "ab".repeat(32))
        );
        assert!(rendition("t", &hash, 1, "w320", "jpg").ends_with(".1-w320.jpg"));
    }
}
