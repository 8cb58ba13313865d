//! The id of a session, and what is stored of it.
//!
//! 32 random bytes, written as 64 lower-case hex digits: whoever has them is logged in. What is
//! stored is SHA-256 of the bytes, so that who reads the store cannot log in, and sessions are named
//! by the first half of that hash, the [`SessionHandle`].

use std::{fmt, str::FromStr};

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

/// Bytes of an id.
const ID_BYTES: usize = 32;
/// Bytes of a handle: enough that no two sessions ever share one.
const HANDLE_BYTES: usize = 16;
/// Digits of an id that logs show.
const SHOWN_DIGITS: usize = 8;

/// The id of a session, a secret. `Debug` and `Display` show the first 8 digits.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; ID_BYTES]);

/// A text that is no id of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a session: one is 64 lower-case hex digits")]
pub struct InvalidSessionId;

impl SessionId {
    /// Makes a new id.
    #[must_use]
    pub fn generate() -> Self {
        Self(rand::rng().random())
    }

    /// The text a caller sends.
    #[must_use]
    pub fn reveal(&self) -> String {
        hex(&self.0)
    }

    /// SHA-256 of the id: what proves possession inside of the mesh.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// The name of the session.
    #[must_use]
    pub fn handle(&self) -> SessionHandle {
        SessionHandle::of_hash(&self.sha256())
    }

    /// Bytes that only who has the id can make, for a purpose of their own.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}...", hex(&self.0[..SHOWN_DIGITS / 2]))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        unhex(text).map(Self).ok_or(InvalidSessionId)
    }
}

/// The name of a session, 32 lower-case hex digits; opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionHandle(pub [u8; HANDLE_BYTES]);

/// A text that is no handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the handle of a session: one is 32 lower-case hex digits")]
pub struct InvalidSessionHandle;

impl SessionHandle {
    /// The handle of the session whose id has this SHA-256.
    #[must_use]
    pub fn of_hash(sha256: &[u8; 32]) -> Self {
        let mut handle = [0; HANDLE_BYTES];
        handle.copy_from_slice(&sha256[..HANDLE_BYTES]);
        Self(handle)
    }
}

impl fmt::Display for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionHandle {
    type Err = InvalidSessionHandle;

    fn from_str(text: &str) -> Result<Self, InvalidSessionHandle> {
        unhex(text).map(Self).ok_or(InvalidSessionHandle)
    }
}

/// Writes bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads exactly as many lower-case hex digits as `N` bytes have.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_shows_eight_digits_of_it() {
        let id = SessionId::generate();
        let text = id.reveal();
        assert_eq!(text.len(), 64);
        assert_eq!(text.parse::<SessionId>().unwrap(), id);
        assert_ne!(SessionId::generate(), id);
        for shown in [format!("{id}"), format!("{id:?}")] {
            assert_eq!(shown, format!("{}...", &text[..8]));
        }
        let handle = id.handle().to_string();
        assert_eq!(handle.len(), 32);
        assert!(!text.contains(&handle));
        assert_eq!(handle.parse::<SessionHandle>().unwrap(), id.handle());
        assert_ne!(id.derive("a"), id.derive("b"));
    }

    #[test]
    fn nothing_else_is_an_id() {
        let text = SessionId::generate().reveal();
        let upper = format!("A{}", &text[1..]);
        let wide = "\u{e9}".repeat(32);
        for wrong in ["", &text[1..], &format!("{text}0"), &upper, &wide] {
            assert!(wrong.parse::<SessionId>().is_err(), "{wrong}");
        }
    }
}
