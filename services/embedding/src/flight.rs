//! Identical work in flight is done once.
//!
//! The first caller hands the input to the pool; whoever asks for the same content and model until
//! it is done shares the answer. When the last of them goes away, the work is taken back.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;

use crate::{
    error::Error,
    input::{Content, Input},
    metrics::EmbeddingMetrics,
    models::Model,
    pool::{self, Lane, Pool},
};

type Answer = Result<pool::Shared, Error>;
type Work = BoxFuture<'static, Answer>;
type Key = (String, Content);

struct Flight {
    number: u64,
    ticket: u64,
    lane: Lane,
    work: WeakShared<Work>,
}

type Table = Arc<Mutex<HashMap<Key, Flight>>>;

/// Everything in flight.
pub(crate) struct Flights {
    table: Table,
    pool: Pool,
    last_number: AtomicU64,
    metrics: EmbeddingMetrics,
}

/// Takes the flight off the table when its work is done or dropped.
struct Landing {
    table: Table,
    key: Key,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        if table
            .get(&self.key)
            .is_some_and(|flight| flight.number == self.number)
        {
            table.remove(&self.key);
        }
    }
}

impl Flights {
    pub(crate) fn new(pool: Pool, metrics: EmbeddingMetrics) -> Self {
        Self {
            table: Table::default(),
            pool,
            last_number: AtomicU64::new(0),
            metrics,
        }
    }

    /// Embeds one input, or joins a call that does so already.
    ///
    /// Errors: those of the model; `QueueFull`, `CutOff`.
    pub(crate) async fn embed(
        &self,
        lane: Lane,
        model: &Arc<Model>,
        content: Content,
        input: Input,
    ) -> Answer {
        self.join(lane, model, content, input)?.await
    }

    fn join(
        &self,
        lane: Lane,
        model: &Arc<Model>,
        content: Content,
        input: Input,
    ) -> Result<Shared<Work>, Error> {
        let key = (model.key.clone(), content);
        let mut table = self.table.lock();
        if let Some(flight) = table.get_mut(&key)
            && let Some(work) = flight.work.upgrade()
        {
            self.metrics.coalesced.inc();
            if lane == Lane::Interactive && flight.lane == Lane::Background {
                flight.lane = lane;
                self.pool.promote(flight.ticket);
            }
            return Ok(work);
        }
        let ticket = self.pool.submit(lane, Arc::clone(model), input)?;
        let number = self.last_number.fetch_add(1, Ordering::Relaxed);
        let landing = Landing {
            table: Arc::clone(&self.table),
            key: key.clone(),
            number,
        };
        let reply = ticket.reply;
        let work = async move {
            let _landing = landing;
            reply.await.unwrap_or(Err(Error::CutOff))
        };
        let work = work.boxed().shared();
        if let Some(weak) = work.downgrade() {
            table.insert(
                key,
                Flight {
                    number,
                    ticket: ticket.id,
                    lane,
                    work: weak,
                },
            );
        }
        Ok(work)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }
}
