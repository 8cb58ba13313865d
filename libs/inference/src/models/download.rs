//! One file from the hub into the staging directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use reqwest::{Response, StatusCode, header::CONTENT_RANGE};
use sha2::{Digest, Sha256};
use tokio::fs::OpenOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};

use crate::models::ModelsError;
use crate::models::hub::{Hub, Promise};
use crate::models::pull::Progress;

/// Wait before the first retry; doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);

/// Counts bytes and tells the caller.
pub(super) struct Meter<'a> {
    /// Bytes of all files, as far as known.
    pub(super) total: u64,
    finished: u64,
    progress: &'a mut (dyn FnMut(&Progress) + Send),
}

impl<'a> Meter<'a> {
    pub(super) fn new(progress: &'a mut (dyn FnMut(&Progress) + Send)) -> Self {
        Self {
            total: 0,
            finished: 0,
            progress,
        }
    }

    fn tell(&mut self, file: &str, file_bytes: u64, file_total: Option<u64>) {
        let bytes = self.finished + file_bytes;
        let total = self.total.max(bytes);
        (self.progress)(&Progress {
            file: file.to_owned(),
            file_bytes,
            file_total,
            bytes,
            total,
        });
    }
}

/// A file to fetch.
pub(super) struct Download<'a> {
    pub(super) hub: &'a Hub,
    pub(super) id: &'a str,
    pub(super) commit: &'a str,
    pub(super) file: String,
    pub(super) promise: Promise,
    pub(super) staging: &'a Path,
    pub(super) retries: u32,
}

/// The `.part` file with the hash of what it holds.
struct Part {
    writer: BufWriter<tokio::fs::File>,
    hasher: Sha256,
    len: u64,
}

impl Download<'_> {
    /// Fetches the file unless it is already there.
    pub(super) async fn run(mut self, meter: &mut Meter<'_>) -> Result<(), ModelsError> {
        let path = self.staging.join(&self.file);
        // A file under its own name was verified before it got it; the manifest hashes it again.
        if let Ok(metadata) = tokio::fs::metadata(&path).await {
            meter.tell(&self.file, metadata.len(), Some(metadata.len()));
            meter.finished += metadata.len();
            return Ok(());
        }
        let parent = path.parent().unwrap_or(self.staging);
        tokio::fs::create_dir_all(parent)
            .await
            .map_err(ModelsError::io(parent))?;
        let mut part_name = path.clone().into_os_string();
        part_name.push(".part");
        let part = PathBuf::from(part_name);

        let mut tries = 0;
        let (found, len) = loop {
            let before = tokio::fs::metadata(&part)
                .await
                .map_or(0, |metadata| metadata.len());
            match self.attempt(&part, meter).await {
                Ok(done) => break done,
                Err(
                    error @ (ModelsError::Transfer { .. }
                    | ModelsError::Status { status: 500.., .. }),
                ) => {
                    let after = tokio::fs::metadata(&part)
                        .await
                        .map_or(0, |metadata| metadata.len());
                    // A transfer that gets on may be cut any number of times.
                    tries = if after > before { 1 } else { tries + 1 };
                    if tries > self.retries || self.retries == 0 {
                        return Err(error);
                    }
                    tracing::warn!(file = %self.file, bytes = after, %error, "transfer cut, resuming");
                    tokio::time::sleep(FIRST_BACKOFF * 2_u32.pow((tries - 1).min(6))).await;
                }
                Err(error) => return Err(error),
            }
        };
        self.verify(&part, found, len).await?;
        tokio::fs::rename(&part, &path)
            .await
            .map_err(ModelsError::io(&path))?;
        meter.finished += len;
        Ok(())
    }

    /// Fetches what is missing of the part; answers its hash and length.
    async fn attempt(
        &mut self,
        path: &Path,
        meter: &mut Meter<'_>,
    ) -> Result<(String, u64), ModelsError> {
        let mut part = Part::open(path).await?;
        if self.promise.size.is_none_or(|size| part.len < size) || part.len == 0 {
            let (response, promise) = self
                .hub
                .open(self.id, self.commit, &self.file, part.len)
                .await?;
            self.promise.size = promise.size.or(self.promise.size);
            self.promise.sha256 = promise.sha256.or_else(|| self.promise.sha256.take());
            match response.status() {
                // Nothing is left to send: the part is complete, or wrong, which its hash will say.
                StatusCode::RANGE_NOT_SATISFIABLE => {}
                StatusCode::PARTIAL_CONTENT if starts_at(&response) == Some(part.len) => {
                    self.receive(response, &mut part, meter).await?;
                }
                // The server ignored the range, or sends another one than asked for.
                StatusCode::PARTIAL_CONTENT => {
                    part.restart(path).await?;
                    let (response, _) = self.hub.open(self.id, self.commit, &self.file, 0).await?;
                    self.receive(response, &mut part, meter).await?;
                }
                _ => {
                    part.restart(path).await?;
                    self.receive(response, &mut part, meter).await?;
                }
            }
        }
        part.finish(path).await
    }

    async fn receive(
        &self,
        response: Response,
        part: &mut Part,
        meter: &mut Meter<'_>,
    ) -> Result<(), ModelsError> {
        let url = response.url().to_string();
        let total = self
            .promise
            .size
            .or_else(|| response.content_length().map(|left| part.len + left));
        let mut body = response.bytes_stream();
        let mut outcome = Ok(());
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => {
                    part.writer
                        .write_all(&chunk)
                        .await
                        .map_err(ModelsError::io(self.staging))?;
                    part.hasher.update(&chunk);
                    part.len += chunk.len() as u64;
                    meter.tell(&self.file, part.len, total);
                }
                Err(source) => {
                    outcome = Err(ModelsError::Transfer {
                        url,
                        source: Box::new(source),
                    });
                    break;
                }
            }
        }
        // Also after a cut, so that the next try finds every byte that came.
        part.writer
            .flush()
            .await
            .map_err(ModelsError::io(self.staging))?;
        outcome
    }

    async fn verify(&self, part: &Path, found: String, len: u64) -> Result<(), ModelsError> {
        let error = match (&self.promise.sha256, self.promise.size) {
            (Some(wanted), _) if !wanted.eq_ignore_ascii_case(&found) => ModelsError::Hash {
                file: self.file.clone(),
                wanted: wanted.clone(),
                found,
            },
            (_, Some(wanted)) if wanted != len => ModelsError::Length {
                file: self.file.clone(),
                wanted,
                found: len,
            },
            _ => return Ok(()),
        };
        tokio::fs::remove_file(part)
            .await
            .map_err(ModelsError::io(part))?;
        Err(error)
    }
}

impl Part {
    /// Opens the part at its end and hashes what an earlier try left.
    async fn open(path: &Path) -> Result<Self, ModelsError> {
        let open = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .await;
        let mut file = open.map_err(ModelsError::io(path))?;
        let (mut hasher, mut len) = (Sha256::new(), 0);
        let mut buffer = vec![0_u8; 1 << 16];
        loop {
            match file
                .read(&mut buffer)
                .await
                .map_err(ModelsError::io(path))?
            {
                0 => break,
                n => {
                    hasher.update(&buffer[..n]);
                    len += n as u64;
                }
            }
        }
        Ok(Self {
            writer: BufWriter::with_capacity(1 << 18, file),
            hasher,
            len,
        })
    }

    /// Starts again from nothing.
    async fn restart(&mut self, path: &Path) -> Result<(), ModelsError> {
        self.writer
            .get_mut()
            .set_len(0)
            .await
            .map_err(ModelsError::io(path))?;
        (self.hasher, self.len) = (Sha256::new(), 0);
        Ok(())
    }

    async fn finish(mut self, path: &Path) -> Result<(String, u64), ModelsError> {
        self.writer.flush().await.map_err(ModelsError::io(path))?;
        self.writer
            .get_ref()
            .sync_all()
            .await
            .map_err(ModelsError::io(path))?;
        Ok((hex::encode(self.hasher.finalize()), self.len))
    }
}

/// First byte of a partial answer: `bytes 100-199/200`.
fn starts_at(response: &Response) -> Option<u64> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .parse()
        .ok()
}
