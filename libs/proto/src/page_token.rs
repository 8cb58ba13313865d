//! Opaque page tokens: base64url of version, a hash of the request's other fields, the sort key
//! and a MAC. A token grants nothing; every page is authorised anew.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{Error, ErrorKind, ErrorReason};

const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;
const SCOPE_BYTES: usize = 8;

/// Seals and opens page tokens with secrets of the deployment.
#[derive(Clone)]
pub struct PageTokens {
    /// The first seals, all open.
    keys: Arc<[[u8; 32]]>,
}

impl std::fmt::Debug for PageTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PageTokens")
    }
}

impl PageTokens {
    /// Uses `secret`, which all replicas of a service must share.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self::rotated([secret])
    }

    /// Seals with the first of `secrets` and opens what any of them sealed.
    #[must_use]
    pub fn rotated<S: AsRef<[u8]>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let keys = secrets.into_iter();
        Self {
            keys: keys.map(|it| Sha256::digest(it.as_ref()).into()).collect(),
        }
    }

    /// Seals a sort key for the request identified by `scope` (everything but the page token).
    #[must_use]
    pub fn seal<K: Serialize>(&self, scope: &[u8], sort_key: &K) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&Sha256::digest(scope)[..SCOPE_BYTES]);
        bytes.extend(serde_json::to_vec(sort_key).expect("sort keys are plain data"));
        let key = self.keys.first().expect("there is a secret");
        let mac = hmac(key, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&mac[..MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Opens a token sealed for the same `scope`; an empty token is the first page.
    ///
    /// Errors: `InvalidPageToken` if the token is malformed, forged or of another request.
    pub fn open<K: DeserializeOwned>(&self, scope: &[u8], token: &str) -> Result<Option<K>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        self.try_open(scope, token).map(Some).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                ErrorReason::InvalidPageToken,
                "page token is malformed or belongs to another request",
            )
            .violation(
                "page_token",
                "must be a token from the last answer to the same request",
            )
        })
    }

    fn try_open<K: DeserializeOwned>(&self, scope: &[u8], token: &str) -> Option<K> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signed, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
        self.keys
            .iter()
            .find(|key| hmac(key, signed).verify_truncated_left(mac).is_ok())?;
        let (version, rest) = signed.split_first()?;
        let (sealed_scope, sort_key) = rest.split_at_checked(SCOPE_BYTES)?;
        if *version != VERSION || sealed_scope != &Sha256::digest(scope)[..SCOPE_BYTES] {
            return None;
        }
        serde_json::from_slice(sort_key).ok()
    }
}

fn hmac(key: &[u8; 32], bytes: &[u8]) -> Hmac<Sha256> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    hmac.update(bytes);
    hmac
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn token_opens_only_unchanged_and_for_its_own_request() {
        let tokens = PageTokens::new(b"secret");
        let token = tokens.seal(b"folder=a", &(5_i64, "id"));
        let key: (i64, String) = tokens.open(b"folder=a", &token).unwrap().unwrap();
        assert_eq!(key, (5, "id".to_owned()));
        assert!(tokens.open::<(i64, String)>(b"folder=b", &token).is_err());
        assert!(
            PageTokens::new(b"other")
                .open::<(i64, String)>(b"folder=a", &token)
                .is_err()
        );
        for end in 0..token.len() {
            let cut = &token[..end];
            assert!(!matches!(
                tokens.open::<(i64, String)>(b"folder=a", cut),
                Ok(Some(_))
            ));
        }
        for text in ["%", "AAAA", "\u{e9}"] {
            assert!(tokens.open::<(i64, String)>(b"folder=a", text).is_err());
        }
    }

    #[test]
    fn a_rotation_of_secrets_breaks_no_token() {
        let before = PageTokens::new(b"old");
        let after = PageTokens::rotated(["new", "old"]);
        let of = |tokens: &PageTokens, token: &str| tokens.open::<i64>(b"", token).ok().flatten();
        assert_eq!(of(&after, &before.seal(b"", &5_i64)), Some(5));
        assert_eq!(of(&before, &after.seal(b"", &5_i64)), None);
    }
}
