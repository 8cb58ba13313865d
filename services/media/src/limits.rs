//! How many jobs may run and how often they may start, as it is configured.

use mediamesh_store::{
    job::JobKind,
    limit::{ClaimLimits, Limit, Limits},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits of some jobs, over all workers; 0 = none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitOptions {
    /// Most that run at once, over all tenants.
    pub max_running: u32,
    /// Most of one tenant that run at once.
    pub max_running_per_tenant: u32,
    /// Most that start in a minute, over all tenants; a second's worth may start at once.
    pub max_starts_per_minute: u32,
    /// Most of one tenant that start in a minute.
    pub max_starts_per_minute_per_tenant: u32,
}

/// Limits of jobs, of all kinds together and of each. Where several hold, the narrowest decides.
/// Workers of one database should have the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobLimits {
    /// Of all kinds together.
    pub all: LimitOptions,
    /// Of jobs that derive and embed.
    pub process_media: LimitOptions,
    /// Of jobs that embed what was derived before.
    pub embed_media: LimitOptions,
    /// Of jobs that remove the bytes of deleted items.
    pub delete_blobs: LimitOptions,
    /// Of jobs that remove ended jobs.
    pub sweep_jobs: LimitOptions,
    /// Of jobs that remove orphaned bytes.
    pub sweep_blobs: LimitOptions,
    /// Of jobs that compare rows with what is stored.
    pub check_blobs: LimitOptions,
}

impl From<LimitOptions> for Limits {
    fn from(options: LimitOptions) -> Self {
        let bound = |value: u32| Some(i64::from(value)).filter(|value| *value > 0);
        Self {
            all: Limit {
                running: bound(options.max_running),
                per_minute: bound(options.max_starts_per_minute),
            },
            tenant: Limit {
                running: bound(options.max_running_per_tenant),
                per_minute: bound(options.max_starts_per_minute_per_tenant),
            },
        }
    }
}

impl JobLimits {
    /// As a claim takes them.
    #[must_use]
    pub fn claim(&self) -> ClaimLimits {
        let of = |kind| match kind {
            JobKind::ProcessMedia => self.process_media,
            JobKind::EmbedMedia => self.embed_media,
            JobKind::DeleteBlobs => self.delete_blobs,
            JobKind::SweepJobs => self.sweep_jobs,
            JobKind::SweepBlobs => self.sweep_blobs,
            JobKind::CheckBlobs => self.check_blobs,
        };
        let kinds = JobKind::ALL.map(|kind| (kind, Limits::from(of(kind))));
        ClaimLimits {
            jobs: self.all.into(),
            kinds: kinds
                .into_iter()
                .filter(|(_, limits)| *limits != Limits::default())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_limited_unless_it_is_said() {
        assert!(!JobLimits::default().claim().any());
        let mut limits = JobLimits::default();
        limits.embed_media.max_starts_per_minute_per_tenant = 30;
        let claim = limits.claim();
        assert!(claim.any() && claim.any_rate());
        let (kind, bounds) = claim.kinds[0];
        assert_eq!((kind, claim.kinds.len()), (JobKind::EmbedMedia, 1));
        assert_eq!(bounds.tenant.per_minute, Some(30));
        assert_eq!(bounds.all, Limit::default());
    }
}
