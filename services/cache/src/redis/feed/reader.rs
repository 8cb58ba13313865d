//! Reads what other processes wrote to the feed.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use redis::{RedisResult, streams::StreamRangeReply, streams::StreamReadReply};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{CHANGE, Change, ORIGIN, Told};
use crate::redis::{
    connection::{Connection, Connector},
    fault::Fault,
    store::Redis,
};

/// How long a read waits for something new. Also how often a reader asks whether it missed something.
const BLOCK: Duration = Duration::from_secs(1);
/// Time beyond that after which the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(1);
/// Events read at once.
const AT_ONCE: usize = 512;
/// Wait before connecting again.
const RETRY: Duration = Duration::from_millis(100);
/// Before every event.
const BEGIN: &str = "0-0";

/// Reads the feed and tells of it until nobody listens. Changes by `origin` itself are left out.
pub(crate) async fn read(
    redis: Arc<Redis>,
    connector: Connector,
    origin: String,
    told: mpsc::Sender<Told>,
) {
    let mut reader = Reader {
        feed: redis.keys.feed(),
        last: None,
        redis,
        origin,
        told,
    };
    while !reader.told.is_closed() {
        // a connection of its own: reads that wait would hold up everybody else's commands
        let connect = connector.connect(&reader.redis.options);
        let connected = timeout(reader.redis.options.connect_timeout() * 2, connect).await;
        if let Ok(Ok(connection)) = connected {
            // why it ended is noted by the calls of everybody else
            let _ = reader.follow(connection).await;
        }
        sleep(RETRY).await;
    }
}

struct Reader {
    redis: Arc<Redis>,
    feed: String,
    origin: String,
    /// The last event that was read, or the newest one when reading began.
    last: Option<String>,
    told: mpsc::Sender<Told>,
}

impl Reader {
    async fn follow(&mut self, mut connection: Connection) -> Result<(), Fault> {
        loop {
            self.begin_anew_if_missed(&mut connection).await?;
            while self.read(&mut connection).await? {}
            if self.told.is_closed() {
                return Ok(());
            }
        }
    }

    /// Begins at the newest event, and drops memory, unless everything since the last is there.
    async fn begin_anew_if_missed(&mut self, connection: &mut Connection) -> Result<(), Fault> {
        let newest = self.newest(connection).await?;
        let complete = match &self.last {
            None => false,
            // nothing had ever been written; if it has been since, it is read
            Some(last) if last == BEGIN => {
                newest == BEGIN || self.length(connection).await? < self.redis.options.feed_length
            }
            Some(last) => *last == newest || self.is_there(connection, last).await?,
        };
        if complete {
            return Ok(());
        }
        if self.last.replace(newest).is_some() {
            self.redis.metrics.resets.inc();
        }
        self.tell(Told::Missed).await;
        Ok(())
    }

    async fn newest(&self, connection: &mut Connection) -> Result<String, Fault> {
        let mut command = redis::cmd("XREVRANGE");
        command
            .arg(&self.feed)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1);
        let found: StreamRangeReply = soon(command.query_async(connection)).await?;
        let newest = found.ids.into_iter().next().map(|event| event.id);
        Ok(newest.unwrap_or_else(|| BEGIN.to_owned()))
    }

    async fn length(&self, connection: &mut Connection) -> Result<u64, Fault> {
        soon(redis::cmd("XLEN").arg(&self.feed).query_async(connection)).await
    }

    async fn is_there(&self, connection: &mut Connection, id: &str) -> Result<bool, Fault> {
        let mut command = redis::cmd("XRANGE");
        command.arg(&self.feed).arg(id).arg(id);
        let found: StreamRangeReply = soon(command.query_async(connection)).await?;
        Ok(!found.ids.is_empty())
    }

    /// Reads what is new; answers whether there was anything.
    async fn read(&mut self, connection: &mut Connection) -> Result<bool, Fault> {
        let mut command = redis::cmd("XREAD");
        command
            .arg("COUNT")
            .arg(AT_ONCE)
            .arg("BLOCK")
            .arg(u64::try_from(BLOCK.as_millis()).unwrap_or(u64::MAX))
            .arg("STREAMS")
            .arg(&self.feed)
            .arg(self.last.as_deref().unwrap_or(BEGIN));
        let found: Option<StreamReadReply> = soon(command.query_async(connection)).await?;
        let mut any = false;
        for event in found
            .into_iter()
            .flat_map(|found| found.keys)
            .flat_map(|key| key.ids)
        {
            any = true;
            let origin: Option<String> = event.get(ORIGIN);
            if origin.as_deref() != Some(&self.origin) {
                self.redis.metrics.heard.inc();
                let change: Option<Vec<u8>> = event.get(CHANGE);
                let change = change.and_then(|bytes| Change::decode(&bytes[..]).ok());
                // what a newer version wrote and this one cannot read may be about anything
                self.tell(change.map_or(Told::Missed, Told::Changed)).await;
            }
            self.last = Some(event.id);
        }
        Ok(any)
    }

    async fn tell(&self, told: Told) {
        // nobody listens when the service is gone, and the loop ends
        let _ = self.told.send(told).await;
    }
}

async fn soon<T>(work: impl Future<Output = RedisResult<T>>) -> Result<T, Fault> {
    match timeout(BLOCK + SILENCE, work).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Fault::Timeout),
    }
}
