//! What is done about findings.

use futures::{StreamExt as _, stream};
use mediamesh_blob::{BlobStore, Error as BlobError};
use mediamesh_proto::ErrorReason;
use mediamesh_store::{IntegrityStore, integrity::StoredItem, job::JobKind, media::State};

use super::{Error, Finding, PAGE, Part, Problem, Repair, Scan, records::Looked};
use crate::service::{BACKGROUND, new_job};

/// Fewer originals than these tell nothing of a storage as a whole.
const LEAST: usize = 10;

/// Whether so many are missing that the storage as a whole is at fault.
fn most(missing: usize, looked: usize) -> bool {
    looked >= LEAST && missing * 2 > looked
}

/// Fails with `OtherStorage` if most of the first originals are missing, or all of few: then it is not the
/// items that are damaged. Answers whether any of them is there: else nothing proves that what no row
/// names is ours.
pub(crate) async fn is_its_storage(
    records: &dyn IntegrityStore,
    blobs: &BlobStore,
    concurrency: usize,
) -> Result<bool, Error> {
    let page = records.stored_items(0, PAGE).await?;
    let looked = page.len();
    let there = stream::iter(page)
        .map(|item| async move { blobs.head(&item.original.key).await })
        .buffer_unordered(concurrency);
    let (mut found, mut missing) = (false, 0);
    let mut there = std::pin::pin!(there);
    while let Some(outcome) = there.next().await {
        found |= outcome.is_ok();
        missing += usize::from(matches!(outcome, Err(BlobError::NotFound { .. })));
    }
    let none = looked > 0 && missing == looked;
    match none || most(missing, looked) {
        true => Err(Error::OtherStorage { missing, looked }),
        false => Ok(found),
    }
}

impl Scan {
    /// Refuses to repair a page most of whose originals are missing: the storage went away since the start.
    pub(super) fn is_still_there(page: &[Looked]) -> Result<(), Error> {
        let gone = |finding: &Finding| {
            finding.part == Part::Original && finding.problem == Problem::Missing
        };
        let missing = page.iter().filter(|item| item.findings.iter().any(gone));
        let (missing, looked) = (missing.count(), page.len());
        match most(missing, looked) {
            true => Err(Error::OtherStorage { missing, looked }),
            false => Ok(()),
        }
    }

    /// Mends what can be mended of an item; answers whether it was marked damaged and is whole again.
    pub(super) async fn repair(&self, looked: &mut Looked) -> Result<bool, Error> {
        let item = &looked.item;
        let reason = ErrorReason::DataCorrupt.as_str_name();
        let marked = item.state == State::Failed && item.failure_reason == reason;
        if looked.findings.is_empty() {
            let whole = marked && self.depth.checksums;
            if whole {
                self.queue(item).await?;
            }
            return Ok(whole);
        }
        let mut findings = looked.findings.iter();
        let original = findings.find(|finding| finding.part == Part::Original);
        let problem = match original {
            Some(finding) => Some(finding.problem),
            None if self.depth.checksums => None,
            // a size tells little, and what is made of a damaged original is damaged
            None => self.problem(&item.original).await?,
        };
        let damage = match problem {
            Some(Problem::Missing) => Some("the stored original is missing"),
            Some(Problem::Mismatch) => Some("the stored original is damaged"),
            // nothing is known of its bytes, and nothing can be made from them
            Some(_) => None,
            None => {
                self.queue(item).await?;
                for finding in &mut looked.findings {
                    finding.repair = match finding.problem {
                        Problem::Missing | Problem::Mismatch => Repair::Queued,
                        Problem::Untracked | Problem::Unreadable => Repair::Impossible,
                    };
                }
                return Ok(false);
            }
        };
        let mut now_marked = marked;
        if let Some(detail) = damage {
            let marks = self
                .records
                .mark_damaged(item.tenant_id, item.id, reason, detail);
            now_marked |= marks.await?;
        }
        for finding in &mut looked.findings {
            finding.repair = match finding.part {
                Part::Original if now_marked => Repair::Marked,
                _ => Repair::Impossible,
            };
        }
        Ok(false)
    }

    /// Queues a job that derives everything anew, unless one waits.
    async fn queue(&self, item: &StoredItem) -> Result<(), Error> {
        let (tenant, id) = (item.tenant_id, item.id);
        let job = new_job(&self.options, tenant, JobKind::ProcessMedia, id, BACKGROUND);
        self.jobs.enqueue(job).await?;
        self.jobs.ring();
        Ok(())
    }
}
