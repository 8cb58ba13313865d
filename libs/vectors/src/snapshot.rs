//! Snapshots: what is on disk is whole, or it is not taken.
//!
//! - `vectors-<seq>.mmv`: the arena, slot by slot, in the format of `snapshot/format.rs`. Its
//!   header names the length and checksum of the graph that belongs to it.
//! - `vectors-<seq>.hnsw`: that graph; without it, or if it does not match, the graph is rebuilt.
//! - `*.tmp`: being written, or left by a crash; removed by the next open or write.
//!
//! The graph gets its name first, so an arena never promises a graph that was not finished.

mod format;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::arena::Arena;
use crate::error::Error;
use crate::graph::Graph;
use crate::options::IndexOptions;
use crate::types::SnapshotInfo;

use format::{GraphRef, Invalid};

const ARENA_SUFFIX: &str = "mmv";
const GRAPH_SUFFIX: &str = "hnsw";
const TMP_SUFFIX: &str = "tmp";

/// The newest and one to fall back on, should a disk damage the newest.
const KEPT_SNAPSHOTS: usize = 2;

const BUFFER_BYTES: usize = 1 << 20;

/// A snapshot that passed every check.
pub(crate) struct Loaded {
    pub(crate) arena: Arena,
    pub(crate) graph: Option<Graph>,
    pub(crate) info: SnapshotInfo,
}

/// Loads the newest snapshot that is valid and of the right dimensions.
///
/// Errors: `Io` only if the directory itself cannot be made, listed or cleaned.
pub(crate) fn load_newest(dir: &Path, options: &IndexOptions) -> Result<Option<Loaded>, Error> {
    fs::create_dir_all(dir).map_err(failed("create", dir))?;
    remove_leftovers(dir)?;
    for seq in snapshots(dir)? {
        let path = file(dir, seq, ARENA_SUFFIX);
        let read = File::open(&path).map_err(Invalid::from).and_then(|file| {
            let length = file.metadata()?.len();
            let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
            Ok((format::read(&mut input, length, options.dims)?, length))
        });
        match read {
            Ok((contents, arena_bytes)) => {
                let graph = contents
                    .graph
                    .and_then(|of| load_graph(dir, seq, options, of));
                let info = SnapshotInfo {
                    applied_seq: contents.applied_seq,
                    items: contents.arena.len() as u64,
                    arena_bytes,
                    graph_bytes: contents
                        .graph
                        .filter(|_| graph.is_some())
                        .map_or(0, |g| g.bytes),
                    written: false,
                };
                return Ok(Some(Loaded {
                    arena: contents.arena,
                    graph,
                    info,
                }));
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "vector snapshot passed over");
            }
        }
    }
    Ok(None)
}

/// Verifies the graph's file, since the library that parses it trusts it; `None` means rebuild.
fn load_graph(dir: &Path, seq: u64, options: &IndexOptions, expected: GraphRef) -> Option<Graph> {
    let path = file(dir, seq, GRAPH_SUFFIX);
    let covered = usize::try_from(expected.covered).ok()?;
    let loaded = match measure(&path) {
        Ok(found) if found == (expected.bytes, expected.crc) => {
            Graph::load(options, &path, covered).map_err(|error| error.to_string())
        }
        Ok(_) => Err("it is not the file the snapshot was written with".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    loaded
        .inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "vector graph will be rebuilt");
        })
        .ok()
}

/// Writes a snapshot and removes those it replaces.
pub(crate) fn write(
    dir: &Path,
    arena: &Arena,
    applied_seq: u64,
    graph: Option<&Graph>,
) -> Result<SnapshotInfo, Error> {
    remove_leftovers(dir)?;
    let graph = match graph {
        Some(graph) => write_graph(dir, applied_seq, graph)?,
        None => None,
    };

    let tmp = file(dir, applied_seq, ARENA_SUFFIX).with_extension(TMP_SUFFIX);
    let output = File::create(&tmp).map_err(failed("create", &tmp))?;
    let mut output = BufWriter::with_capacity(BUFFER_BYTES, output);
    let arena_bytes = format::write(&mut output, arena, applied_seq, graph)
        .and_then(|bytes| output.flush().map(|()| bytes))
        .map_err(failed("write", &tmp))?;
    output.get_ref().sync_all().map_err(failed("sync", &tmp))?;
    drop(output);
    publish(dir, &tmp, &file(dir, applied_seq, ARENA_SUFFIX))?;

    for old in snapshots(dir)?.into_iter().skip(KEPT_SNAPSHOTS) {
        // The arena first: a graph alone is harmless, an arena without its graph is slower.
        for suffix in [ARENA_SUFFIX, GRAPH_SUFFIX] {
            remove(&file(dir, old, suffix))?;
        }
    }
    Ok(SnapshotInfo {
        applied_seq,
        items: arena.len() as u64,
        arena_bytes,
        graph_bytes: graph.map_or(0, |graph| graph.bytes),
        written: true,
    })
}

/// A graph that cannot be saved is no reason to lose the snapshot: it is rebuilt on open.
fn write_graph(dir: &Path, seq: u64, graph: &Graph) -> Result<Option<GraphRef>, Error> {
    let path = file(dir, seq, GRAPH_SUFFIX);
    let tmp = dir.join(format!("graph.{TMP_SUFFIX}"));
    if let Err(error) = graph.save(&tmp) {
        tracing::warn!(%error, "vector graph not saved");
        remove(&tmp)?;
        return Ok(None);
    }
    let (bytes, crc) = measure(&tmp).map_err(failed("read", &tmp))?;
    File::open(&tmp)
        .and_then(|file| file.sync_all())
        .map_err(failed("sync", &tmp))?;
    publish(dir, &tmp, &path)?;
    Ok(Some(GraphRef {
        bytes,
        crc,
        covered: graph.covered() as u64,
    }))
}

/// Length and CRC-32 of a file, in constant memory.
fn measure(path: &Path) -> io::Result<(u64, u32)> {
    let mut input = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut length = 0;
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok((length, hasher.finalize()));
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
}

/// Gives a synced file its name, durably.
fn publish(dir: &Path, tmp: &Path, path: &Path) -> Result<(), Error> {
    fs::rename(tmp, path).map_err(failed("rename", tmp))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("sync", dir))
}

/// Sequence numbers of the snapshots present, newest first.
fn snapshots(dir: &Path) -> Result<Vec<u64>, Error> {
    let mut found: Vec<u64> = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let name = entry.map_err(failed("list", dir))?.file_name();
        let seq: Option<u64> = name.to_str().and_then(|name| {
            name.strip_prefix("vectors-")?
                .strip_suffix(".mmv")?
                .parse()
                .ok()
        });
        found.extend(seq);
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

fn remove_leftovers(dir: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        if path.extension().is_some_and(|suffix| suffix == TMP_SUFFIX) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn file(dir: &Path, seq: u64, suffix: &str) -> PathBuf {
    dir.join(format!("vectors-{seq:020}.{suffix}"))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}
