//! What can be configured of identity.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key_ring::{KeyRing, SigningKey};

/// Who may call, and how services trust each other's word for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityOptions {
    /// Every call needs an API key. Needed to serve another address than loopback; on whenever
    /// there are `signing_keys`.
    pub required: bool,
    /// Keys that sign the identity tokens of calls between services, each `id:secret` with a
    /// secret of at least 32 bytes in base64 (`openssl rand -base64 32`). The first signs, all are
    /// believed; every process of a mesh must have the same. To rotate: add the new key at the
    /// end everywhere, then move it to the front everywhere, then remove the old one. When empty,
    /// processes on one data folder share a key derived from its secret.
    pub signing_keys: Vec<SigningKeyText>,
    /// Life of an identity token, seconds. It never leaves the mesh.
    pub token_ttl_secs: u64,
    /// Difference of two clocks that is forgiven, seconds.
    pub clock_skew_secs: u64,
    /// How long a server goes by what it found out about an API key, seconds: the longest that a
    /// revoked key is still taken.
    pub key_cache_secs: u64,
    /// How long it does while the media service cannot be asked, seconds.
    pub key_stale_secs: u64,
}

/// `id:secret`; `Debug` shows the id only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SigningKeyText(pub String);

impl fmt::Debug for SigningKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0.split_once(':').map_or("", |(id, _)| id);
        write!(f, "{id}:********")
    }
}

impl Default for IdentityOptions {
    fn default() -> Self {
        Self {
            required: false,
            signing_keys: Vec::new(),
            // longer than any unary call with all its hops and retries
            token_ttl_secs: 300,
            // NTP keeps clocks within milliseconds; this is a host that has just booted
            clock_skew_secs: 30,
            // one look-up per key, process and ten seconds costs nothing
            key_cache_secs: 10,
            // a restart of the media service goes unnoticed
            key_stale_secs: 60,
        }
    }
}

impl IdentityOptions {
    /// Returns whether calls need credentials.
    pub fn enabled(&self) -> bool {
        self.required || !self.signing_keys.is_empty()
    }

    /// Every fault of these settings, one sentence each; never a secret in it.
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut ids: Vec<String> = Vec::new();
        for (at, text) in self.signing_keys.iter().enumerate() {
            match text.0.parse::<SigningKey>() {
                Ok(key) if ids.iter().any(|id| id == key.id()) => faults.push(format!(
                    "identity.signing_keys[{at}] has the id {:?} of another key",
                    key.id()
                )),
                Ok(key) => ids.push(key.id().to_owned()),
                Err(error) => faults.push(format!("identity.signing_keys[{at}] {error}")),
            }
        }
        for (name, value, least, most) in [
            ("token_ttl_secs", self.token_ttl_secs, 60, 86_400),
            ("clock_skew_secs", self.clock_skew_secs, 0, 300),
            ("key_cache_secs", self.key_cache_secs, 1, 3_600),
            (
                "key_stale_secs",
                self.key_stale_secs,
                self.key_cache_secs,
                86_400,
            ),
        ] {
            if !(least..=most).contains(&value) {
                faults.push(format!(
                    "identity.{name} is {value}; it must be {least} to {most}"
                ));
            }
        }
        faults
    }

    /// Returns the keys that sign and verify tokens; `None` if calls need no credentials.
    ///
    /// `folder_secret` is the data folder's, from which a key is derived when none is configured.
    pub fn key_ring(&self, folder_secret: &[u8]) -> Option<KeyRing> {
        if !self.enabled() {
            return None;
        }
        Some(KeyRing::new(
            self.keys(folder_secret),
            Duration::from_secs(self.token_ttl_secs),
            Duration::from_secs(self.clock_skew_secs),
        ))
    }

    /// Returns secrets for `purpose` that every process of the mesh has: derived from the signing keys, in
    /// their order, or from `folder_secret` when there are none.
    pub fn secrets(&self, folder_secret: &[u8], purpose: &str) -> Vec<[u8; 32]> {
        let keys = self.keys(folder_secret);
        keys.iter().map(|key| key.secret(purpose)).collect()
    }

    fn keys(&self, folder_secret: &[u8]) -> Vec<SigningKey> {
        let configured = self.signing_keys.iter();
        let keys: Vec<SigningKey> = configured.filter_map(|text| text.0.parse().ok()).collect();
        match keys.is_empty() {
            true => vec![SigningKey::derive(folder_secret)],
            false => keys,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SigningKeyText {
        SigningKeyText(text.to_owned())
    }

    #[test]
    fn every_fault_is_listed_and_no_secret_is_shown() {
        assert_eq!(IdentityOptions::default().validate(), Vec::<String>::new());
        let good = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let options = IdentityOptions {
            signing_keys: vec![
                key(good),
                key(good),
                key("short:c2VjcmV0"),
                key("no colon"),
                key("b:not base64 of anything at all!!!!!!!!!!!!!!!!"),
            ],
            token_ttl_secs: 1,
            ..IdentityOptions::default()
        };
        let faults = options.validate();
        assert_eq!(faults.len(), 5, "{faults:#?}");
        let shown = format!("{faults:?} {options:?}");
        for secret in ["AAAA", "c2VjcmV0", "anything"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }

    #[test]
    fn a_key_or_the_switch_makes_it_required() {
        assert!(IdentityOptions::default().key_ring(b"x").is_none());
        for options in [
            IdentityOptions {
                required: true,
                ..IdentityOptions::default()
            },
            IdentityOptions {
                signing_keys: vec![key("a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")],
                ..IdentityOptions::default()
            },
        ] {
            assert!(options.enabled() && options.key_ring(b"x").is_some());
        }
    }

    #[test]
    fn processes_with_the_same_keys_have_the_same_secrets() {
        let options = |keys: &[&str]| IdentityOptions {
            signing_keys: keys.iter().map(|text| key(text)).collect(),
            ..IdentityOptions::default()
        };
        let first = "a:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        let second = "b:MTEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        let both = options(&[first, second]).secrets(b"one folder", "pages");
        assert_eq!(both, options(&[first, second]).secrets(b"another", "pages"));
        assert_eq!(both[1], options(&[second]).secrets(b"", "pages")[0]);
        assert_ne!(both[0], options(&[first]).secrets(b"", "links")[0]);
        let folder = |secret| options(&[]).secrets(secret, "pages");
        assert_eq!(folder(b"one"), folder(b"one"));
        assert_ne!(folder(b"one"), folder(b"two"));
    }
}
