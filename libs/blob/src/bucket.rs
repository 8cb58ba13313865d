//! S3 and what speaks like it.
//!
//! Objects lie under the same keys as local files do, below a prefix of the bucket. A key is
//! published by one put, or by a copy inside the bucket: both show the object whole or not at all.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, Certificate, ClientOptions, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    multipart::MultipartStore,
    prefix::PrefixStore,
    signer::Signer,
};
use url::Url;

use crate::{
    error::{Error, Result},
    store::BlobStore,
    writer::PART_BYTES,
};

/// Largest object that S3 copies in one call, and so the largest that can be published.
///
/// Source: Amazon S3 API reference, CopyObject, read 2026-11.
pub const MAX_OBJECT_BYTES: u64 = 5 << 30;
/// Most parts of one upload. Source: Amazon S3 user guide, multipart upload limits, read 2026-11.
const MAX_PARTS: u64 = 10_000;
/// Largest part that may be configured: as many as `parallel_parts` and two lie in memory.
const MAX_PART_BYTES: usize = 256 << 20;
/// Most parts of one upload that may be under way.
const MAX_PARALLEL_PARTS: usize = 64;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries after the first; with the waits between them about a second if the server refuses at once.
const RETRIES: usize = 3;

/// A bucket and how to reach it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// Name of the bucket.
    pub bucket: String,
    /// Its region; absent = `AWS_REGION`, `AWS_DEFAULT_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// Address of a compatible server; absent = Amazon's of the region.
    pub endpoint: Option<String>,
    /// First parts of every key; empty = none.
    pub prefix: String,
    /// Whether the bucket stands in the path and not in the host name; absent = with an endpoint.
    pub path_style: Option<bool>,
    /// Certificates (PEM) that the server's must descend from, beside those of the system.
    pub tls_ca: Option<PathBuf>,
    /// Who we are.
    pub credentials: Credentials,
    /// Bytes of a part of an upload.
    pub part_bytes: usize,
    /// Parts of one upload under way at once.
    pub parallel_parts: usize,
    /// Longest silence of the server.
    pub timeout: Duration,
}

/// Where credentials come from.
#[derive(Clone)]
pub enum Credentials {
    /// Variables of the environment as of the tools of AWS, else those of the machine or the pod.
    Environment,
    /// A key at hand.
    Key {
        /// Its name.
        id: String,
        /// Its secret.
        secret: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            Self::Key { .. } => "Key",
        })
    }
}

/// Variables of the environment that tell who we are. Those that would tell where to go, such as
/// `AWS_ENDPOINT_URL`, are left out: what is configured holds.
const VARIABLES: [AmazonS3ConfigKey; 9] = [
    AmazonS3ConfigKey::AccessKeyId,
    AmazonS3ConfigKey::SecretAccessKey,
    AmazonS3ConfigKey::Token,
    AmazonS3ConfigKey::WebIdentityTokenFile,
    AmazonS3ConfigKey::RoleArn,
    AmazonS3ConfigKey::RoleSessionName,
    AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
    AmazonS3ConfigKey::ContainerCredentialsFullUri,
    AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
];

impl S3Options {
    /// A bucket with all else as it is by default.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            region: None,
            endpoint: None,
            prefix: String::new(),
            path_style: None,
            tls_ca: None,
            credentials: Credentials::Environment,
            part_bytes: PART_BYTES,
            // 4 parts of 5 MiB keep a connection of 100 ms and 1.6 Gbit/s busy
            parallel_parts: 4,
            timeout: Duration::from_secs(30),
        }
    }

    /// Checks every value; answers all faults, each beginning with the name of its field.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let bucket = &self.bucket;
        let of_bucket = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if bucket.len() < 3 || bucket.len() > 63 || !bucket.bytes().all(of_bucket) {
            faults.push(format!(
                "bucket is `{bucket}`; it must be 3 to 63 letters, digits, dots, hyphens or underscores"
            ));
        }
        if let Some(endpoint) = &self.endpoint
            && let Err(fault) = parse_endpoint(endpoint)
        {
            faults.push(format!("endpoint {fault}"));
        }
        if object_store::path::Path::parse(&self.prefix).is_err() {
            faults.push(format!(
                "prefix is `{}`; it must be parts between slashes",
                self.prefix
            ));
        }
        let part = self.part_bytes;
        if !(PART_BYTES..=MAX_PART_BYTES).contains(&part) {
            faults.push(format!(
                "part_bytes is {part}; it must be {PART_BYTES} (5 MiB, the least that S3 takes) to \
                 {MAX_PART_BYTES}"
            ));
        }
        if self.parallel_parts == 0 || self.parallel_parts > MAX_PARALLEL_PARTS {
            faults.push(format!(
                "parallel_parts is {}; it must be 1 to {MAX_PARALLEL_PARTS}",
                self.parallel_parts
            ));
        }
        if self.timeout.is_zero() {
            faults.push("timeout is 0; it must be at least 1 second".to_owned());
        }
        faults
    }

    fn builder(&self) -> Result<AmazonS3Builder> {
        let endpoint = self.endpoint.as_deref().map(parse_endpoint).transpose();
        let endpoint = endpoint.map_err(|fault| backend(format!("endpoint {fault}")))?;
        let plain = endpoint.as_ref().is_some_and(|url| url.scheme() == "http");
        let path_style = self.path_style.unwrap_or(endpoint.is_some());
        let mut client = ClientOptions::new()
            .with_allow_http(plain)
            .with_connect_timeout(CONNECT_TIMEOUT)
            // of the whole body, which takes as long as its reader does
            .with_timeout_disabled()
            .with_read_timeout(self.timeout);
        if let Some(path) = &self.tls_ca {
            let pem = std::fs::read(path).map_err(|error| Error::from_source(Box::new(error)))?;
            let certificates = Certificate::from_pem_bundle(&pem);
            for certificate in certificates.map_err(|error| Error::from_backend("", error))? {
                client = client.with_root_certificate(certificate);
            }
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_virtual_hosted_style_request(!path_style)
            .with_client_options(client)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    max_backoff: Duration::from_secs(2),
                    ..BackoffConfig::default()
                },
                max_retries: RETRIES,
                retry_timeout: self.timeout,
            })
            // TLS keeps the body whole; without it the signature does
            .with_unsigned_payload(!plain);
        let region = self
            .region
            .clone()
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"));
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        if let Some(mut url) = endpoint {
            if !path_style {
                let host = format!("{}.{}", self.bucket, url.host_str().unwrap_or_default());
                url.set_host(Some(&host))
                    .map_err(|error| Error::from_source(Box::new(error)))?;
            }
            builder = builder.with_endpoint(url.as_str().trim_end_matches('/'));
        }
        match &self.credentials {
            Credentials::Key { id, secret } => {
                builder = builder
                    .with_access_key_id(id)
                    .with_secret_access_key(secret);
            }
            Credentials::Environment => {
                for key in VARIABLES {
                    if let Some(value) = variable(&key.as_ref().to_uppercase()) {
                        builder = builder.with_config(key, value);
                    }
                }
            }
        }
        Ok(builder)
    }
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn parse_endpoint(endpoint: &str) -> std::result::Result<Url, String> {
    // not the address itself, which may hold a password
    let url = Url::parse(endpoint).map_err(|error| format!("is no address: {error}"))?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
        return Err("must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password; credentials come from the environment".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have `?` or `#`".to_owned());
    }
    Ok(url)
}

fn backend(text: String) -> Error {
    Error::from_source(text.into())
}

/// What a bucket can do beyond any backend.
pub(crate) trait Bucket: MultipartStore + Signer {}

impl<T: MultipartStore + Signer> Bucket for T {}

/// A bucket as a part of a store.
#[derive(Clone)]
pub(crate) struct BucketHandle(pub(crate) Arc<dyn Bucket>);

impl fmt::Debug for BucketHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bucket")
    }
}

impl BlobStore {
    /// Keeps objects in a bucket of S3 or a compatible server; nothing is asked of it yet.
    ///
    /// Uploads longer than a part go in parts side by side, each of `part_bytes`, at most
    /// [`MAX_OBJECT_BYTES`] and 10,000 parts in all.
    /// Errors: `Backend` with the first fault of the options, or a file that cannot be read.
    /// Blocking: reads the file of certificates.
    pub fn s3(options: &S3Options) -> Result<Self> {
        if let Some(fault) = options.validate().into_iter().next() {
            return Err(backend(fault));
        }
        let bucket = options.builder()?.build();
        let bucket = bucket.map_err(|error| Error::from_backend("", error))?;
        let bucket = Arc::new(PrefixStore::new(bucket, options.prefix.as_str()));
        let mut store = Self::new(Arc::clone(&bucket) as Arc<dyn object_store::ObjectStore>);
        store.part_bytes = options.part_bytes;
        store.parallel_parts = options.parallel_parts;
        store.max_object_bytes = MAX_OBJECT_BYTES.min(options.part_bytes as u64 * MAX_PARTS);
        store.bucket = Some(BucketHandle(bucket));
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named() {
        let faults = S3Options {
            endpoint: Some("ftp://files".to_owned()),
            prefix: "a//b".to_owned(),
            part_bytes: 5_000_000,
            parallel_parts: 0,
            timeout: Duration::ZERO,
            ..S3Options::new("a/b")
        }
        .validate();
        let names = [
            "bucket",
            "endpoint",
            "prefix",
            "part_bytes",
            "parallel_parts",
            "timeout",
        ];
        assert_eq!(faults.len(), names.len(), "{faults:?}");
        for (fault, name) in faults.iter().zip(names) {
            assert!(fault.starts_with(name), "{fault}");
        }
    }

    #[test]
    fn secrets_are_neither_shown_nor_taken_in_an_address() {
        let options = S3Options {
            endpoint: Some("https://user:hidden@files.example".to_owned()),
            credentials: Credentials::Key {
                id: "name".to_owned(),
                secret: "hidden".to_owned(),
            },
            ..S3Options::new("media")
        };
        let faults = options.validate();
        assert!(
            faults.len() == 1 && !faults[0].contains("hidden"),
            "{faults:?}"
        );
        assert!(!format!("{:?}", options.credentials).contains("hidden"));
    }
}
