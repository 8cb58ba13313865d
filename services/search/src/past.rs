//! What was searched for: noted in the user's own history, and counted for all of its tenant.
//!
//! A search is noted in memory once it is answered, and written together with others of the same
//! moment: no search waits for that and none fails by it. A process that is killed loses what it
//! noted last, a quarter of a second's worth.
//!
//! # Privacy
//!
//! A history is read and removed by its user only. Of a wording it is told that people search for
//! it only once [`Past::min_searchers`] have, so that nobody reads what one of them is looking for.
//! The counts hold digests instead of names, another for each wording, and texts no longer than a
//! line. What a user asks to be private, and what nobody waits for, is not noted.

use std::{collections::HashMap, sync::Arc, time::Duration};

use mediamesh_mesh::{Identity, Priority, identity, priority};
use mediamesh_near::NearCache;
use mediamesh_proto::{
    TenantId,
    cache::v1::{CountSearchesRequest, CountedSearch, ListPopularSearchesRequest, PopularWording},
    time::now_micros,
};
use mediamesh_store::{
    HistoryStore,
    history::{MAX_WORDING_BYTES, NewSearch, PastSearch},
};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Notify, time::sleep};

use crate::{
    error::Error,
    options::Options,
    wording::{cleaned, wording},
};

/// How long a search waits for others to be written with it.
const LINGER: Duration = Duration::from_millis(250);
/// Searches that wait to be written; more are not noted. The database is seconds
/// behind by then.
const MAX_PENDING: usize = 4096;
/// Searches counted by one call: the most that the cache service takes.
const COUNTED_AT_ONCE: usize = 1000;
/// Most that one user's searches for one wording count for at once.
const MOST_TIMES: i32 = 1_000_000;
/// How often what is too old is removed.
const SWEEP: Duration = Duration::from_secs(3600);
/// Rows removed at once: others write in between.
const SWEPT_AT_ONCE: i64 = 1000;

/// What waits to be written: by tenant, user and wording.
type Pending = HashMap<(TenantId, String, String), NewSearch>;

/// Searches of the past.
pub(crate) struct Past {
    pub(super) store: Arc<dyn HistoryStore>,
    pub(super) cache: NearCache,
    pending: Mutex<Pending>,
    /// Held while pending searches are written, so that who waits for them knows when they are.
    writing: tokio::sync::Mutex<()>,
    noted: Notify,
    lost: Counter,
    keep_days: u32,
    keep: i64,
    min_searchers: u32,
}

impl Past {
    pub(crate) fn new(
        options: &Options,
        store: Arc<dyn HistoryStore>,
        cache: NearCache,
        lost: Counter,
    ) -> Self {
        Self {
            store,
            cache,
            pending: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            noted: Notify::new(),
            lost,
            keep_days: options.history_retention_days,
            keep: i64::from(options.max_history_per_user),
            min_searchers: options.popular_min_searchers,
        }
    }

    /// Notes that a user searched for something.
    pub(crate) fn note(&self, user: &Identity, query: &str) {
        let wording = wording(query);
        let unfit = wording.is_empty() || wording.len() > MAX_WORDING_BYTES;
        if unfit || Priority::current() == Priority::Background {
            return;
        }
        let tenant = TenantId(user.tenant_id);
        let mut pending = self.pending.lock();
        let key = (tenant, user.subject.clone(), wording.clone());
        if let Some(again) = pending.get_mut(&key) {
            again.searches += 1;
            again.query = cleaned(query);
            again.search_time = now_micros();
            return;
        }
        if pending.len() >= MAX_PENDING {
            self.lost.inc();
            return;
        }
        let search = NewSearch {
            subject: user.subject.clone(),
            wording,
            query: cleaned(query),
            searches: 1,
            search_time: now_micros(),
        };
        pending.insert(key, search);
        drop(pending);
        self.noted.notify_one();
    }

    /// Writes what was noted. Cancel: what is being written is written.
    pub(crate) async fn flush(self: &Arc<Self>) {
        let past = Arc::clone(self);
        // an error: it panicked, which was logged
        let _ = tokio::spawn(async move { past.write().await }).await;
    }

    async fn write(&self) {
        let _turn = self.writing.lock().await;
        let pending = std::mem::take(&mut *self.pending.lock());
        let mut tenants: HashMap<TenantId, Vec<NewSearch>> = HashMap::new();
        for ((tenant, ..), search) in pending {
            tenants.entry(tenant).or_default().push(search);
        }
        for (tenant, searches) in tenants {
            self.count(tenant, &searches).await;
            if self.keep_days == 0 || self.keep == 0 {
                continue;
            }
            let many = searches.len();
            if let Err(error) = self.store.note_searches(tenant, searches, self.keep).await {
                self.lost.inc_by(many as u64);
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, many, "searches are missing from the history");
            }
        }
    }

    pub(super) async fn count(&self, tenant: TenantId, searches: &[NewSearch]) {
        for searches in searches.chunks(COUNTED_AT_ONCE) {
            let searches = searches.iter().map(|search| CountedSearch {
                wording: search.wording.clone(),
                searcher: searcher(tenant, search),
                times: i32::try_from(search.searches)
                    .unwrap_or(MOST_TIMES)
                    .min(MOST_TIMES),
            });
            let request = CountSearchesRequest {
                searches: searches.collect(),
            };
            let count = self.cache.count_searches(request);
            let count = identity::scope(Identity::background(tenant.0), count);
            // a count that is lost is one of many
            let _ = priority::background(count).await;
        }
    }

    /// A page of a user's own searches, newest first.
    pub(crate) async fn list(
        self: &Arc<Self>,
        user: &Identity,
        after: Option<(i64, String)>,
        limit: i64,
    ) -> Result<Vec<PastSearch>, Error> {
        // who has just searched sees it
        self.flush().await;
        let tenant = TenantId(user.tenant_id);
        let found = self
            .store
            .past_searches(tenant, &user.subject, after, limit);
        Ok(found.await?)
    }

    /// Removes one of a user's own searches, however it is written, or all.
    pub(crate) async fn forget(
        self: &Arc<Self>,
        user: &Identity,
        query: &str,
    ) -> Result<u64, Error> {
        self.flush().await;
        let wording = wording(query);
        let one = (!query.is_empty()).then_some(wording.as_str());
        let tenant = TenantId(user.tenant_id);
        let removed = self.store.forget_searches(tenant, &user.subject, one);
        Ok(removed.await?)
    }

    /// What is popular in the tenant of a user and may be told.
    pub(crate) async fn popular(
        &self,
        user: &Identity,
        prefix: &str,
        limit: i32,
    ) -> Result<Vec<PopularWording>, tonic::Status> {
        let request = ListPopularSearchesRequest {
            limit,
            prefix: prefix.to_owned(),
            min_searchers: self.min_searchers(user),
        };
        self.cache.list_popular_searches(request).await
    }

    /// How many must have searched for what is told to a user. Where nobody signs in there is but one
    /// user, who may read what it searched for itself.
    fn min_searchers(&self, user: &Identity) -> i32 {
        let least = match *user == Identity::local() {
            true => 1,
            false => self.min_searchers,
        };
        i32::try_from(least).unwrap_or(i32::MAX)
    }

    /// Writes what is noted and removes what is too old, until `shutdown`.
    pub(crate) async fn run(self: &Arc<Self>, shutdown: impl Future<Output = ()>) {
        let mut sweep = tokio::time::interval(SWEEP);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = sweep.tick() => self.sweep().await,
                () = self.noted.notified() => {
                    sleep(LINGER).await;
                    self.flush().await;
                }
            }
        }
        self.flush().await;
    }

    async fn sweep(&self) {
        let age = Duration::from_secs(u64::from(self.keep_days) * 24 * 3600);
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let before = now_micros().saturating_sub(age);
        let sweep = async {
            while self.store.sweep_searches(before, SWEPT_AT_ONCE).await? > 0 {}
            Ok::<_, mediamesh_store::Error>(())
        };
        if let Err(error) = priority::background(sweep).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "old searches stay in the history until the next try");
        }
    }
}

/// Stands for who searched, for one wording of one tenant.
fn searcher(tenant: TenantId, search: &NewSearch) -> u64 {
    let mut hash = Sha256::new();
    hash.update(tenant.0.as_bytes());
    hash.update(Sha256::digest(&search.wording));
    hash.update(&search.subject);
    let hash: [u8; 32] = hash.finalize().into();
    hash[..8]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
