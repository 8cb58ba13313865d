//! The directory of installed models, and pulling from a model hub.
//!
//! - [`manifest`]: what is installed, written last so that its presence means complete
//! - [`store`]: list, find, choose, install
//! - [`catalogue`]: models known to work
//! - [`hub`]: the Hugging Face hub's HTTP layout
//! - [`pull`]: fetching a model, with resume and hash check

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub mod catalogue;
pub mod hub;
pub mod manifest;
pub mod pull;
pub mod store;

mod download;
mod select;

pub use catalogue::{CATALOGUE, CatalogueEntry};
pub use manifest::{FileEntry, InstalledModel, Manifest};
pub use pull::{Progress, PullOptions};
pub use store::ModelStore;

use crate::load::LoadError;

/// Why the store or the hub refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelsError {
    /// No such model is installed.
    #[error("model {id} is not installed")]
    NotInstalled {
        /// Id asked for.
        id: String,
    },
    /// The id is not `owner/name`.
    #[error("model id {id:?} is not of the form owner/name")]
    BadId {
        /// Id asked for.
        id: String,
    },
    /// The file system refused.
    #[error("cannot access {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// A manifest is damaged.
    #[error("manifest {} is damaged", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
    /// The files are there, but are not a model this crate can load.
    #[error("model {id} cannot be used here")]
    Unusable {
        /// The model.
        id: String,
        /// Why.
        #[source]
        source: Box<LoadError>,
    },
    /// Another process is pulling the same model.
    #[error("model {id} is being pulled by another process")]
    Busy {
        /// The model.
        id: String,
    },
    /// The endpoint is not a URL.
    #[error("hub endpoint {endpoint:?} is not an http or https URL")]
    Endpoint {
        /// As configured.
        endpoint: String,
    },
    /// The hub does not have the model, the revision or the file.
    #[error("{url} does not exist on the hub (model {id})")]
    NotFound {
        /// The model.
        id: String,
        /// What was asked for.
        url: String,
    },
    /// The hub wants to know who asks.
    #[error(
        "model {id} is private, gated or does not exist; accept its terms on the hub and set HF_TOKEN (hub answered {status})"
    )]
    Denied {
        /// The model.
        id: String,
        /// 401 or 403.
        status: u16,
    },
    /// The hub answered something else than success.
    #[error("hub answered {status} to {url}")]
    Status {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        url: String,
    },
    /// The hub could not be reached or broke off too often; what was fetched is kept for next time.
    #[error("transfer of {url} failed; pull again to resume")]
    Transfer {
        /// What was asked for.
        url: String,
        /// What the HTTP client said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The hub's answer is not understood.
    #[error("hub answered {url} with {what}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What was wrong.
        what: String,
    },
    /// The bytes are not those the hub promised. They were removed.
    #[error("{file} has sha256 {found}, the hub promised {wanted}; the download was removed")]
    Hash {
        /// File in the model's repository.
        file: String,
        /// Promised.
        wanted: String,
        /// Received.
        found: String,
    },
    /// The file is not as long as the hub promised. It was removed.
    #[error("{file} is {found} bytes, the hub promised {wanted}; the download was removed")]
    Length {
        /// File in the model's repository.
        file: String,
        /// Promised bytes.
        wanted: u64,
        /// Received bytes.
        found: u64,
    },
    /// The repository lacks what is needed.
    #[error("model {id} publishes no {what}")]
    Incomplete {
        /// The model.
        id: String,
        /// What is not there.
        what: String,
    },
}

impl ModelsError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// Hashes a file, lower-case hex. Blocking: about 1 s per GB.
pub(crate) fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}
