//! The file by which sessions survive the end of their process.
//!
//! Lines are appended and synced before a change is answered; the file is written anew when it is
//! opened and when most of it is out of date. A line is its length and its CRC-32 (4 bytes each,
//! big-endian), then a message. What follows a line that is cut or broken is not read: the process
//! ended while it was written, and nobody was answered. Ids are not in it, only handles.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use mediamesh_proto::{SessionHandle, TenantId};
use prost::Message as _;

use super::record::{self, Data, Head, Owner};

const FILE: &str = "sessions.journal";
const LOCK: &str = "sessions.lock";
/// Longest message: far above any session.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Lines beyond two for each session after which the file is written anew.
const SLACK_LINES: usize = 1024;

/// A change.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) owner: Owner,
    pub(crate) handle: SessionHandle,
    /// `None`: it was removed.
    pub(crate) record: Option<(Head, Data)>,
}

/// A line as it is stored. Fields are never renumbered.
#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(bytes = "vec", tag = "1")]
    tenant: Vec<u8>,
    #[prost(string, tag = "2")]
    user: String,
    #[prost(bytes = "vec", tag = "3")]
    handle: Vec<u8>,
    /// Empty: it was removed.
    #[prost(bytes = "vec", tag = "4")]
    record: Vec<u8>,
}

/// Why sessions cannot be kept in a folder.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process does.
    #[error(
        "{path} is held by another process, which keeps the sessions of this folder; processes of \
         the cache service share sessions by cache.redis"
    )]
    Held {
        /// The file that is locked.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("the file of sessions {path} cannot be used")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The file.
pub(crate) struct Journal {
    folder: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    lines: usize,
    /// A line was cut and could not be taken back: nothing may follow it.
    broken: bool,
    /// Held as long as this lives.
    _lock: File,
}

fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600).open(path)
}

impl Journal {
    /// Opens the file in `folder` and reads it.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<Line>), OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        let lock_path = folder.join(LOCK);
        let lock = private(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(OpenError::Held { path: lock_path }),
            Err(fs::TryLockError::Error(source)) => return Err(io(&lock_path)(source)),
        }
        let path = folder.join(FILE);
        let mut file = private(&path).map_err(io(&path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io(&path))?;
        let (lines, read) = read(&bytes);
        if read < bytes.len() {
            tracing::warn!(
                path = %path.display(),
                dropped_bytes = bytes.len() - read,
                "the file of sessions ends in the middle of a line, which is dropped"
            );
        }
        let journal = Self {
            folder: folder.to_owned(),
            file,
            length: read as u64,
            lines: lines.len(),
            broken: read < bytes.len(),
            _lock: lock,
        };
        Ok((journal, lines))
    }

    /// Appends lines; with `sync` they are on the disk when this returns.
    pub(crate) fn append(&mut self, lines: &[Line], sync: bool) -> io::Result<()> {
        if self.broken {
            self.take_back()?;
        }
        let bytes: Vec<u8> = lines.iter().flat_map(write).collect();
        self.broken = true;
        self.file.seek(io::SeekFrom::Start(self.length))?;
        let written = self.file.write_all(&bytes);
        let synced = written.and_then(|()| match sync {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        if let Err(error) = synced {
            // what is half there must not hide what comes after it
            if let Err(error) = self.take_back() {
                tracing::error!(%error, "the file of sessions ends in a broken line");
            }
            return Err(error);
        }
        self.broken = false;
        self.length += bytes.len() as u64;
        self.lines += lines.len();
        Ok(())
    }

    fn take_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.broken = false;
        Ok(())
    }

    /// Whether most of the file is out of date, with so many sessions.
    pub(crate) fn is_long_for(&self, live: usize) -> bool {
        self.lines > live * 2 + SLACK_LINES
    }

    /// Writes the file anew, beside it and then in its place.
    pub(crate) fn rewrite(&mut self, lines: impl Iterator<Item = Line>) -> Result<(), OpenError> {
        let path = self.folder.join(FILE);
        let beside = self.folder.join(format!("{FILE}.new"));
        let attempt = || -> io::Result<(File, u64, usize)> {
            let mut file = private(&beside)?;
            file.set_len(0)?;
            let (mut length, mut count) = (0, 0);
            let mut out = io::BufWriter::new(&mut file);
            for line in lines {
                let bytes = write(&line);
                out.write_all(&bytes)?;
                length += bytes.len() as u64;
                count += 1;
            }
            out.flush()?;
            drop(out);
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.folder)?.sync_all()?;
            Ok((file, length, count))
        };
        let (file, length, count) = attempt().map_err(|source| OpenError::Io {
            path: path.clone(),
            source,
        })?;
        self.file = file;
        self.length = length;
        self.lines = count;
        self.broken = false;
        Ok(())
    }
}

fn write(line: &Line) -> Vec<u8> {
    let stored = Stored {
        tenant: line.owner.tenant.0.as_bytes().to_vec(),
        user: line.owner.user.clone(),
        handle: line.handle.0.to_vec(),
        record: match &line.record {
            Some((head, data)) => record::encode(head, data).to_vec(),
            None => Vec::new(),
        },
    };
    let message = stored.encode_to_vec();
    let length = u32::try_from(message.len()).expect("options bound what a session holds");
    let mut bytes = Vec::with_capacity(8 + message.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    bytes.extend_from_slice(&message);
    bytes
}

/// Reads whole lines; answers them and how many bytes they are.
fn read(bytes: &[u8]) -> (Vec<Line>, usize) {
    let (mut lines, mut at) = (Vec::new(), 0);
    while let Some((line, length)) = read_line(&bytes[at..]) {
        lines.push(line);
        at += length;
    }
    (lines, at)
}

fn read_line(bytes: &[u8]) -> Option<(Line, usize)> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let length = usize::try_from(number(0)?).ok()?;
    let sum = number(4)?;
    if length > MAX_LINE_BYTES {
        return None;
    }
    let message = bytes.get(8..8 + length)?;
    if crc32fast::hash(message) != sum {
        return None;
    }
    let stored = Stored::decode(message).ok()?;
    let handle = SessionHandle(stored.handle.try_into().ok()?);
    let record = match stored.record.is_empty() {
        true => None,
        false => record::decode(handle, &stored.record).map(|record| (record.head, record.data)),
    };
    let owner = Owner {
        tenant: TenantId(uuid::Uuid::from_slice(&stored.tenant).ok()?),
        user: stored.user,
    };
    let line = Line {
        owner,
        handle,
        record,
    };
    Some((line, 8 + length))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(number: u8, live: bool) -> Line {
        let minute = Duration::from_secs(60);
        Line {
            owner: Owner {
                tenant: TenantId(mediamesh_mesh::LOCAL_TENANT_ID),
                user: format!("user {number}"),
            },
            handle: SessionHandle([number; 16]),
            record: live.then(|| (Head::new(1, minute, minute), Data::default())),
        }
    }

    #[test]
    fn lines_come_back_and_a_cut_one_ends_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, lines) = Journal::open(folder.path()).unwrap();
        assert_eq!(lines, []);
        let all = [line(1, true), line(2, true), line(1, false)];
        journal.append(&all[..2], true).unwrap();
        journal.append(&all[2..], false).unwrap();
        let held = Journal::open(folder.path()).map(drop);
        assert!(matches!(held, Err(OpenError::Held { .. })), "{held:?}");
        drop(journal);
        let path = folder.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        let third = write(&all[2]).len();
        for cut in whole.len() - third..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, lines) = Journal::open(folder.path()).unwrap();
            assert_eq!(lines, all[..2], "{cut}");
            // what comes after is read again
            journal.append(&all[2..], true).unwrap();
            drop(journal);
            assert_eq!(Journal::open(folder.path()).unwrap().1, all, "{cut}");
        }
        let mut broken = whole.clone();
        broken[9] ^= 1;
        fs::write(&path, &broken).unwrap();
        assert_eq!(Journal::open(folder.path()).unwrap().1, []);
    }

    #[test]
    fn a_file_that_is_mostly_out_of_date_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path()).unwrap();
        for _ in 0..=SLACK_LINES + 2 {
            journal.append(&[line(1, true)], false).unwrap();
        }
        assert!(journal.is_long_for(1) && !journal.is_long_for(2));
        journal.rewrite([line(1, true)].into_iter()).unwrap();
        assert!(!journal.is_long_for(0));
        journal.append(&[line(2, true)], true).unwrap();
        drop(journal);
        let (_, lines) = Journal::open(folder.path()).unwrap();
        assert_eq!(lines, [line(1, true), line(2, true)]);
    }
}
