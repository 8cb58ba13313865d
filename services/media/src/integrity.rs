//! Compares what rows name with what is stored, and mends what can be mended (F134).
//!
//! Found are objects that a row names and the storage lacks (**missing**), objects that no row names
//! (**untracked**), and objects whose size, or with `checksums` whose SHA-256, is not that of their row
//! (**mismatch**). One that cannot be read is told of and left alone.
//!
//! It is safe beside a running mesh. An object without a row counts only when it is older than any
//! upload may take. A row whose object looks wrong is read again afterwards: if it changed meanwhile the
//! item is looked at anew, and while the item is processed its renditions are left out. Nothing is ever
//! removed that a row names: an item whose original is damaged is marked failed and keeps its bytes.
//! Each repair is one transaction or one removal, so an end between any two loses nothing, and a
//! second run goes on.
//!
//! - `records`: from rows to objects
//! - `objects`: from objects to rows
//! - `repair`: what is done about it

mod objects;
mod records;
mod repair;

pub(crate) use objects::{is_upload, remove_untracked};
pub(crate) use repair::is_its_storage;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use mediamesh_blob::BlobStore;
use mediamesh_proto::{MediaItemId, TenantId};
use mediamesh_store::{IntegrityStore, JobStore, MediaStore};

use self::records::Looked;
use crate::Options;

/// Items read in one go: two statements, and few enough to hold.
const PAGE: i64 = 200;
/// Objects that cannot be read, of items in a row, before the storage itself is at fault.
const MAX_UNREADABLE: u64 = 100;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// A row names it and the storage lacks it.
    Missing,
    /// It is stored and no row names it.
    Untracked,
    /// Its bytes are others than those of its row.
    Mismatch,
    /// It is there and cannot be read.
    Unreadable,
}

impl Problem {
    /// Name in metrics and for machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Untracked => "untracked",
            Self::Mismatch => "mismatch",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What an object is of its item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it was uploaded.
    Original,
    /// A rendition of this name.
    Rendition(String),
    /// Nothing that is known.
    Unknown,
}

/// What was done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Nothing, because nobody asked.
    NotAsked,
    /// A job that makes it anew is queued.
    Queued,
    /// It was removed.
    Removed,
    /// Its item is marked failed; its bytes are kept.
    Marked,
    /// It cannot be mended from what is left.
    Impossible,
}

impl Repair {
    /// Name for people and machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotAsked => "",
            Self::Queued => "queued",
            Self::Removed => "removed",
            Self::Marked => "marked",
            Self::Impossible => "impossible",
        }
    }

    /// Whether nothing is left to do about it.
    #[must_use]
    pub fn mends(self) -> bool {
        matches!(self, Self::Queued | Self::Removed)
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub problem: Problem,
    /// Of what.
    pub part: Part,
    /// Whose; `None` if no row names it.
    pub item: Option<(TenantId, MediaItemId)>,
    /// Where it lies, or should.
    pub key: String,
    /// More about it, in words; may be empty.
    pub detail: String,
    /// What was done.
    pub repair: Repair,
}

/// What a scan is at.
#[derive(Debug)]
pub enum Event {
    /// So many items will be looked at.
    Items(u64),
    /// Objects of an item were looked at, and so many bytes of them read.
    Item {
        /// Objects.
        objects: u64,
        /// Bytes.
        bytes: u64,
    },
    /// So many stored objects were looked at.
    Listed(u64),
    /// Something is wrong.
    Found(Finding),
}

/// The end of a scan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Items looked at.
    pub items: u64,
    /// Objects that their rows name.
    pub named: u64,
    /// Bytes read for their hashes.
    pub bytes: u64,
    /// Objects that are stored.
    pub listed: u64,
    /// Findings: named and not stored.
    pub missing: u64,
    /// Findings: stored and not named.
    pub untracked: u64,
    /// Findings: other bytes.
    pub mismatch: u64,
    /// Findings: cannot be read.
    pub unreadable: u64,
    /// Items left out in part because they are being processed.
    pub busy: u64,
    /// Objects without a look at their rows because they are new.
    pub young: u64,
    /// Findings that are mended, or will be by a job.
    pub mended: u64,
    /// Items marked damaged whose original is whole again: they are queued.
    pub restored: u64,
}

impl Summary {
    /// How many findings there are.
    #[must_use]
    pub fn findings(&self) -> u64 {
        self.missing + self.untracked + self.mismatch + self.unreadable
    }

    fn add(&mut self, finding: &Finding) {
        match finding.problem {
            Problem::Missing => self.missing += 1,
            Problem::Untracked => self.untracked += 1,
            Problem::Mismatch => self.mismatch += 1,
            Problem::Unreadable => self.unreadable += 1,
        }
        self.mended += u64::from(finding.repair.mends());
    }
}

/// Why a scan ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("the database failed")]
    Store(#[from] mediamesh_store::Error),
    /// The storage failed.
    #[error("the storage failed")]
    Blob(#[from] mediamesh_blob::Error),
    /// So much cannot be read that it is no fault of single objects.
    #[error(
        "{count} objects in a row cannot be read, limit is {MAX_UNREADABLE}: the storage is at fault"
    )]
    Unreadable {
        /// How much.
        count: u64,
    },
    /// A repair would mark most items.
    #[error(
        "{missing} of {looked} originals are missing: this is hardly the storage of this database, or it \
         went away, so nothing more is repaired"
    )]
    OtherStorage {
        /// Originals that are missing.
        missing: usize,
        /// Originals looked at.
        looked: usize,
    },
}

/// How to look.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    /// Read every named object and compare its SHA-256.
    pub checksums: bool,
    /// Mend what can be mended.
    pub repair: bool,
}

/// Compares rows and objects.
#[derive(Clone)]
pub struct Scan {
    options: Arc<Options>,
    depth: Depth,
    records: Arc<dyn IntegrityStore>,
    media: Arc<dyn MediaStore>,
    jobs: Arc<dyn JobStore>,
    blobs: BlobStore,
}

/// Told of events as they come.
pub type Tell<'a> = &'a mut (dyn FnMut(Event) + Send);

impl Scan {
    /// A scan of one database and its storage; nothing is looked at yet.
    #[must_use]
    pub fn new(
        options: Arc<Options>,
        depth: Depth,
        records: Arc<dyn IntegrityStore>,
        media: Arc<dyn MediaStore>,
        jobs: Arc<dyn JobStore>,
        blobs: BlobStore,
    ) -> Self {
        Self {
            options,
            depth,
            records,
            media,
            jobs,
            blobs,
        }
    }

    /// Looks at all, in the memory of a page.
    ///
    /// Errors: the database or the storage failed; what was repaired until then stays so.
    /// Cancel: dropping the future ends it between two repairs or amid one, which changes nothing.
    pub async fn run(&self, tell: Tell<'_>) -> Result<Summary, Error> {
        let mut summary = Summary::default();
        let may_remove = self.depth.repair && self.is_its_storage().await?;
        let items = self.records.count_stored_items().await?;
        tell(Event::Items(u64::try_from(items).unwrap_or(0)));
        self.records(&mut summary, tell).await?;
        self.objects(may_remove, &mut summary, tell).await?;
        Ok(summary)
    }

    async fn is_its_storage(&self) -> Result<bool, Error> {
        let concurrency = self.options.integrity.concurrency;
        is_its_storage(self.records.as_ref(), &self.blobs, concurrency).await
    }

    async fn records(&self, summary: &mut Summary, tell: Tell<'_>) -> Result<(), Error> {
        let (mut after, mut unreadable) = (0, 0);
        loop {
            let page = self.records.stored_items(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.item_key;
            let looked = stream::iter(page).map(|item| self.look(item));
            let mut looked = looked.buffer_unordered(self.options.integrity.concurrency);
            let mut to_repair = Vec::new();
            while let Some(looked) = looked.next().await {
                let looked = looked?;
                summary.items += 1;
                summary.named += looked.objects;
                summary.bytes += looked.bytes;
                summary.busy += u64::from(looked.busy);
                tell(Event::Item {
                    objects: looked.objects,
                    bytes: looked.bytes,
                });
                unreadable = match looked.unreadable() {
                    0 => 0,
                    more => unreadable + more,
                };
                if unreadable > MAX_UNREADABLE {
                    return Err(Error::Unreadable { count: unreadable });
                }
                match self.depth.repair {
                    true => to_repair.push(looked),
                    false => note(looked, summary, tell),
                }
            }
            Self::is_still_there(&to_repair)?;
            for mut looked in to_repair {
                summary.restored += u64::from(self.repair(&mut looked).await?);
                note(looked, summary, tell);
            }
        }
    }

    /// Age from which on an object without a row is untracked: no upload takes so long.
    fn grace(&self) -> Duration {
        Duration::from_secs(self.options.worker.orphan_age_secs)
    }
}

fn note(looked: Looked, summary: &mut Summary, tell: Tell<'_>) {
    for finding in looked.findings {
        summary.add(&finding);
        tell(Event::Found(finding));
    }
}
