//! The keys that sign identity tokens.
//!
//! The first key signs, all are believed. Rotation without a refused call: the new key is first
//! known everywhere, then signs everywhere, then the old one is removed everywhere, each step once
//! the tokens of the step before have expired.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use foldhash::fast::RandomState;
use http::HeaderValue;
use moka::sync::Cache;
use ring::hmac;
use serde_json::json;

use super::token::{MAX_TOKEN_BYTES, Sealed, TokenError, Verified};
use super::{Caller, Identity, Proof};

/// Least bytes of a secret: as many as the hash has (RFC 7518, 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// Most characters of a key's id: it stands in every token.
const MAX_ID_LEN: usize = 32;
/// Most good tokens remembered: some megabytes, and more than a process meets in a token's life.
const MAX_REMEMBERED: u64 = 10_000;

/// One signing key. `Debug` shows the id only.
#[derive(Clone)]
pub struct SigningKey {
    id: String,
    /// The first part of every token of this key. Tokens are matched to keys by it as a whole, so
    /// no header is ever parsed and no other algorithm can be asked for.
    pub(super) header: String,
    pub(super) hmac: hmac::Key,
}

/// Why a text is no signing key; never with the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSigningKey {
    /// No colon, or no good id before it.
    #[error(
        "must be `id:secret`, the id 1 to {MAX_ID_LEN} letters, digits, hyphens, dots and \
         underscores"
    )]
    Shape,
    /// The secret is no base64.
    #[error("has a secret that is no base64")]
    Encoding,
    /// The secret is too short to be safe.
    #[error("has a secret of {bytes} bytes; at least {MIN_SECRET_BYTES} are needed")]
    Short {
        /// How many it has.
        bytes: usize,
    },
}

impl SigningKey {
    fn new(id: &str, secret: &[u8]) -> Self {
        let header = json!({"alg": "HS256", "kid": id, "typ": "JWT"}).to_string();
        Self {
            id: id.to_owned(),
            header: URL_SAFE_NO_PAD.encode(header),
            hmac: hmac::Key::new(hmac::HMAC_SHA256, secret),
        }
    }

    /// Derives a key from another secret, which it does not reveal.
    pub(super) fn derive(secret: &[u8]) -> Self {
        let parent = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&parent, b"mediamesh identity token signing key");
        // Named after the secret, so that two folders' keys are told apart in an error.
        let named = hmac::sign(&parent, b"mediamesh identity token key id");
        let id = URL_SAFE_NO_PAD.encode(&named.as_ref()[..6]);
        Self::new(&format!("folder-{id}"), derived.as_ref())
    }

    /// A secret for something else than tokens, from which nobody gets back to this key.
    pub(super) fn secret(&self, purpose: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.hmac, purpose.as_bytes());
        let mut secret = [0; 32];
        secret.copy_from_slice(tag.as_ref());
        secret
    }

    /// The id, which is no secret.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl FromStr for SigningKey {
    type Err = InvalidSigningKey;

    fn from_str(text: &str) -> Result<Self, InvalidSigningKey> {
        let (id, secret) = text.split_once(':').ok_or(InvalidSigningKey::Shape)?;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !(1..=MAX_ID_LEN).contains(&id.len()) || !id.bytes().all(good) {
            return Err(InvalidSigningKey::Shape);
        }
        let secret = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
            .iter()
            .find_map(|engine| engine.decode(secret.trim()).ok())
            .ok_or(InvalidSigningKey::Encoding)?;
        if secret.len() < MIN_SECRET_BYTES {
            return Err(InvalidSigningKey::Short {
                bytes: secret.len(),
            });
        }
        Ok(Self::new(id, &secret))
    }
}

/// Signs and verifies identity tokens; clones share the keys.
#[derive(Debug, Clone)]
pub struct KeyRing {
    pub(super) inner: Arc<Ring>,
}

pub(super) struct Ring {
    /// Never empty; the first signs.
    pub(super) keys: Vec<SigningKey>,
    pub(super) ttl: Duration,
    pub(super) skew: Duration,
    /// For calls that are made for nobody.
    process: Caller,
    /// Good tokens, each with the whole of its text, and until when they are: a token comes with every
    /// call that is made for its caller.
    good: Cache<Box<str>, (Caller, u64), RandomState>,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the tokens, which let in whoever holds them.
        f.debug_struct("Ring")
            .field("keys", &self.keys)
            .field("ttl", &self.ttl)
            .field("skew", &self.skew)
            .finish_non_exhaustive()
    }
}

impl KeyRing {
    /// Returns a ring whose tokens live for `ttl`; clocks may differ by `skew`.
    ///
    /// # Panics
    /// If there is no key.
    pub fn new(keys: Vec<SigningKey>, ttl: Duration, skew: Duration) -> Self {
        assert!(!keys.is_empty(), "a key ring has at least one key");
        Self {
            inner: Arc::new(Ring {
                keys,
                ttl,
                skew,
                process: Caller::new(Identity::process(), Proof::Token),
                good: Cache::builder()
                    .max_capacity(MAX_REMEMBERED)
                    .time_to_live(ttl + skew)
                    .build_with_hasher(RandomState::default()),
            }),
        }
    }

    /// Returns the token for calls made for `caller`; with none, the process itself calls. The token
    /// is made once and again when half its life is over.
    pub fn token(&self, caller: Option<&Caller>) -> HeaderValue {
        let caller = caller.unwrap_or(&self.inner.process);
        let now = now();
        if let Some(sealed) = caller.sealed().load().as_deref()
            && now < sealed.renew_at
        {
            return sealed.header.clone();
        }
        let sealed = self.seal(caller.identity(), now);
        let header = sealed.header.clone();
        caller.sealed().store(Some(Arc::new(sealed)));
        header
    }

    /// Returns whose `token` it is; calls made for that caller carry the same token on, as long
    /// as it has enough life left.
    ///
    /// Errors: a token that is malformed, of an unknown key, changed, or out of its time.
    pub fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        let now = now();
        if token.len() <= MAX_TOKEN_BYTES
            && let Some((caller, expires)) = self.inner.good.get(token)
            && now < expires
        {
            return Ok(caller);
        }
        let Verified { identity, expires } = self.open(token, now)?;
        let caller = Caller::new(identity, Proof::Token);
        if let Ok(sealed) = Sealed::forward(token, expires, self.inner.ttl) {
            caller.sealed().store(Some(Arc::new(sealed)));
        }
        let remembered = (caller.clone(), expires);
        self.inner.good.insert(token.into(), remembered);
        Ok(caller)
    }
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
