//! Reads that a replica may answer, and when it may.
//!
//! States of a replica, as a loop of this process sees it once a second:
//!
//! - **away**: it does not answer, is no replica, or one of another cluster. Every read is the primary's; one that waits for the
//!   replica at that moment is made again at the primary.
//! - **behind**: it answers, and has not what the primary had written `max_lag` ago. Every read is the
//!   primary's.
//! - **fit**: it is less behind. The first read of a search, of the corpus version, is the replica's.
//! - **settled**: fit for [`SETTLE`], and it has all that the primary had when it became fit. Every
//!   read is the replica's.
//!
//! Why two steps: a search reads the version of the corpus first, and what it reads thereafter must be as
//! new or newer, or stale hits would be cached under a new version. So later reads go to the replica
//! only when every search has ended that may have read its version at the primary. A read that fails at
//! the replica because the replica went away is made at the primary, and the replica starts again as
//! behind; so does it when this process starts.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use diesel_async::AsyncPgConnection;
use futures::future::BoxFuture;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use self::{
    marks::Marks,
    probe::{Probe, Side},
};
use super::database::Database;
use crate::error::{Error, Result};

mod marks;
mod probe;

/// How often primary and replica are asked where they are.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Longest that either may take to answer: a server at full load answers, one that hangs does not.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a replica is fit before all reads go there: no search takes as long, streams of hits have 60 s.
const SETTLE: Duration = match cfg!(test) {
    false => Duration::from_secs(90),
    true => Duration::from_secs(5),
};

/// How a replica is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Whether searches read from it.
    pub in_use: bool,
    /// How far it is behind; `None` if that is not known, as while the primary does not answer, or it is
    /// more than is kept in mind.
    pub lag: Option<Duration>,
    /// Reads that it answered.
    pub replica_reads: u64,
    /// Reads that the primary answered in its place.
    pub primary_reads: u64,
}

/// A replica and what is known of it. Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    inner: Arc<Inner>,
}

struct Inner {
    db: Database,
    state: watch::Sender<State>,
    replica_reads: AtomicU64,
    primary_reads: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    answers: bool,
    fit: Option<Fit>,
    lag: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Fit {
    since: Instant,
    /// Where the primary was then.
    floor: u64,
    settled: bool,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Replica").field(&self.status()).finish()
    }
}

impl Replica {
    /// Watches over `replica` of `primary`, which is used while it is at most `max_lag` behind. It need
    /// not be there yet. Must be called inside a tokio runtime.
    #[must_use]
    pub fn follow(replica: Database, primary: Database, max_lag: Duration) -> Self {
        let inner = Arc::new(Inner {
            db: replica.clone(),
            state: watch::Sender::new(State::default()),
            replica_reads: AtomicU64::new(0),
            primary_reads: AtomicU64::new(0),
        });
        tokio::spawn(watch(Arc::downgrade(&inner), primary, replica, max_lag));
        Self { inner }
    }

    /// How it is now.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        let state = *self.inner.state.borrow();
        ReplicaStatus {
            in_use: state.is_settled(),
            lag: state.lag,
            replica_reads: self.inner.replica_reads.load(Ordering::Relaxed),
            primary_reads: self.inner.primary_reads.load(Ordering::Relaxed),
        }
    }

    /// Leaves it until the next look at it.
    fn leave(&self) {
        self.inner.state.send_modify(|state| state.fit = None);
    }

    /// Waits until it is found to be away.
    async fn is_away(&self) {
        let mut state = self.inner.state.subscribe();
        if state.wait_for(|state| !state.answers).await.is_err() {
            // cannot be: the sender is held by `self`
            std::future::pending::<()>().await;
        }
    }
}

impl State {
    fn is_fit(&self) -> bool {
        self.fit.is_some()
    }

    fn is_settled(&self) -> bool {
        self.fit.is_some_and(|fit| fit.settled)
    }
}

/// Where searches and reports read: the replica while it may be used, else the primary.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    primary: Database,
    replica: Option<Replica>,
}

impl Reader {
    pub(super) fn new(primary: Database, replica: Option<Replica>) -> Self {
        Self { primary, replica }
    }

    /// Runs an operation that only reads; it may run a second time, at the primary.
    ///
    /// Errors: those of the operation; of the replica only where it answered, or has no connection free.
    pub(crate) async fn read<T, F>(&self, name: &'static str, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>>
            + Clone
            + Send
            + 'static,
    {
        let Some(replica) = &self.replica else {
            return self.primary.read(name, operation).await;
        };
        let settled = replica.inner.state.borrow().is_settled();
        if settled {
            match replica.read(name, operation.clone()).await {
                Some(Err(Error::RecoveryConflict)) => {}
                Some(answer) => return answer,
                None => {}
            }
        }
        self.at_primary(replica, name, operation).await
    }

    /// Runs the operation that tells how new later ones must be.
    pub(crate) async fn read_first<T, F>(&self, name: &'static str, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>>
            + Clone
            + Send
            + 'static,
    {
        let Some(replica) = &self.replica else {
            return self.primary.read(name, operation).await;
        };
        let fit = replica.inner.state.borrow().is_fit();
        if fit {
            match replica.read(name, operation.clone()).await {
                // the replica may be older than what the primary now says
                Some(Err(Error::RecoveryConflict)) => replica.leave(),
                Some(answer) => return answer,
                None => {}
            }
        }
        self.at_primary(replica, name, operation).await
    }

    async fn at_primary<T, F>(
        &self,
        replica: &Replica,
        name: &'static str,
        operation: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        replica.inner.primary_reads.fetch_add(1, Ordering::Relaxed);
        self.primary.read(name, operation).await
    }
}

impl Replica {
    /// Reads; `None` if the replica went away over it.
    async fn read<T, F>(&self, name: &'static str, operation: F) -> Option<Result<T>>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let answer = tokio::select! {
            biased;
            answer = self.inner.db.read(name, operation) => answer,
            () = self.is_away() => return None,
        };
        match answer {
            Err(Error::Unavailable { message }) => {
                tracing::debug!(message, "the replica does not answer");
                self.leave();
                None
            }
            answer => {
                if answer.is_ok() {
                    self.inner.replica_reads.fetch_add(1, Ordering::Relaxed);
                }
                Some(answer)
            }
        }
    }
}

/// Looks at primary and replica until nobody reads any more.
async fn watch(inner: Weak<Inner>, primary: Database, replica: Database, max_lag: Duration) {
    let mut written = Probe::new(primary, Side::Primary);
    let mut applied = Probe::new(replica.clone(), Side::Replica);
    let mut marks = Marks::new(max_lag);
    let mut said = None;
    let mut marked = Instant::now();
    let mut said_unknown = false;
    loop {
        if inner.strong_count() == 0 {
            return;
        }
        let asked = Instant::now();
        // all that was written before `asked` lies before this
        let mark = match timeout(PATIENCE, written.ask()).await {
            Ok(Ok(mark)) => Some(mark),
            // with the primary away the replica goes on as it is: nothing is written either
            Ok(Err(_)) | Err(_) => None,
        };
        if mark.is_none() {
            written.reset();
        }
        let reached = match timeout(PATIENCE, applied.ask()).await {
            Ok(reached) => reached
                .map_err(|error| error.to_string())
                .and_then(|reached| same_cluster(&written, &applied).map(|()| reached)),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        if reached.is_err() {
            applied.reset();
            // those in use are let go of by the reads, which end now
            replica.hang_up();
        }
        let Some(inner) = inner.upgrade() else { return };
        let now = Instant::now();
        if mark.is_some() {
            marked = now;
        }
        let is_unknown = now - marked > max_lag;
        inner.state.send_modify(|state| match &reached {
            Err(_) => *state = State::default(),
            Ok(reached) => {
                state.answers = true;
                if let Some(mark) = mark {
                    state.lag = marks.lag(asked, mark, *reached, now);
                    state.fit = match state.lag {
                        Some(lag) if lag <= max_lag => Some(fit(state.fit, mark, *reached, now)),
                        _ => None,
                    };
                } else if is_unknown {
                    state.lag = None;
                }
            }
        });
        let state = *inner.state.borrow();
        drop(inner);
        let is_foreign = same_cluster(&written, &applied).is_err();
        say(&mut said, state, is_foreign, reached.err());
        if is_unknown && !said_unknown && state.is_settled() {
            tracing::warn!(
                "the primary does not answer: how far the replica is behind is not known, and it is \
                 still read"
            );
        }
        said_unknown = is_unknown && (said_unknown || state.is_settled());
        sleep(CHECK_EVERY).await;
    }
}

/// Errors: what to say of two servers of which one cannot have its data from the other; those that do not
/// tell are believed.
fn same_cluster(primary: &Probe, replica: &Probe) -> std::result::Result<(), String> {
    match (primary.cluster(), replica.cluster()) {
        (Some(primary), Some(replica)) if primary != replica => Err(format!(
            "it belongs to another cluster: its system identifier is {replica}, the primary's {primary}"
        )),
        _ => Ok(()),
    }
}

fn fit(before: Option<Fit>, mark: u64, reached: u64, now: Instant) -> Fit {
    let fit = before.unwrap_or(Fit {
        since: now,
        floor: mark,
        settled: false,
    });
    Fit {
        settled: fit.settled || (now - fit.since >= SETTLE && reached >= fit.floor),
        ..fit
    }
}

/// Puts each change of the state in the log once.
fn say(said: &mut Option<(bool, bool, bool)>, state: State, is_foreign: bool, why: Option<String>) {
    let now = (state.answers, state.is_settled(), is_foreign);
    // on its way to be settled it says nothing
    if *said == Some(now) || (state.is_fit() && !state.is_settled()) {
        return;
    }
    *said = Some(now);
    let lag_secs = state.lag.map(|lag| lag.as_secs());
    match (now, why) {
        ((true, true, _), _) => tracing::info!(lag_secs, "searches read from the replica"),
        ((true, false, _), _) => {
            tracing::warn!(
                lag_secs,
                "the replica is behind: searches read from the primary"
            );
        }
        ((false, ..), why) => {
            let why = why.unwrap_or_default();
            tracing::warn!(why, "the replica is away: searches read from the primary");
        }
    }
}
