//! Connects, probes, replays what is pending, and says how it goes.

use std::{sync::Arc, time::Duration};

use mediamesh_telemetry::HealthRegistry;
use tokio::time::timeout;

use super::{
    connection::{Connection, Connector},
    fault::Fault,
    store::{Redis, Role},
};

/// How often a Redis that answers is asked for a sign of life: also one that nobody else asks.
const WATCH: Duration = Duration::from_secs(1);
/// How often one is that does not.
const PROBE: Duration = Duration::from_millis(100);
/// Looks in vain after which the connection is made anew: it may lead nowhere without breaking.
const PROBES: u32 = 10;
/// How long a refusal is told.
const REFUSED: Duration = Duration::from_secs(10);
/// Removals done between two looks at the state.
const REPLAY: usize = 100;

impl Role {
    /// The component of health.
    fn component(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Sessions => "sessions",
        }
    }

    /// What remains without it.
    fn without(self) -> &'static str {
        match self {
            Self::Cache => "memory only",
            Self::Sessions => "no session is known",
        }
    }
}

/// Runs until it is dropped.
pub(crate) async fn keep(redis: Arc<Redis>, connector: Connector, health: HealthRegistry) {
    let mut keeper = Keeper {
        redis,
        connector,
        health,
        in_vain: 0,
        told: None,
    };
    loop {
        let pause = match keeper.look().await {
            Ok(()) => WATCH,
            Err(_) => PROBE,
        };
        keeper.say();
        let changed = keeper.redis.journal.changed.notified();
        // either is a reason to look
        let _ = timeout(pause, changed).await;
    }
}

struct Keeper {
    redis: Arc<Redis>,
    connector: Connector,
    health: HealthRegistry,
    in_vain: u32,
    /// What was last logged.
    told: Option<bool>,
}

impl Keeper {
    async fn look(&mut self) -> Result<(), Fault> {
        let connection = match self.redis.connection.load_full() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let outcome = match self.probe(&connection).await {
            Ok(()) => self.replay().await,
            failed => failed,
        };
        match &outcome {
            Err(fault) if fault.is_failure() => self.in_vain += 1,
            _ => self.in_vain = 0,
        }
        if self.in_vain >= PROBES {
            self.in_vain = 0;
            self.connect().await?;
        }
        outcome
    }

    /// Does what is pending. Who answers a sign of life may not answer this, which then counts as silence.
    async fn replay(&self) -> Result<(), Fault> {
        while let Some(batch) = self.redis.journal.next(REPLAY) {
            self.redis.replay(&batch.removals).await?;
            self.redis.journal.done(&batch);
        }
        Ok(())
    }

    async fn probe(&self, connection: &Connection) -> Result<(), Fault> {
        // closed, or open for long enough: else another look is soon
        let Some(permit) = self.redis.circuit.try_acquire() else {
            return Err(Fault::NotAsked);
        };
        let outcome = self.redis.ping(connection).await;
        match &outcome {
            Err(fault) if fault.is_failure() => permit.failed(),
            _ => permit.succeeded(),
        }
        outcome
    }

    async fn connect(&self) -> Result<Arc<Connection>, Fault> {
        let options = &self.redis.options;
        let connect = self.connector.connect(options);
        let outcome = match timeout(options.connect_timeout() * 2, connect).await {
            Ok(Ok(connection)) => Ok(Arc::new(connection)),
            Ok(Err(error)) => Err(Fault::from(error)),
            Err(_) => Err(Fault::Timeout),
        };
        match outcome {
            Ok(connection) => {
                self.redis.connection.store(Some(Arc::clone(&connection)));
                Ok(connection)
            }
            Err(fault) => {
                if let Fault::Broken(why) = &fault {
                    *self.redis.failed.lock() = Some(why.clone());
                }
                Err(fault)
            }
        }
    }

    fn say(&mut self) {
        let (usable, role) = (self.redis.is_usable(), self.redis.role);
        self.redis.metrics.connected.set(i64::from(usable));
        let refused = self.redis.refused.lock().clone();
        let refused = refused.filter(|(when, _)| when.elapsed() < REFUSED);
        match (usable, refused) {
            (false, _) => {
                let why = self.redis.failed.lock().clone();
                let why = why.unwrap_or_else(|| "it has not answered yet".to_owned());
                let without = role.without();
                self.health.degraded(
                    role.component(),
                    format!("{without}, Redis cannot be used: {why}"),
                );
            }
            (true, Some((_, why))) => self
                .health
                .degraded(role.component(), format!("Redis refuses calls: {why}")),
            (true, None) => self.health.serving(role.component()),
        }
        if self.told != Some(usable) {
            match usable {
                true => tracing::info!(of = role.component(), "redis is in use"),
                false => tracing::warn!(
                    of = role.component(),
                    why = self.redis.failed.lock().clone(),
                    without = role.without(),
                    "redis cannot be used"
                ),
            }
            self.told = Some(usable);
        }
    }
}
