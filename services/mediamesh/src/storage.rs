//! Where originals and renditions lie: in the data folder, or in a bucket.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use mediamesh_blob::{BlobStore, Credentials, S3Options, bucket::MAX_OBJECT_BYTES};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data_dir::DataDir;

/// Originals and renditions: files of the data folder, or objects of a bucket.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StorageConfig {
    /// `local` (files in the data folder) or `s3` (a bucket of S3 or of a compatible server). Secrets
    /// are not configured here: they come from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
    /// `AWS_SESSION_TOKEN`, from a web identity (`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`), from
    /// the container or pod, or from the machine's metadata, in this order.
    pub(crate) backend: Backend,
    /// Name of the bucket.
    pub(crate) bucket: Option<String>,
    /// Region of the bucket; absent = `AWS_REGION`, `AWS_DEFAULT_REGION`, else `us-east-1`.
    pub(crate) region: Option<String>,
    /// Address of a compatible server, e.g. `https://s3.example.com`; absent = Amazon's of the region.
    /// Without TLS only if it says `http://`.
    pub(crate) endpoint: Option<String>,
    /// First parts of every key, e.g. `mesh/production`; empty = none.
    pub(crate) prefix: String,
    /// Whether the bucket stands in the path and not in the name of the host; absent = yes with an
    /// `endpoint`, no without.
    pub(crate) path_style: Option<bool>,
    /// Certificates (PEM) that the server's may descend from, beside those of the system.
    pub(crate) tls_ca: Option<PathBuf>,
    /// Bytes of a part of an upload, at least 5 MiB (S4-17); a longer original goes in parts.
    pub(crate) part_bytes: usize,
    /// Parts of one upload under way at once; an upload holds as many parts and two in memory.
    pub(crate) parallel_parts: usize,
    /// Longest silence of the server before a request is tried again, seconds.
    pub(crate) timeout_secs: u64,
}

/// What keeps the bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// Files of the data folder.
    #[default]
    Local,
    /// Objects of a bucket.
    S3,
}

impl Default for StorageConfig {
    fn default() -> Self {
        let options = S3Options::new("");
        Self {
            backend: Backend::default(),
            bucket: None,
            region: options.region,
            endpoint: options.endpoint,
            prefix: options.prefix,
            path_style: options.path_style,
            tls_ca: options.tls_ca,
            part_bytes: options.part_bytes,
            parallel_parts: options.parallel_parts,
            timeout_secs: options.timeout.as_secs(),
        }
    }
}

impl StorageConfig {
    /// Checks every value; answers all faults.
    pub(crate) fn validate(&self, max_upload_bytes: u64) -> Vec<String> {
        let mut faults = Vec::new();
        match (self.backend, &self.bucket) {
            (Backend::Local, None) => {}
            (Backend::Local, Some(_)) => {
                faults.push("storage.bucket needs storage.backend = \"s3\"".to_owned());
            }
            (Backend::S3, None) => {
                faults
                    .push("storage.bucket is absent; storage.backend = \"s3\" needs it".to_owned());
            }
            (Backend::S3, Some(_)) => {
                let found = self.options().validate();
                faults.extend(found.into_iter().map(|fault| format!("storage.{fault}")));
                if max_upload_bytes > MAX_OBJECT_BYTES {
                    faults.push(format!(
                        "media.max_upload_bytes is {max_upload_bytes}; with storage.backend = \
                         \"s3\" it must be at most {MAX_OBJECT_BYTES} (5 GiB)"
                    ));
                }
            }
        }
        faults
    }

    fn options(&self) -> S3Options {
        S3Options {
            region: self.region.clone(),
            endpoint: self.endpoint.clone(),
            prefix: self.prefix.clone(),
            path_style: self.path_style,
            tls_ca: self.tls_ca.clone(),
            credentials: Credentials::Environment,
            part_bytes: self.part_bytes,
            parallel_parts: self.parallel_parts,
            timeout: Duration::from_secs(self.timeout_secs),
            ..S3Options::new(self.bucket.clone().unwrap_or_default())
        }
    }

    /// What is configured, in words.
    pub(crate) fn describe(&self) -> String {
        let bucket = self.bucket.as_deref().unwrap_or_default();
        let server = self.endpoint.as_deref().unwrap_or("Amazon S3");
        format!("bucket {bucket} of {server}, prefix `{}`", self.prefix)
    }

    /// The bucket; nothing is asked of it yet.
    ///
    /// Errors: credentials that are half there, a file of certificates that cannot be read.
    pub(crate) fn bucket(&self) -> Result<BlobStore> {
        BlobStore::s3(&self.options()).context("cannot use the bucket of storage.bucket")
    }

    /// The storage beside processes that may write to it: nothing of it is tidied up.
    ///
    /// Errors: a folder that cannot be made, and those of [`Self::bucket`].
    pub(crate) fn beside_others(&self, dir: &DataDir) -> Result<BlobStore> {
        match self.backend {
            Backend::Local => Ok(BlobStore::local(dir.blobs())?),
            Backend::S3 => self.bucket(),
        }
    }

    /// Opens the storage.
    ///
    /// A bucket that is not to be reached is no error: the rest of the mesh is of use without it, and
    /// it may come back.
    /// Errors: a folder that cannot be written, and those of [`Self::bucket`].
    pub(crate) async fn open(&self, dir: &DataDir) -> Result<BlobStore> {
        match self.backend {
            Backend::Local => {
                let blobs = BlobStore::local(dir.blobs())?;
                // Nobody else writes here: what is half written was left by a process that was killed.
                blobs.remove_stale(Duration::ZERO).await?;
                Ok(blobs)
            }
            // Others may write there at this moment: only the sweep, which goes by age, may remove.
            Backend::S3 => {
                let blobs = self.bucket()?;
                let probed = blobs.clone();
                // a server that does not answer must not hold up the start
                tokio::spawn(async move {
                    if let Err(error) = probed.probe().await {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, "the bucket of storage.bucket does not work");
                    }
                });
                Ok(blobs)
            }
        }
    }
}
