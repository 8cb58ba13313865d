//! One file through the upload stream.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::stream;
use mediamesh_mesh::Channel;
use mediamesh_proto::media::v1::{
    UploadMediaMetadata, UploadMediaRequest, UploadMediaResponse, media_item::State,
    media_service_client::MediaServiceClient, upload_media_request::Payload,
};
use sha2::{Digest as _, Sha256};
use tokio::{fs::File, io::AsyncReadExt as _};
use tonic::{Code, Status};

use super::{Options, screen::Screen, walk::Found};

/// Bytes of a chunk, as the contract has it.
const CHUNK: usize = 64 * 1024;

/// What became of a file.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Stored, by id.
    Stored(String),
    /// The same bytes were there already; if they could not be processed, why.
    Duplicate(Option<String>),
    /// It could not be read, or was refused.
    Refused(String),
    /// The mesh is gone.
    Gone(Box<Status>),
}

/// Attempts for one file before the mesh counts as gone; the waits between add up to six seconds,
/// which outlasts a restart.
const ATTEMPTS: u32 = 6;
/// Wait after the first attempt; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Sends a file, again if the mesh does not take it now: an upload is idempotent by its hash.
pub(crate) async fn send(
    channel: Channel,
    file: &Found,
    options: &Options,
    screen: &Screen,
) -> Outcome {
    let mut wait = FIRST_WAIT;
    for attempt in 1.. {
        let sent = Arc::new(AtomicU64::new(0));
        let outcome = attempt_to_send(channel.clone(), file, options, screen, &sent).await;
        match &outcome {
            Outcome::Gone(status) if attempt < ATTEMPTS => {
                tracing::debug!(attempt, code = ?status.code(), "upload is sent again");
                screen.lost(sent.load(Ordering::Relaxed));
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
            _ => return outcome,
        }
    }
    unreachable!("the last attempt returns")
}

/// Sends a file once. Its hash goes first, so that bytes which are there already are not sent again.
async fn attempt_to_send(
    channel: Channel,
    file: &Found,
    options: &Options,
    screen: &Screen,
    sent: &Arc<AtomicU64>,
) -> Outcome {
    let path = file.path.clone();
    let hash = match tokio::task::spawn_blocking(move || hash(&path)).await {
        Ok(Ok(hash)) => hash,
        Ok(Err(error)) => return Outcome::Refused(error.to_string()),
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let body = match File::open(&file.path).await {
        Ok(body) => body,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let metadata = metadata(file, options, hash);
    let bytes = (screen.clone(), Arc::clone(sent));
    let (broken, was_broken) = tokio::sync::oneshot::channel();
    let chunks = stream::unfold(
        (Some(metadata), body, Some(broken)),
        move |(metadata, mut body, mut broken)| {
            let bytes = bytes.clone();
            async move {
                if let Some(metadata) = metadata {
                    let first = UploadMediaRequest {
                        payload: Some(Payload::Metadata(metadata)),
                    };
                    return Some((first, (None, body, broken)));
                }
                let mut chunk = vec![0; CHUNK];
                match body.read(&mut chunk).await {
                    Ok(0) => None,
                    Ok(read) => {
                        chunk.truncate(read);
                        bytes.0.sent(read as u64);
                        bytes.1.fetch_add(read as u64, Ordering::Relaxed);
                        let message = UploadMediaRequest {
                            payload: Some(Payload::Chunk(Bytes::from(chunk))),
                        };
                        Some((message, (None, body, broken)))
                    }
                    Err(error) => {
                        // The hash that was promised makes the server refuse the short file.
                        if let Some(broken) = broken.take() {
                            let _ = broken.send(error);
                        }
                        None
                    }
                }
            }
        },
    );
    match MediaServiceClient::new(channel).upload_media(chunks).await {
        Ok(answer) => stored(answer.into_inner()),
        Err(status) => match was_broken.await {
            Ok(error) => Outcome::Refused(error.to_string()),
            Err(_) => refused(status),
        },
    }
}

fn stored(answer: UploadMediaResponse) -> Outcome {
    let item = answer.media_item.unwrap_or_default();
    match answer.duplicate_of.is_empty() {
        true => Outcome::Stored(item.id),
        false => {
            let failed = item.state == i32::from(State::Failed);
            Outcome::Duplicate(failed.then_some(item.failure_detail))
        }
    }
}

fn refused(status: Status) -> Outcome {
    match status.code() {
        Code::Unavailable | Code::Cancelled => Outcome::Gone(Box::new(status)),
        _ => Outcome::Refused(status.message().to_owned()),
    }
}

fn metadata(file: &Found, options: &Options, sha256: String) -> UploadMediaMetadata {
    let parts = [options.into.trim_matches('/'), &file.folder];
    let folder: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    UploadMediaMetadata {
        display_name: file
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        folder: folder.join("/"),
        tags: options.tags.clone(),
        caption: String::new(),
        size_bytes: i64::try_from(file.size).unwrap_or(i64::MAX),
        sha256,
        background: true,
    }
}

/// Hashes a file. Blocking.
fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}
