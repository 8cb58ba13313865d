//! Memory or Redis behind one type.

use std::{sync::Arc, time::Duration};

use mediamesh_proto::{SessionHandle, TenantId};

use super::{
    memory::Memory,
    record::{Data, Owner, Record},
};
use crate::redis::{Fault, Redis};

/// Why the store did nothing, or nothing that is known of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// Redis did not do it.
    Redis(Fault),
    /// The file of sessions cannot be written.
    File(String),
    /// No room for another session; the limit.
    Full(usize),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        Self::Redis(fault)
    }
}

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// A session to be made.
#[derive(Debug, Clone)]
pub(crate) struct New {
    pub(crate) handle: SessionHandle,
    pub(crate) ttl: Duration,
    /// Longest life.
    pub(crate) life: Duration,
    /// Most sessions of the owner, this one included.
    pub(crate) most: usize,
    pub(crate) data: Data,
}

/// What came of making a session.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) record: Record,
    /// Sessions of the owner that ended for it.
    pub(crate) displaced: Vec<SessionHandle>,
    /// Sessions of the owner whose time was over and which were removed by the way.
    pub(crate) expired: u64,
}

/// What came of looking for a session.
#[derive(Debug)]
pub(crate) enum Looked {
    Live(Box<Record>),
    /// Its time is over, and it was removed now.
    Expired,
    Absent,
}

/// What came of writing a session.
#[derive(Debug)]
pub(crate) enum Written {
    Done(Box<Record>),
    /// Somebody wrote since the revision that was given.
    Stale,
    Absent,
}

/// Where sessions are.
#[derive(Clone)]
pub(crate) enum Store {
    Memory(Memory),
    Redis(Arc<Redis>),
}

macro_rules! both {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Store::Memory($store) => $call,
            Store::Redis($store) => $call,
        }
    };
}

impl Store {
    /// Makes a session; beyond `most` those of the owner end that were longest without use.
    pub(crate) async fn create(&self, owner: &Owner, new: New) -> Result<Made> {
        both!(self, store => store.create_session(owner, new).await)
    }

    /// Whose a session is; it may be over.
    pub(crate) async fn owner(&self, handle: SessionHandle) -> Result<Option<Owner>> {
        both!(self, store => store.session_owner(handle).await)
    }

    /// Reads a session, and notes its use if `touch`.
    pub(crate) async fn look(
        &self,
        owner: &Owner,
        handle: SessionHandle,
        touch: bool,
    ) -> Result<Looked> {
        both!(self, store => store.look_session(owner, handle, touch).await)
    }

    /// Writes what a session holds if it is still at `revision`, and notes its use.
    pub(crate) async fn write(
        &self,
        owner: &Owner,
        handle: SessionHandle,
        revision: i64,
        data: &Data,
    ) -> Result<Written> {
        both!(self, store => store.write_session(owner, handle, revision, data).await)
    }

    /// Ends a session; answers whether it was live.
    pub(crate) async fn remove(&self, owner: &Owner, handle: SessionHandle) -> Result<bool> {
        both!(self, store => store.remove_session(owner, handle).await)
    }

    /// The live sessions of an owner.
    pub(crate) async fn list(&self, owner: &Owner) -> Result<Vec<Record>> {
        both!(self, store => store.list_sessions(owner).await)
    }

    /// Ends all sessions of an owner but `keep`; answers those that were live.
    pub(crate) async fn remove_all(
        &self,
        owner: &Owner,
        keep: Option<SessionHandle>,
    ) -> Result<Vec<SessionHandle>> {
        both!(self, store => store.remove_sessions(owner, keep).await)
    }

    /// Removes what is over, of one tenant or of all; answers how many.
    pub(crate) async fn sweep(&self, tenant: Option<TenantId>) -> Result<u64> {
        both!(self, store => store.sweep_sessions(tenant).await)
    }

    /// By which policy the store drops sessions for want of room; `None` if it does not.
    pub(crate) async fn eviction(&self) -> Result<Option<String>> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::Redis(redis) => Ok(redis.session_eviction().await?),
        }
    }

    /// Takes the turn to sweep for all processes that share the store.
    pub(crate) async fn turn_to_sweep(&self, interval: Duration) -> Result<bool> {
        match self {
            Self::Memory(_) => Ok(true),
            Self::Redis(redis) => Ok(redis.turn_to_sweep_sessions(interval).await?),
        }
    }
}
