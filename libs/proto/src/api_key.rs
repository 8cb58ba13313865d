//! The text of an API key, and what is stored of it.
//!
//! `mmk_` + id (22) + secret (43) + checksum (6), each in base 62 with leading zeros: letters and
//! digits only, so that a double click selects all of it, and a prefix and a checksum, so that
//! scanners find leaked keys and a typing error is seen without asking anybody.
//!
//! The secret is 32 random bytes. A slow password hash would add nothing to 256 bits of entropy, so
//! SHA-256 of it is what is stored and compared, in constant time.

use std::{fmt, str::FromStr};

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::ApiKeyId;

/// What every API key begins with.
pub const PREFIX: &str = "mmk_";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of 16, 32 and 4 bytes in base 62.
const ID_DIGITS: usize = 22;
const SECRET_DIGITS: usize = 43;
const CHECKSUM_DIGITS: usize = 6;
/// Length of a key's text.
const TEXT_BYTES: usize = PREFIX.len() + ID_DIGITS + SECRET_DIGITS + CHECKSUM_DIGITS;

/// An API key with its secret. `Debug` shows the id only.
#[derive(Clone)]
pub struct ApiKeySecret {
    id: ApiKeyId,
    secret: [u8; 32],
}

/// A text that is no API key: cut, mistyped, or something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key: one is `mmk_` and 71 letters and digits with a matching checksum")]
pub struct InvalidApiKey;

impl ApiKeySecret {
    /// Makes a new key.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            id: ApiKeyId::generate(),
            secret: rand::rng().random(),
        }
    }

    /// The id, which is no secret.
    #[must_use]
    pub fn id(&self) -> ApiKeyId {
        self.id
    }

    /// SHA-256 of the secret: what is stored.
    #[must_use]
    pub fn secret_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// The text a caller sends.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut text = String::with_capacity(TEXT_BYTES);
        text.push_str(PREFIX);
        encode(self.id.0.as_bytes(), ID_DIGITS, &mut text);
        encode(&self.secret, SECRET_DIGITS, &mut text);
        let checksum = crc32fast::hash(text.as_bytes());
        encode(&checksum.to_be_bytes(), CHECKSUM_DIGITS, &mut text);
        text
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeySecret")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl FromStr for ApiKeySecret {
    type Err = InvalidApiKey;

    fn from_str(text: &str) -> Result<Self, InvalidApiKey> {
        if text.len() != TEXT_BYTES || !text.starts_with(PREFIX) || !text.is_ascii() {
            return Err(InvalidApiKey);
        }
        let (signed, checksum) = text.split_at(TEXT_BYTES - CHECKSUM_DIGITS);
        let (id, secret) = signed[PREFIX.len()..].split_at(ID_DIGITS);
        let checksum = u32::from_be_bytes(decode(checksum)?);
        if checksum != crc32fast::hash(signed.as_bytes()) {
            return Err(InvalidApiKey);
        }
        Ok(Self {
            id: ApiKeyId(Uuid::from_bytes(decode(id)?)),
            secret: decode(secret)?,
        })
    }
}

/// Returns whether two hashes of secrets are equal, in a time that does not tell where they differ.
#[must_use]
pub fn same_secret(stored: &[u8], given: &[u8]) -> bool {
    stored.ct_eq(given).into()
}

/// Appends `bytes`, a big-endian number, as `digits` digits of base 62.
fn encode(bytes: &[u8], digits: usize, out: &mut String) {
    let mut number = bytes.to_vec();
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("the rest is below 62, so this is below 256");
            rest = value % 62;
        }
        *digit = ALPHABET[rest as usize];
    }
    debug_assert!(number.iter().all(|byte| *byte == 0), "too few digits");
    out.extend(text.iter().map(|digit| char::from(*digit)));
}

/// Reads a number of base 62 into exactly `N` bytes.
fn decode<const N: usize>(text: &str) -> Result<[u8; N], InvalidApiKey> {
    let mut number = [0_u8; N];
    for digit in text.bytes() {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'Z' => digit - b'A' + 10,
            b'a'..=b'z' => digit - b'a' + 36,
            _ => return Err(InvalidApiKey),
        };
        let mut carry = u32::from(digit);
        for byte in number.iter_mut().rev() {
            carry += u32::from(*byte) * 62;
            *byte = u8::try_from(carry & 0xff).expect("one byte is left");
            carry >>= 8;
        }
        if carry != 0 {
            return Err(InvalidApiKey);
        }
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_survives_its_text() {
        for _ in 0..100 {
            let key = ApiKeySecret::generate();
            let text = key.reveal();
            assert_eq!(text.len(), TEXT_BYTES);
            let read: ApiKeySecret = text.parse().unwrap();
            assert_eq!(read.id(), key.id());
            assert_eq!(read.secret_sha256(), key.secret_sha256());
        }
        let extremes = [[0; 32], [255; 32]];
        for secret in extremes {
            let id = ApiKeyId(Uuid::from_bytes([255; 16]));
            let text = ApiKeySecret { id, secret }.reveal();
            assert_eq!(text.parse::<ApiKeySecret>().unwrap().secret, secret);
        }
    }

    #[test]
    fn any_wrong_character_is_seen_without_asking() {
        let text = ApiKeySecret::generate().reveal();
        for at in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(wrong.parse::<ApiKeySecret>().is_err(), "{wrong}");
        }
        for wrong in [
            "",
            "mmk_",
            &text[1..],
            &format!("{text}0"),
            &"\u{e9}".repeat(40),
        ] {
            assert!(wrong.parse::<ApiKeySecret>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_by_mistake_holds_no_secret() {
        let key = ApiKeySecret::generate();
        let shown = format!("{key:?}");
        assert!(!shown.contains(&key.reveal()[26..40]), "{shown}");
    }

    #[test]
    fn hashes_differ_unless_they_are_equal() {
        assert!(same_secret(&[1; 32], &[1; 32]));
        assert!(!same_secret(&[1; 32], &[2; 32]));
        assert!(!same_secret(&[1; 32], &[1; 31]));
    }
}
