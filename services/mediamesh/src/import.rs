//! Folders of files into a running mesh.
//!
//! - `walk`: which files there are
//! - `send`: one file through the upload stream
//! - `follow`: waiting until everything is processed
//! - `screen`: progress bars where there is a terminal, lines where there is none
//! - `summary`: what went in, what was there already, and what could not be read and why

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use futures::{StreamExt as _, stream};
use mediamesh_mesh::Channel;

pub(crate) mod screen;

mod follow;
mod send;
mod summary;
mod walk;

use send::Outcome;
use summary::Summary;

/// What to import.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Files and folders.
    pub(crate) paths: Vec<PathBuf>,
    /// Folder in the library to put them below.
    pub(crate) into: String,
    /// Tags for every file.
    pub(crate) tags: Vec<String>,
    /// Return when everything is stored.
    pub(crate) no_wait: bool,
}

/// Uploads at once: enough to hide disk waits, few enough to leave the cores to decoding.
const UPLOADS: usize = 4;

/// Imports; returns when everything is stored and, unless told otherwise, processed.
///
/// Errors: the mesh is gone. A file that cannot be read or is refused is part of the summary.
pub(crate) async fn run(channel: Channel, options: Options) -> Result<Summary> {
    let options = Arc::new(options);
    let paths = options.paths.clone();
    let found = tokio::task::spawn_blocking(move || walk::walk(&paths)).await?;
    let screen = screen::Screen::new(found.files.len() as u64, found.total_bytes());
    let mut summary = Summary::new(&found);
    let sends = found.files.into_iter().map(|file| {
        let (channel, options, screen) = (channel.clone(), Arc::clone(&options), screen.clone());
        async move {
            let outcome = send::send(channel, &file, &options, &screen).await;
            (file, outcome)
        }
    });
    let mut outcomes = stream::iter(sends).buffer_unordered(UPLOADS);
    while let Some((file, outcome)) = outcomes.next().await {
        if let Outcome::Gone(status) = &outcome {
            return Err(crate::client::explain(status));
        }
        screen.file_done();
        summary.add(file, outcome);
    }
    drop(outcomes);
    if !options.no_wait {
        follow::follow(&channel, &screen, &mut summary).await?;
    }
    screen.finish();
    Ok(summary)
}
