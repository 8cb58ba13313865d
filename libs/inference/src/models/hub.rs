//! The Hugging Face hub's HTTP layout.
//!
//! `GET /api/models/{id}/revision/{rev}?blobs=true` names the commit and its files;
//! `GET /{id}/resolve/{commit}/{file}` answers small files itself and redirects large ones to
//! storage, saying their SHA-256 in `x-linked-etag` and their length in `x-linked-size`.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::Deserialize;

use crate::models::ModelsError;

/// Where models come from unless told otherwise.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Silence after which a transfer counts as cut.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The hub needs one redirect, a mirror in front of it a second.
const MAX_REDIRECTS: usize = 5;

/// A client of one hub.
pub(super) struct Hub {
    client: Client,
    endpoint: Url,
    token: Option<String>,
}

/// A repository at one commit.
#[derive(Debug, Deserialize)]
pub(super) struct Repository {
    /// The commit.
    pub(super) sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: Option<String>,
}

/// What the hub promises of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Promise {
    /// Length in bytes.
    pub(super) size: Option<u64>,
    /// SHA-256, for files in large-file storage.
    pub(super) sha256: Option<String>,
}

impl Repository {
    /// Names of all published files.
    pub(super) fn files(&self) -> Vec<String> {
        self.siblings
            .iter()
            .map(|sibling| sibling.rfilename.clone())
            .collect()
    }

    /// What the listing promises of a file.
    pub(super) fn promise(&self, file: &str) -> Promise {
        let sibling = self
            .siblings
            .iter()
            .find(|sibling| sibling.rfilename == file);
        sibling.map_or_else(Promise::default, |sibling| Promise {
            size: sibling.size,
            sha256: sibling
                .lfs
                .as_ref()
                .and_then(|lfs| lfs.sha256.clone())
                .filter(|hash| is_sha256(hash)),
        })
    }
}

impl Hub {
    pub(super) fn new(endpoint: &str, token: Option<String>) -> Result<Self, ModelsError> {
        let wrong = || ModelsError::Endpoint {
            endpoint: endpoint.to_owned(),
        };
        let url: Url = endpoint
            .trim_end_matches('/')
            .parse()
            .map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong());
        }
        // reqwest is built without a TLS provider. An error says that the process already has one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("mediamesh/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| ModelsError::Transfer {
                url: endpoint.to_owned(),
                source: Box::new(source),
            })?;
        Ok(Self {
            client,
            endpoint: url,
            token,
        })
    }

    /// Asks for a revision's commit and files.
    pub(super) async fn repository(
        &self,
        id: &str,
        revision: &str,
    ) -> Result<Repository, ModelsError> {
        let url = self.url(
            id,
            &format!("api/models/{id}/revision/{revision}?blobs=true"),
        )?;
        let (response, _) = self.get(id, url.clone(), None).await?;
        let transfer = |source| ModelsError::Transfer {
            url: url.to_string(),
            source: Box::new(source),
        };
        let body = response.bytes().await.map_err(transfer)?;
        let repository: Repository =
            serde_json::from_slice(&body).map_err(|error| ModelsError::Answer {
                url: url.to_string(),
                what: error.to_string(),
            })?;
        // The commit becomes part of a path.
        if repository.sha.is_empty() || !repository.sha.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(ModelsError::Answer {
                url: url.to_string(),
                what: format!("commit {:?}", repository.sha),
            });
        }
        Ok(repository)
    }

    /// Opens a file from a byte on. Answers 200, 206 or 416 and what the headers promise.
    pub(super) async fn open(
        &self,
        id: &str,
        commit: &str,
        file: &str,
        from: u64,
    ) -> Result<(Response, Promise), ModelsError> {
        let url = self.url(id, &format!("{id}/resolve/{commit}/{file}"))?;
        self.get(id, url, (from > 0).then_some(from)).await
    }

    fn url(&self, id: &str, path: &str) -> Result<Url, ModelsError> {
        let url = format!("{}/{path}", self.endpoint.as_str().trim_end_matches('/'));
        url.parse()
            .map_err(|_| ModelsError::BadId { id: id.to_owned() })
    }

    /// Follows redirects by hand: the promise is in the first answer, and the token must not
    /// travel to another host.
    async fn get(
        &self,
        id: &str,
        mut url: Url,
        from: Option<u64>,
    ) -> Result<(Response, Promise), ModelsError> {
        let mut promise = Promise::default();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client.get(url.clone());
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let at_home = (url.scheme(), url.host_str(), url.port_or_known_default())
                == (
                    self.endpoint.scheme(),
                    self.endpoint.host_str(),
                    self.endpoint.port_or_known_default(),
                );
            if let Some(token) = self.token.as_ref().filter(|_| at_home) {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request
                .send()
                .await
                .map_err(|source| ModelsError::Transfer {
                    url: url.to_string(),
                    source: Box::new(source),
                })?;
            if at_home {
                add_promise(&mut promise, response.headers());
            }
            let status = response.status();
            if status.is_redirection() {
                let location = response
                    .headers()
                    .get(LOCATION)
                    .and_then(|value| value.to_str().ok());
                url = location.and_then(|to| url.join(to).ok()).ok_or_else(|| {
                    ModelsError::Answer {
                        url: url.to_string(),
                        what: "a redirect to nowhere".to_owned(),
                    }
                })?;
                continue;
            }
            return match status {
                StatusCode::OK
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::RANGE_NOT_SATISFIABLE => Ok((response, promise)),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if at_home => {
                    Err(ModelsError::Denied {
                        id: id.to_owned(),
                        status: status.as_u16(),
                    })
                }
                StatusCode::NOT_FOUND => Err(ModelsError::NotFound {
                    id: id.to_owned(),
                    url: url.to_string(),
                }),
                _ => Err(ModelsError::Status {
                    status: status.as_u16(),
                    url: url.to_string(),
                }),
            };
        }
        Err(ModelsError::Answer {
            url: url.to_string(),
            what: format!("more than {MAX_REDIRECTS} redirects"),
        })
    }
}

fn add_promise(promise: &mut Promise, headers: &HeaderMap) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(size) = text("x-linked-size").and_then(|size| size.parse().ok()) {
        promise.size = Some(size);
    }
    let etag = text("x-linked-etag").map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
    if let Some(hash) = etag.filter(|hash| is_sha256(hash)) {
        promise.sha256 = Some(hash.to_ascii_lowercase());
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
