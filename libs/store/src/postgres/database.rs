//! Connections to PostgreSQL: their pool, their limits, and the end of statements nobody waits for.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use deadpool::managed::QueueMode;
use diesel_async::{
    AsyncPgConnection, SimpleAsyncConnection as _,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
        deadpool::{Object, Pool, PoolError},
    },
};
use futures::{FutureExt as _, future::BoxFuture};
use mediamesh_proto::TenantId;
use tokio::time::Instant;

use self::turns::{Turn, Turns};
use super::{
    tls::{Connector, said},
    vector_index,
};
use crate::{
    database::Observer,
    error::{Error, Result},
    pool::{PoolStatus, PoolWait, Pools, WaitObserver},
    slow::{self, SlowLog, SlowOptions},
    statements,
};

mod apart;
mod cancel;
mod explain;
mod migrate;
mod transaction;
mod turns;

pub(crate) use apart::Apart;
pub use migrate::MIGRATIONS;

/// How long a connection beyond the least number may lie idle.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// How often idle connections are looked for.
const REAP_EVERY: Duration = Duration::from_secs(60);

/// How a PostgreSQL database is opened.
#[derive(Clone)]
pub struct DatabaseOptions {
    /// `postgres://user:password@host:port/database?sslmode=require`. With `sslmode=require`,
    /// `verify-ca` or `verify-full` the connection is TLS and the server's certificate is verified,
    /// name included; otherwise it is plain.
    pub url: String,
    /// Certificates (PEM) that the server's must descend from; absent = those of the system.
    pub tls_ca: Option<PathBuf>,
    /// Connections kept open.
    pub min_connections: usize,
    /// Most connections (S4-6).
    pub max_connections: usize,
    /// Longest wait for a connection of whoever is waited for.
    pub acquire_timeout: Duration,
    /// Longest wait for a connection of work for which nobody waits, such as a worker's.
    pub background_acquire_timeout: Duration,
    /// Whether the code that asks does such work.
    pub is_background: fn() -> bool,
    /// Longest that the server works at one statement, whoever waits for it.
    pub statement_timeout: Duration,
    /// How long the caller of the code that asks still waits; `None` = as long as it takes. What is
    /// written for it takes no longer.
    pub time_left: fn() -> Option<Duration>,
    /// Told of every operation.
    pub observer: Option<Observer>,
    /// What its pool is called: `primary` or `replica`.
    pub pool_name: &'static str,
    /// Told of every wait for a connection.
    pub waits: Option<WaitObserver>,
    /// Which statements are slow.
    pub slow: SlowOptions,
}

impl DatabaseOptions {
    /// Defaults for a database.
    #[must_use]
    pub fn at(url: String) -> Self {
        Self {
            url,
            tls_ca: None,
            min_connections: 2,
            // S4-6: 20 at most, and a caller waits 5 s at most for one.
            max_connections: 20,
            acquire_timeout: Duration::from_secs(5),
            background_acquire_timeout: Duration::from_secs(30),
            is_background: || false,
            statement_timeout: Duration::from_secs(60),
            time_left: || None,
            observer: None,
            pool_name: "primary",
            waits: None,
            slow: SlowOptions::default(),
        }
    }
}

/// A PostgreSQL database behind a pool of connections. Cheap to clone.
///
/// A caller that goes away, as one does whose deadline passes, never leaves a connection with a
/// transaction half done. What it read is cancelled on the server; what it began to write is written,
/// in a task of its own, if its statements take no longer than it had time.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool<AsyncPgConnection>,
    connector: Connector,
    acquire_timeout: Duration,
    background_acquire_timeout: Duration,
    is_background: fn() -> bool,
    statement_timeout: Duration,
    time_left: fn() -> Option<Duration>,
    turns: Turns,
    observer: Option<Observer>,
    pool_name: &'static str,
    waits: Option<WaitObserver>,
    slow: SlowLog,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database")
    }
}

impl Database {
    /// Connects and brings the schema up to date; processes that start together take turns.
    ///
    /// Errors: `Url`, `Untrusted`, `Unavailable`, `Migrate`.
    pub async fn open(options: DatabaseOptions) -> Result<Self> {
        let connector = Connector::new(&options.url, options.tls_ca.as_deref())?;
        migrate::to_latest(&connector).await?;
        Self::connect_with(connector, options).await
    }

    /// Takes a database that another process migrates and that need not be there yet, such as a
    /// replica. Must be called inside a tokio runtime.
    ///
    /// Errors: `Url`.
    pub fn lazy(options: DatabaseOptions) -> Result<Self> {
        let connector = Connector::new(&options.url, options.tls_ca.as_deref())?;
        Ok(Self::new(connector, options))
    }

    async fn connect_with(connector: Connector, options: DatabaseOptions) -> Result<Self> {
        // more than there may be would wait for each other
        let least = options.min_connections.min(options.max_connections).max(1);
        let database = Self::new(connector, options);
        // The first callers need not wait for connections, and a wrong password is told at start.
        let first = (0..least).map(|_| database.inner.get());
        drop(futures::future::try_join_all(first).await?);
        Ok(database)
    }

    fn new(connector: Connector, options: DatabaseOptions) -> Self {
        let (slow, queue) = SlowLog::new(options.slow.clone());
        let asked = connector.clone();
        let inner = Arc::new(Inner {
            pool: pool(connector.clone(), &options),
            connector,
            acquire_timeout: options.acquire_timeout,
            background_acquire_timeout: options.background_acquire_timeout,
            is_background: options.is_background,
            statement_timeout: options.statement_timeout,
            time_left: options.time_left,
            turns: Turns::new(options.max_connections),
            observer: options.observer,
            pool_name: options.pool_name,
            waits: options.waits,
            slow,
        });
        tokio::spawn(reap(Arc::downgrade(&inner), options.min_connections));
        let ask = move |statement| explain::explain(asked.clone(), statement).boxed();
        tokio::spawn(slow::explain(queue, options.slow.observer, ask));
        Self { inner }
    }

    /// A connection of its own, beside the pool and without a time-out: for work that takes long.
    pub(super) async fn dedicated(&self) -> Result<AsyncPgConnection> {
        self.inner.connector.open().await
    }

    /// Lets go of the idle connections of its pool: whoever is at their other end may be gone without a
    /// word.
    pub(super) fn hang_up(&self) {
        self.inner.pool.retain(|_, _| false);
    }

    /// Runs statements as text on a connection of its own; answers the first column of their rows.
    ///
    /// Errors: `Refused`.
    pub(super) async fn ask(&self, statements: &str) -> Result<Vec<String>> {
        let answer = self.inner.connector.ask(statements).await;
        answer.map_err(|error| Error::Refused { why: said(&error) })
    }

    /// Asks its pool how it is; silent once the database is closed.
    #[must_use]
    pub fn pools(&self) -> Pools {
        let inner = Arc::downgrade(&self.inner);
        Pools::new(move || inner.upgrade().iter().map(|inner| inner.status()).collect())
    }

    /// Asks the server for its version and that of pgvector.
    ///
    /// Errors: `Unavailable`, `PoolExhausted`, `Query`.
    pub async fn versions(&self) -> Result<Versions> {
        self.read("versions", |conn| migrate::versions(conn).boxed())
            .await
    }

    /// Runs an operation that only reads; its statement ends early if the caller goes away.
    pub(crate) async fn read<T, F>(&self, name: &'static str, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let start = Instant::now();
        let mut conn = self.inner.get().await?;
        let (watch, gone) = (self.inner.slow.watch(name), self.inner.slow.watch(name));
        let parent = tracing::Span::current();
        statements::follow(&mut *conn, "postgresql", parent, Some(watch));
        let connector = self.inner.connector.clone();
        let result = cancel::unless_gone(conn, operation, start, gone, connector).await;
        self.inner.observe(name, start);
        result
    }

    /// Runs an operation that writes, in one transaction.
    ///
    /// Errors: those of the operation; `Locked` and `TimedOut` if it took longer than its caller waits.
    pub(crate) async fn write<T, F>(&self, name: &'static str, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.write_in(name, None, operation).await
    }

    /// Like [`Self::write`], for an operation that waits for its turn among the writers of a tenant:
    /// only a part of the connections do.
    pub(crate) async fn write_of<T, F>(
        &self,
        name: &'static str,
        tenant: TenantId,
        operation: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let turn = self.inner.turns.wait(tenant, self.inner.patience()).await?;
        self.write_in(name, Some(turn), operation).await
    }

    async fn write_in<T, F>(
        &self,
        name: &'static str,
        turn: Option<Turn>,
        operation: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let start = Instant::now();
        let mut conn = self.inner.get().await?;
        // of the task that asks
        let left = (self.inner.time_left)();
        let statement_timeout = self.inner.statement_timeout;
        let parent = tracing::Span::current();
        let watch = self.inner.slow.watch(name);
        let run = tokio::spawn(async move {
            statements::follow(&mut *conn, "postgresql", parent, Some(watch));
            let result = transaction::run(&mut conn, left, statement_timeout, operation).await;
            statements::let_go(&mut *conn, "postgresql");
            drop((conn, turn));
            result
        });
        let result = joined(run.await);
        self.inner.observe(name, start);
        result
    }
}

/// What serves a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Of the server, e.g. `18.4`.
    pub server: String,
    /// Of the extension `vector`, e.g. `0.8.5`.
    pub pgvector: String,
}

/// Answers what a finished operation answered; a panic in it is a bug that stays contained.
fn joined<T, P>(result: std::result::Result<Result<T>, P>) -> Result<T> {
    match result {
        Ok(result) => result.map_err(sorted),
        Err(_) => Err(Error::Query(
            diesel::result::Error::BrokenTransactionManager,
        )),
    }
}

/// Tells apart what the driver does not.
fn sorted(error: Error) -> Error {
    match error {
        Error::Query(source) => Error::from_diesel(source),
        other => other,
    }
}

// === impl Inner ===

impl Inner {
    /// How long whoever asks waits for a connection.
    fn patience(&self) -> Duration {
        match (self.is_background)() {
            true => self.background_acquire_timeout,
            false => self.acquire_timeout,
        }
    }

    async fn get(&self) -> Result<Object<AsyncPgConnection>> {
        let patience = self.patience();
        let start = Instant::now();
        let got = tokio::time::timeout(patience, self.pool.get()).await;
        if let Some(waits) = &self.waits {
            waits(PoolWait {
                pool: self.pool_name,
                duration: start.elapsed(),
                served: matches!(got, Ok(Ok(_))),
            });
        }
        match got {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(PoolError::Backend(error))) => Err(Error::Unavailable {
                message: error.to_string(),
            }),
            Ok(Err(_)) | Err(_) => Err(Error::PoolExhausted {
                waited_secs: patience.as_secs(),
            }),
        }
    }

    fn status(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            pool: self.pool_name,
            open: status.size,
            idle: status.available.min(status.size),
            waiting: status.waiting,
            max: status.max_size,
        }
    }

    fn observe(&self, name: &'static str, start: Instant) {
        if let Some(observer) = &self.observer {
            observer(name, start.elapsed());
        }
    }
}

fn pool(connector: Connector, options: &DatabaseOptions) -> Pool<AsyncPgConnection> {
    let mut config = ManagerConfig::<AsyncPgConnection>::default();
    // No ping: a connection that was closed, or whose transaction is open, is noticed without.
    config.recycling_method = RecyclingMethod::Fast;
    let settings = format!(
        "SET statement_timeout = {}; {} {}",
        options.statement_timeout.as_millis(),
        transaction::settings(),
        vector_index::settings(),
    );
    config.custom_setup = Box::new(move |_| {
        let (connector, settings) = (connector.clone(), settings.clone());
        async move {
            let mut conn = connector.connect().await?;
            conn.batch_execute(&settings)
                .await
                .map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
            Ok(conn)
        }
        .boxed()
    });
    // The address is the connector's; the pool prints its own.
    let manager = AsyncDieselConnectionManager::new_with_config("", config);
    Pool::builder(manager)
        .max_size(options.max_connections.max(1))
        // The one that was used last has plans and pages at hand; the others may lie idle, and are let go.
        .queue_mode(QueueMode::Lifo)
        .build()
        .expect("no timeouts are set, so no runtime is needed")
}

/// Closes connections that lie idle, until the database is dropped.
async fn reap(inner: Weak<Inner>, least: usize) {
    loop {
        tokio::time::sleep(REAP_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        let mut size = inner.pool.status().size;
        // those that were used longest ago come first
        inner.pool.retain(|_, metrics| {
            let keep = size <= least || metrics.last_used() < IDLE;
            size -= usize::from(!keep);
            keep
        });
    }
}
