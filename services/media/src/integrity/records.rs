//! From rows to objects.

use mediamesh_blob::Error as BlobError;
use mediamesh_store::{
    integrity::{StoredBlob, StoredItem},
    media::State,
};

use super::{Error, Finding, Part, Problem, Repair, Scan};

/// How often an item that changes while it is looked at is looked at anew.
const LOOKS: usize = 3;

/// What a look at an item told.
pub(super) struct Looked {
    /// As its row is.
    pub(super) item: StoredItem,
    /// What is wrong for sure.
    pub(super) findings: Vec<Finding>,
    /// It changes, so not all could be told.
    pub(super) busy: bool,
    /// Objects that its row names.
    pub(super) objects: u64,
    /// Bytes read.
    pub(super) bytes: u64,
}

impl Looked {
    /// How many of its objects are there and cannot be read.
    pub(super) fn unreadable(&self) -> u64 {
        let mut count = 0;
        for finding in &self.findings {
            count += u64::from(finding.problem == Problem::Unreadable);
        }
        count
    }
}

/// What is wrong with one object.
struct Fault(Problem, String);

impl Scan {
    /// Looks at the objects of an item until nothing changes meanwhile.
    pub(super) async fn look(&self, mut item: StoredItem) -> Result<Looked, Error> {
        let mut bytes = 0;
        for _ in 0..LOOKS {
            let mut findings = self.faults(&item, &mut bytes).await?;
            let objects = 1 + item.renditions.len() as u64;
            let done = |item, findings, busy| Looked {
                item,
                findings,
                busy,
                objects,
                bytes,
            };
            if findings.is_empty() {
                return Ok(done(item, findings, false));
            }
            match self.records.stored_item(item.tenant_id, item.id).await? {
                // deleted, and its objects with it
                None => return Ok(done(item, Vec::new(), false)),
                Some(now) if now == item => {
                    // renditions are written before their rows; an original is never written again
                    let busy = matches!(item.state, State::Pending | State::Processing);
                    findings.retain(|finding| !busy || finding.part == Part::Original);
                    return Ok(done(item, findings, busy));
                }
                Some(now) => item = now,
            }
        }
        Ok(Looked {
            objects: 1 + item.renditions.len() as u64,
            item,
            findings: Vec::new(),
            busy: true,
            bytes,
        })
    }

    async fn faults(&self, item: &StoredItem, bytes: &mut u64) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let renditions = item.renditions.iter();
        let parts = renditions.map(|(name, blob)| (Part::Rendition(name.clone()), blob));
        for (part, blob) in std::iter::once((Part::Original, &item.original)).chain(parts) {
            let fault = match self.depth.checksums {
                true => self.measured(blob, bytes).await?,
                false => self.described(blob).await?,
            };
            if let Some(Fault(problem, detail)) = fault {
                findings.push(Finding {
                    problem,
                    part,
                    item: Some((item.tenant_id, item.id)),
                    key: blob.key.clone(),
                    detail,
                    repair: Repair::NotAsked,
                });
            }
        }
        Ok(findings)
    }

    /// By size alone.
    async fn described(&self, blob: &StoredBlob) -> Result<Option<Fault>, Error> {
        match self.blobs.head(&blob.key).await {
            Ok(found) => Ok(other_size(found.size_bytes, blob)),
            Err(error) => unread(error).map(Some),
        }
    }

    /// What is wrong with an object, by every byte.
    pub(super) async fn problem(&self, blob: &StoredBlob) -> Result<Option<Problem>, Error> {
        let fault = self.measured(blob, &mut 0).await?;
        Ok(fault.map(|Fault(problem, _)| problem))
    }

    async fn measured(&self, blob: &StoredBlob, bytes: &mut u64) -> Result<Option<Fault>, Error> {
        let found = match self.blobs.measure(&blob.key).await {
            Ok(found) => found,
            Err(error) => return unread(error).map(Some),
        };
        *bytes += found.size_bytes;
        let other = (found.sha256 != blob.sha256).then(|| {
            let (is, should) = (hex::encode(found.sha256), hex::encode(blob.sha256));
            let detail = format!("its SHA-256 is {is}; it should be {should}");
            Fault(Problem::Mismatch, detail)
        });
        Ok(other_size(found.size_bytes, blob).or(other))
    }
}

fn other_size(size_bytes: u64, blob: &StoredBlob) -> Option<Fault> {
    let should = u64::try_from(blob.size_bytes).unwrap_or(0);
    (size_bytes != should).then(|| {
        let detail = format!("it has {size_bytes} bytes; it should have {should}");
        Fault(Problem::Mismatch, detail)
    })
}

/// Sorts errors: some are about this object, the others about the storage as a whole.
fn unread(error: BlobError) -> Result<Fault, Error> {
    match error {
        BlobError::NotFound { .. } => Ok(Fault(Problem::Missing, String::new())),
        BlobError::Backend(_) | BlobError::InvalidKey { .. } => {
            let detail = crate::jobs::chain(&error);
            Ok(Fault(Problem::Unreadable, detail))
        }
        other => Err(other.into()),
    }
}
