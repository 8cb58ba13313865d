//! Sessions of one process: in its memory, and in a file if it has one.
//!
//! Every operation is one step under one lock. Where there is a file, a change is in it before it
//! is answered, and steps run on the blocking pool.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use mediamesh_proto::{SessionHandle, TenantId, time::now_micros};
use parking_lot::Mutex;

use super::{
    journal::{Journal, Line, OpenError},
    record::{Data, Head, Owner, Record},
    store::{Looked, Made, New, Result, StoreError, Written},
};

/// Longest time a use stays out of the file, milliseconds: what a crash of the host may take off a
/// life. A short-lived session is noted ten times in its life.
const NOTE_MILLIS: i64 = 60_000;

/// A session and when its use was last noted in the file.
struct Kept {
    head: Head,
    data: Data,
    noted: i64,
}

/// The sessions; clones share them.
#[derive(Clone)]
pub(crate) struct Memory {
    state: Arc<Mutex<State>>,
    most: usize,
    durable: bool,
}

#[derive(Default)]
struct State {
    users: HashMap<Owner, BTreeMap<SessionHandle, Kept>>,
    owners: HashMap<SessionHandle, Owner>,
    journal: Option<Journal>,
}

fn now() -> i64 {
    now_micros() / 1000
}

impl Memory {
    /// No sessions yet, `most` at once, which end with the process.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            state: Arc::default(),
            most,
            durable: false,
        }
    }

    /// The sessions of the file in `folder`, which is made if it is not there.
    ///
    /// Errors: another process keeps them, or the file cannot be read or written.
    /// Blocking: reads the file and writes it anew.
    pub(crate) fn open(folder: &Path, most: usize) -> std::result::Result<Self, OpenError> {
        let (mut journal, lines) = Journal::open(folder)?;
        let mut state = State::default();
        for line in lines {
            match line.record {
                Some((head, data)) => state.put(&line.owner, line.handle, head, data),
                None => state.drop_one(&line.owner, line.handle),
            }
        }
        let now = now();
        state.forget(|_, kept| kept.head.is_over(now));
        journal.rewrite(state.lines())?;
        state.journal = Some(journal);
        Ok(Self {
            state: Arc::new(Mutex::new(state)),
            most,
            durable: true,
        })
    }

    async fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.durable {
            return work(&mut self.state.lock());
        }
        let state = Arc::clone(&self.state);
        let step = tokio::task::spawn_blocking(move || work(&mut state.lock()));
        step.await
            .unwrap_or_else(|error| Err(StoreError::File(error.to_string())))
    }

    pub(crate) async fn create_session(&self, owner: &Owner, new: New) -> Result<Made> {
        let (owner, most) = (owner.clone(), self.most);
        self.step(move |state| {
            let now = now();
            let expired = state.expire(&owner, now)?;
            let mut live: Vec<(i64, SessionHandle)> = (state.of(&owner))
                .map(|(handle, kept)| (kept.head.active, *handle))
                .collect();
            live.sort_unstable();
            let excess = (live.len() + 1).saturating_sub(new.most);
            let displaced: Vec<SessionHandle> = live
                .iter()
                .take(excess)
                .map(|(_, handle)| *handle)
                .collect();
            if state.owners.len() - displaced.len() >= most {
                return Err(StoreError::Full(most));
            }
            state.remove(&owner, &displaced)?;
            let head = Head::new(now, new.ttl, new.life);
            state.write(&owner, new.handle, head, new.data.clone(), true)?;
            Ok(Made {
                record: Record {
                    handle: new.handle,
                    head,
                    data: new.data,
                },
                displaced,
                expired,
            })
        })
        .await
    }

    pub(crate) async fn session_owner(&self, handle: SessionHandle) -> Result<Option<Owner>> {
        self.step(move |state| Ok(state.owners.get(&handle).cloned()))
            .await
    }

    pub(crate) async fn look_session(
        &self,
        owner: &Owner,
        handle: SessionHandle,
        touch: bool,
    ) -> Result<Looked> {
        let owner = owner.clone();
        self.step(move |state| {
            let now = now();
            let Some(kept) = state.get(&owner, handle) else {
                return Ok(Looked::Absent);
            };
            if kept.head.is_over(now) {
                state.remove(&owner, &[handle])?;
                return Ok(Looked::Expired);
            }
            if touch {
                kept.head.touch(now);
                let due = kept.noted + NOTE_MILLIS.min(kept.head.ttl / 10);
                if now >= due {
                    let (head, data) = (kept.head, kept.data.clone());
                    // a use that is not noted is no reason to refuse it
                    if let Err(error) = state.write(&owner, handle, head, data, false) {
                        tracing::warn!(?error, "the use of a session could not be noted");
                    }
                }
            }
            Ok(match state.record(&owner, handle) {
                Some(record) => Looked::Live(Box::new(record)),
                None => Looked::Absent,
            })
        })
        .await
    }

    pub(crate) async fn write_session(
        &self,
        owner: &Owner,
        handle: SessionHandle,
        revision: i64,
        data: &Data,
    ) -> Result<Written> {
        let (owner, data) = (owner.clone(), data.clone());
        self.step(move |state| {
            let now = now();
            let Some(kept) = state.get(&owner, handle) else {
                return Ok(Written::Absent);
            };
            if kept.head.is_over(now) {
                state.remove(&owner, &[handle])?;
                return Ok(Written::Absent);
            }
            if kept.head.revision != revision {
                return Ok(Written::Stale);
            }
            let mut head = kept.head;
            head.revision += 1;
            head.touch(now);
            state.write(&owner, handle, head, data, true)?;
            Ok(match state.record(&owner, handle) {
                Some(record) => Written::Done(Box::new(record)),
                None => Written::Absent,
            })
        })
        .await
    }

    pub(crate) async fn remove_session(
        &self,
        owner: &Owner,
        handle: SessionHandle,
    ) -> Result<bool> {
        let owner = owner.clone();
        self.step(move |state| {
            let now = now();
            let Some(kept) = state.get(&owner, handle) else {
                return Ok(false);
            };
            let live = !kept.head.is_over(now);
            state.remove(&owner, &[handle])?;
            Ok(live)
        })
        .await
    }

    pub(crate) async fn list_sessions(&self, owner: &Owner) -> Result<Vec<Record>> {
        let owner = owner.clone();
        self.step(move |state| {
            let now = now();
            let live = state.of(&owner).filter(|(_, kept)| !kept.head.is_over(now));
            Ok(live
                .map(|(handle, kept)| Record {
                    handle: *handle,
                    head: kept.head,
                    data: kept.data.clone(),
                })
                .collect())
        })
        .await
    }

    pub(crate) async fn remove_sessions(
        &self,
        owner: &Owner,
        keep: Option<SessionHandle>,
    ) -> Result<Vec<SessionHandle>> {
        let owner = owner.clone();
        self.step(move |state| {
            state.expire(&owner, now())?;
            let all = state.of(&owner).map(|(handle, _)| *handle);
            let gone: Vec<SessionHandle> = all.filter(|handle| keep != Some(*handle)).collect();
            state.remove(&owner, &gone)?;
            Ok(gone)
        })
        .await
    }

    pub(crate) async fn sweep_sessions(&self, tenant: Option<TenantId>) -> Result<u64> {
        self.step(move |state| {
            let now = now();
            let before = state.owners.len();
            state.forget(|owner, kept| {
                tenant.is_none_or(|tenant| owner.tenant == tenant) && kept.head.is_over(now)
            });
            let removed = before - state.owners.len();
            // what is over needs no line: a reader of the file forgets it by itself
            let live = state.owners.len();
            if let Some(mut journal) = state.journal.take() {
                let outcome = match journal.is_long_for(live) {
                    true => journal.rewrite(state.lines()),
                    false => Ok(()),
                };
                state.journal = Some(journal);
                outcome.map_err(|error| StoreError::File(error.to_string()))?;
            }
            Ok(removed as u64)
        })
        .await
    }
}

impl State {
    fn of(&self, owner: &Owner) -> impl Iterator<Item = (&SessionHandle, &Kept)> {
        self.users.get(owner).into_iter().flatten()
    }

    fn get(&mut self, owner: &Owner, handle: SessionHandle) -> Option<&mut Kept> {
        self.users.get_mut(owner)?.get_mut(&handle)
    }

    fn record(&self, owner: &Owner, handle: SessionHandle) -> Option<Record> {
        let kept = self.users.get(owner)?.get(&handle)?;
        Some(Record {
            handle,
            head: kept.head,
            data: kept.data.clone(),
        })
    }

    /// Writes a session, to the file first.
    fn write(
        &mut self,
        owner: &Owner,
        handle: SessionHandle,
        head: Head,
        data: Data,
        sync: bool,
    ) -> Result<()> {
        self.append(
            &[Line {
                owner: owner.clone(),
                handle,
                record: Some((head, data.clone())),
            }],
            sync,
        )?;
        self.put(owner, handle, head, data);
        Ok(())
    }

    /// Removes sessions, from the file first.
    fn remove(&mut self, owner: &Owner, handles: &[SessionHandle]) -> Result<()> {
        let gone = |handle: &SessionHandle| Line {
            owner: owner.clone(),
            handle: *handle,
            record: None,
        };
        let lines: Vec<Line> = handles.iter().map(gone).collect();
        self.append(&lines, true)?;
        for handle in handles {
            self.drop_one(owner, *handle);
        }
        Ok(())
    }

    /// Removes what is over of one owner; answers how many.
    fn expire(&mut self, owner: &Owner, now: i64) -> Result<u64> {
        let over = self.of(owner).filter(|(_, kept)| kept.head.is_over(now));
        let over: Vec<SessionHandle> = over.map(|(handle, _)| *handle).collect();
        self.remove(owner, &over)?;
        Ok(over.len() as u64)
    }

    fn append(&mut self, lines: &[Line], sync: bool) -> Result<()> {
        match &mut self.journal {
            Some(journal) if !lines.is_empty() => journal
                .append(lines, sync)
                .map_err(|error| StoreError::File(error.to_string())),
            _ => Ok(()),
        }
    }

    fn put(&mut self, owner: &Owner, handle: SessionHandle, head: Head, data: Data) {
        let noted = head.active;
        let kept = Kept { head, data, noted };
        self.owners.insert(handle, owner.clone());
        self.users
            .entry(owner.clone())
            .or_default()
            .insert(handle, kept);
    }

    fn drop_one(&mut self, owner: &Owner, handle: SessionHandle) {
        if let Some(sessions) = self.users.get_mut(owner) {
            sessions.remove(&handle);
            if sessions.is_empty() {
                self.users.remove(owner);
            }
        }
        self.owners.remove(&handle);
    }

    /// Removes what `is_gone`, from memory only.
    fn forget(&mut self, is_gone: impl Fn(&Owner, &Kept) -> bool) {
        let owners = &mut self.owners;
        self.users.retain(|owner, sessions| {
            sessions.retain(|handle, kept| {
                let gone = is_gone(owner, kept);
                if gone {
                    owners.remove(handle);
                }
                !gone
            });
            !sessions.is_empty()
        });
    }

    fn lines(&self) -> impl Iterator<Item = Line> {
        self.users.iter().flat_map(|(owner, sessions)| {
            sessions.iter().map(|(handle, kept)| Line {
                owner: owner.clone(),
                handle: *handle,
                record: Some((kept.head, kept.data.clone())),
            })
        })
    }
}
