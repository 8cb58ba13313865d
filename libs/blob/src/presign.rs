//! Addresses that let others read or write one object for a while, without credentials of their own.

use std::time::Duration;

use http::{HeaderValue, Method, header::CONTENT_TYPE};
use object_store::signer::SignedUrlOptions;

use crate::{
    error::{Error, Result},
    store::{BlobStore, parse},
};

/// How long an address holds unless said otherwise (S4-18).
pub const DEFAULT_EXPIRY: Duration = Duration::from_secs(3600);
/// Longest that an address can hold.
///
/// Source: Amazon S3 user guide, signature version 4 of query strings, read 2026-11.
pub const MAX_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);

/// What an address allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresignedMethod<'a> {
    /// Reading the object.
    Get,
    /// Writing the object, with this content type and no other if there is one.
    Put {
        /// What the writer has to send as `content-type`.
        content_type: Option<&'a str>,
    },
}

/// An address that allows one thing for a while. Whoever has it may do it: it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Presigned {
    /// The address.
    pub url: String,
    /// How long it holds from now on.
    pub expires_in: Duration,
}

impl std::fmt::Debug for Presigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = self.url.split('?').next().unwrap_or_default();
        write!(f, "Presigned({open}?..., {:?})", self.expires_in)
    }
}

impl BlobStore {
    /// Signs an address of the object under `key`; the server is not asked, so it need not be there.
    ///
    /// What is written by such an address is neither limited in size nor hashed on the way.
    /// Errors: `CannotSign` for local files and memory, `InvalidExpiry`, `Denied` or `Backend` if
    /// there are no credentials.
    pub async fn presign(
        &self,
        method: PresignedMethod<'_>,
        key: &str,
        expires_in: Duration,
    ) -> Result<Presigned> {
        let path = parse(key)?;
        let Some(bucket) = &self.bucket else {
            let backend = match self.local_root {
                Some(_) => "storage in local files",
                None => "storage in memory",
            };
            return Err(Error::CannotSign { backend });
        };
        if expires_in < Duration::from_secs(1) || expires_in > MAX_EXPIRY {
            return Err(Error::InvalidExpiry {
                secs: expires_in.as_secs(),
                limit_secs: MAX_EXPIRY.as_secs(),
            });
        }
        let mut options = SignedUrlOptions::default();
        let verb = match method {
            PresignedMethod::Get => Method::GET,
            PresignedMethod::Put { content_type } => {
                if let Some(text) = content_type {
                    let value = HeaderValue::from_str(text)
                        .map_err(|error| Error::from_source(Box::new(error)))?;
                    options = options.with_signed_header(CONTENT_TYPE, value);
                }
                Method::PUT
            }
        };
        let signed = bucket.0.signed_url_opts(verb, &path, expires_in, &options);
        let url = signed
            .await
            .map_err(|error| Error::from_backend(key, error))?;
        Ok(Presigned {
            url: url.into(),
            expires_in,
        })
    }
}
