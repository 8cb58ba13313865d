//! Addresses that let others write or read one file for a while (S0-2, S4-18).
//!
//! The bucket signs where bytes lie in one, else we do: the last part of an address is a token that holds
//! what it allows (method, tenant, upload or item, size, type, end) and a MAC over all of it, which is
//! compared in constant time. A token of one kind opens nothing of another.
//!
//! What is put lies under a key of its own, which no row names: it becomes an item only by being
//! taken in again as any upload is, sniffed, measured and hashed. What is not completed is removed with
//! other bytes without a row (`media.worker.orphan_age_secs`); so is the mark that a completed upload
//! leaves, which makes it be completed once. An address and its token end before that.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use mediamesh_blob::{DEFAULT_EXPIRY, Error as BlobError, MAX_EXPIRY, PresignedMethod};
use mediamesh_mesh::Identity;
use mediamesh_proto::{MediaItemId, TenantId, page_token::PageTokens, time::now_micros};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    convert::request::{NewUpload, violation},
    error::{Error, Result},
    service::{Full, Service},
    upload::Upload,
};

/// Largest mark, bytes: it holds an id.
const MARK_BYTES: u64 = 64;

/// What an address to put to allows, as its token holds it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Put {
    tenant: Uuid,
    upload: Uuid,
    size: u64,
    content_type: String,
    /// Microseconds since the epoch.
    until: i64,
}

/// What is to become of what was put.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Completion {
    upload: Uuid,
    new: NewUpload,
    /// Microseconds since the epoch.
    until: i64,
}

/// What an address to get from allows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Get {
    /// Whose.
    pub tenant: Uuid,
    /// The item.
    pub item: Uuid,
    /// Empty = the original.
    pub rendition: String,
    /// Microseconds since the epoch.
    until: i64,
}

/// An address, until when it holds, and what goes with it.
pub struct Issued {
    /// Relative to the edge unless it has a scheme.
    pub url: String,
    /// Microseconds since the epoch.
    pub until: i64,
    /// For completing an upload.
    pub token: String,
}

/// The operations on addresses.
pub struct Presign {
    service: Arc<Service>,
    /// The first seals, all open: keys are rotated without an address that ends early.
    tokens: PageTokens,
    /// Uploads that are being put: nothing is put twice at once.
    under_way: Mutex<HashSet<Uuid>>,
}

/// Takes an upload out of those under way.
struct Turn<'a>(&'a Presign, Uuid);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().remove(&self.1);
    }
}

fn key(tenant: Uuid, upload: Uuid) -> String {
    format!("{tenant}/uploads/{upload}")
}

fn mark(tenant: Uuid, upload: Uuid) -> String {
    format!("{tenant}/uploads/{upload}.done")
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Presign {
    pub(crate) fn new(service: Arc<Service>, tokens: PageTokens) -> Self {
        Self {
            service,
            tokens,
            under_way: Mutex::default(),
        }
    }

    /// Longest life of an address to put to: as long again is left to complete it, and then its bytes go.
    fn longest(&self) -> Duration {
        Duration::from_secs(self.service.options.worker.orphan_age_secs / 2).min(MAX_EXPIRY)
    }

    fn seal<T: Serialize>(&self, scope: &[u8], what: &T) -> String {
        self.tokens.seal(scope, what)
    }

    fn open<T: serde::de::DeserializeOwned>(&self, scope: &str, token: &str) -> Result<T> {
        let opened = self.tokens.open(scope.as_bytes(), token);
        opened
            .ok()
            .flatten()
            .ok_or(Error::SignatureInvalid { expired: false })
    }

    /// Issues an address to put a file to.
    pub async fn upload(
        &self,
        tenant: TenantId,
        new: NewUpload,
        content_type: String,
        ttl: Option<Duration>,
    ) -> Result<Issued> {
        let ttl = life(ttl, self.longest())?;
        let Some(size) = new.size_bytes else {
            return Err(violation("size_bytes", "must be set"));
        };
        let limit_bytes = self.service.options.max_upload_bytes;
        if size > limit_bytes {
            return Err(Error::TooLarge {
                limit_bytes,
                size_bytes: Some(size),
            });
        }
        let put = Put {
            tenant: tenant.0,
            upload: Uuid::now_v7(),
            size,
            content_type,
            until: now_micros().saturating_add(micros(ttl)),
        };
        let until = put.until.saturating_add(micros(self.longest()));
        let completion = Completion {
            upload: put.upload,
            new,
            until,
        };
        let token = self.seal(complete_scope(tenant).as_bytes(), &completion);
        let method = PresignedMethod::Put {
            content_type: Some(put.content_type.as_str()).filter(|text| !text.is_empty()),
        };
        let key = key(tenant.0, put.upload);
        let url = match self.service.blobs.presign(method, &key, ttl).await {
            Ok(presigned) => presigned.url,
            Err(BlobError::CannotSign { .. }) => {
                format!("/v1/uploads/{}", self.seal(PUT.as_bytes(), &put))
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Issued {
            url,
            until: put.until,
            token,
        })
    }

    /// Begins to take in what is put to an address of ours.
    ///
    /// Errors: `SignatureInvalid`, `UploadExists`, another size or type than was signed.
    pub async fn put<'a>(
        &'a self,
        token: &str,
        size: Option<i64>,
        content_type: &str,
    ) -> Result<Putting<'a>> {
        let put: Put = self.open(PUT, token)?;
        if put.until < now_micros() {
            return Err(Error::SignatureInvalid { expired: true });
        }
        if size.is_some_and(|size| u64::try_from(size) != Ok(put.size)) {
            return Err(violation(
                "content-length",
                &format!("must be {}", put.size),
            ));
        }
        if !put.content_type.is_empty() && put.content_type != content_type {
            let rule = format!("must be {}", put.content_type);
            return Err(violation("content-type", &rule));
        }
        if !self.under_way.lock().insert(put.upload) {
            return Err(Error::UploadExists);
        }
        let turn = Turn(self, put.upload);
        for key in [key(put.tenant, put.upload), mark(put.tenant, put.upload)] {
            if self.there(&key).await? {
                return Err(Error::UploadExists);
            }
        }
        let writer = self.service.blobs.writer(put.size);
        Ok(Putting {
            put,
            writer: Box::new(writer),
            _turn: turn,
        })
    }

    async fn there(&self, key: &str) -> Result<bool> {
        match self.service.blobs.head(key).await {
            Ok(_) => Ok(true),
            Err(BlobError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes an item of what was put; the second value is the item that held the bytes already.
    ///
    /// Errors: `SignatureInvalid`, `UploadNotFound`, and those of an upload.
    pub async fn complete(
        &self,
        caller: &Identity,
        token: &str,
    ) -> Result<(Full, Option<MediaItemId>)> {
        let tenant = TenantId(caller.tenant_id);
        let wanted: Completion = self.open(&complete_scope(tenant), token)?;
        if wanted.until < now_micros() {
            return Err(Error::SignatureInvalid { expired: true });
        }
        let blobs = &self.service.blobs;
        let (key, mark) = (key(tenant.0, wanted.upload), mark(tenant.0, wanted.upload));
        match blobs.get(&mark, MARK_BYTES).await {
            Ok(id) => {
                let id = std::str::from_utf8(&id).ok().and_then(|id| id.parse().ok());
                let id: MediaItemId = id.ok_or(Error::UploadNotFound)?;
                return Ok((self.service.get(tenant, id).await?, None));
            }
            Err(BlobError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let size = match blobs.head(&key).await {
            Ok(object) => object.size_bytes,
            Err(BlobError::NotFound { .. }) => return Err(Error::UploadNotFound),
            Err(error) => return Err(error.into()),
        };
        if wanted.new.size_bytes != Some(size) {
            let text = format!(
                "announced {:?} bytes, but {size} came",
                wanted.new.size_bytes
            );
            return Err(violation("size_bytes", &text));
        }
        let mut upload = Upload::begin(Arc::clone(&self.service), caller, wanted.new)?;
        let mut bytes = blobs.read(&key, 0..size).await?;
        while let Some(chunk) = bytes.next().await {
            upload.write(chunk?).await?;
        }
        let uploaded = upload.finish().await?;
        let id = uploaded.item.id;
        // The item is durable. Killed here, the upload is completed again, and is a duplicate.
        blobs.put(&mark, Bytes::from(id.to_string())).await?;
        if let Err(error) = blobs.delete(&key).await {
            tracing::info!(%error, "bytes of a completed upload wait for the sweep");
        }
        let full = self.service.get(tenant, id).await?;
        Ok((full, uploaded.duplicate.then_some(id)))
    }

    /// Issues an address to get bytes from.
    ///
    /// Errors: `ItemNotFound`, `RenditionNotFound`, a life out of bounds.
    pub async fn download(
        &self,
        tenant: TenantId,
        item: MediaItemId,
        rendition: String,
        ttl: Option<Duration>,
    ) -> Result<Issued> {
        let ttl = life(ttl, MAX_EXPIRY)?;
        let (found, renditions) = self.service.get(tenant, item).await?;
        let key = match rendition.as_str() {
            "" => found.blob_key,
            name => {
                let known = renditions.into_iter().find(|known| known.name == name);
                let missing = || Error::RenditionNotFound {
                    id: item,
                    rendition: rendition.clone(),
                };
                known.ok_or_else(missing)?.blob_key
            }
        };
        let until = now_micros().saturating_add(micros(ttl));
        let url = match self
            .service
            .blobs
            .presign(PresignedMethod::Get, &key, ttl)
            .await
        {
            Ok(presigned) => presigned.url,
            Err(BlobError::CannotSign { .. }) => {
                let get = Get {
                    tenant: tenant.0,
                    item: item.0,
                    rendition,
                    until,
                };
                format!("/v1/signed/{}", self.seal(GET.as_bytes(), &get))
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Issued {
            url,
            until,
            token: String::new(),
        })
    }

    /// What an address of ours to get from stands for.
    ///
    /// Errors: `SignatureInvalid`.
    pub fn resolve(&self, token: &str) -> Result<Get> {
        let get: Get = self.open(GET, token)?;
        match get.until < now_micros() {
            true => Err(Error::SignatureInvalid { expired: true }),
            false => Ok(get),
        }
    }
}

/// What tokens of addresses to put to are sealed for.
const PUT: &str = "media.presign/PUT";
/// What tokens of addresses to get from are sealed for.
const GET: &str = "media.presign/GET";

/// What tokens of uploads are sealed for: one tenant.
fn complete_scope(tenant: TenantId) -> String {
    format!("media.presign/complete/{tenant}")
}

fn life(ttl: Option<Duration>, longest: Duration) -> Result<Duration> {
    let ttl = ttl.unwrap_or(DEFAULT_EXPIRY.min(longest));
    match (Duration::from_secs(1)..=longest).contains(&ttl) {
        true => Ok(ttl),
        false => {
            let rule = format!("must be 1 s to {} s", longest.as_secs());
            Err(violation("ttl", &rule))
        }
    }
}

/// A file that is being put.
pub struct Putting<'a> {
    put: Put,
    writer: Box<mediamesh_blob::Writer>,
    _turn: Turn<'a>,
}

impl Putting<'_> {
    /// Takes in the next bytes.
    ///
    /// Errors: more of them than were signed.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        match self.writer.write(chunk).await {
            Err(BlobError::TooLarge { limit_bytes }) => Err(Error::TooLarge {
                limit_bytes,
                size_bytes: None,
            }),
            other => Ok(other?),
        }
    }

    /// Ends the file; it is durable then.
    ///
    /// Errors: fewer bytes than were signed.
    pub async fn finish(self) -> Result<()> {
        let staged = self.writer.finish().await?;
        let came = staged.written().size_bytes;
        if came != self.put.size {
            let text = format!("announced {} bytes, but {came} came", self.put.size);
            return Err(violation("content-length", &text));
        }
        Ok(staged
            .publish(&key(self.put.tenant, self.put.upload))
            .await?)
    }
}
