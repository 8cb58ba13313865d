//! Identity tokens: JSON Web Tokens in compact form, signed with HMAC-SHA256.
//!
//! Source: RFC 7515 (JWS), RFC 7518 section 3.2 (HS256), RFC 7519 (claims `iss`, `sub`, `iat`,
//! `exp`), RFC 8693 section 4.2 (`scope`). `tid` is the tenant.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue};
use ring::hmac;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::key_ring::KeyRing;
use super::{Identity, Scopes};

const ISSUER: &str = "mediamesh";
/// Longest token that is looked at, bytes: ours have about 350.
pub(super) const MAX_TOKEN_BYTES: usize = 4096;

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    tid: Uuid,
    scope: String,
    iat: u64,
    exp: u64,
}

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64 with the claims in the middle.
    #[error("identity token is malformed")]
    Malformed,
    /// None of our keys made it.
    #[error(
        "identity token is signed with the key {key_id:?}, which is not in identity.signing_keys"
    )]
    UnknownKey {
        /// What the token says, shortened.
        key_id: String,
    },
    /// It was changed, or made with another secret under the same id.
    #[error("signature of the identity token does not match")]
    BadSignature,
    /// Its time is over.
    #[error("identity token expired {ago_secs} s ago")]
    Expired {
        /// Since when.
        ago_secs: u64,
    },
    /// Its time has not come: a clock is wrong.
    #[error("identity token is from {ahead_secs} s in the future: clocks differ")]
    NotYetValid {
        /// How far.
        ahead_secs: u64,
    },
}

/// Header of a token, by itself.
///
/// Not `authorization`: that one HTTP/2 stacks never keep in their compression table, so that each call
/// would carry, encode and decode some 350 bytes; this one costs a byte once it was sent on a connection.
/// What the table is kept from are secrets that can be guessed piece by piece (RFC 7541, 7.1.3).
pub static MEDIAMESH_IDENTITY: HeaderName = HeaderName::from_static("mediamesh-identity");

/// A token that is used for calls, and until when.
pub(crate) struct Sealed {
    pub(super) header: HeaderValue,
    /// Seconds since the epoch.
    pub(super) renew_at: u64,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the token, which lets in whoever holds it.
        f.debug_struct("Sealed")
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

impl Sealed {
    /// Passes a token on that came in, while it has half of a token's life left.
    pub(super) fn forward(
        token: &str,
        expires: u64,
        ttl: Duration,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        Ok(Self {
            header: HeaderValue::try_from(token)?,
            renew_at: expires.saturating_sub(ttl.as_secs() / 2),
        })
    }
}

/// What a good token says.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) identity: Identity,
    /// Seconds since the epoch.
    pub(super) expires: u64,
}

impl KeyRing {
    /// Makes a token for `identity` at `now`, seconds since the epoch.
    pub(super) fn seal(&self, identity: &Identity, now: u64) -> Sealed {
        let ring = &self.inner;
        let key = &ring.keys[0];
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: identity.subject.clone(),
            tid: identity.tenant_id,
            scope: identity.scopes.to_string(),
            iat: now,
            exp: now + ring.ttl.as_secs(),
        };
        let claims = serde_json::to_vec(&claims).expect("strings and numbers always serialise");
        let mut token = format!("{}.{}", key.header, URL_SAFE_NO_PAD.encode(claims));
        let mac = hmac::sign(&key.hmac, token.as_bytes());
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(mac.as_ref()));
        Sealed {
            header: HeaderValue::try_from(token).expect("base64 and dots are a header value"),
            renew_at: now + ring.ttl.as_secs() / 2,
        }
    }

    /// Verifies a token at `now`, seconds since the epoch.
    pub(super) fn open(&self, token: &str, now: u64) -> Result<Verified, TokenError> {
        let ring = &self.inner;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signed, mac) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let key = ring.keys.iter().find(|key| key.header == header);
        let key = key.ok_or_else(|| unknown_key(header))?;
        let decode = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| TokenError::Malformed)
        };
        // in constant time, and before anything in it is believed
        hmac::verify(&key.hmac, signed.as_bytes(), &decode(mac)?)
            .map_err(|_| TokenError::BadSignature)?;
        let claims: Claims =
            serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)?;
        if claims.iss != ISSUER {
            return Err(TokenError::Malformed);
        }
        let skew = ring.skew.as_secs();
        if now >= claims.exp.saturating_add(skew) {
            return Err(TokenError::Expired {
                ago_secs: now - claims.exp,
            });
        }
        if claims.iat > now.saturating_add(skew) {
            return Err(TokenError::NotYetValid {
                ahead_secs: claims.iat - now,
            });
        }
        Ok(Verified {
            identity: Identity {
                tenant_id: claims.tid,
                subject: claims.sub,
                scopes: Scopes::parse(&claims.scope),
            },
            expires: claims.exp,
        })
    }
}

/// Names the key for whoever must mend the configuration.
fn unknown_key(header: &str) -> TokenError {
    #[derive(Deserialize)]
    struct Header {
        kid: String,
    }
    let decoded = URL_SAFE_NO_PAD.decode(header).ok();
    match decoded.and_then(|json| serde_json::from_slice::<Header>(&json).ok()) {
        Some(Header { kid }) => TokenError::UnknownKey {
            key_id: kid.chars().take(32).collect(),
        },
        None => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests;
