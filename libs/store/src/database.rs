//! Opening and migrating the embedded database, and the two pools in front of it: one writer,
//! because SQLite has one, and a few readers that it never blocks (WAL).

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use diesel::{Connection as _, SqliteConnection, connection::SimpleConnection as _};
use diesel_async::RunQueryDsl as _;
use diesel_async::{
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
        deadpool::{Object, Pool, PoolError},
    },
    sync_connection_wrapper::SyncConnectionWrapper,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use futures::{FutureExt as _, future::BoxFuture};
use mediamesh_proto::TenantId;
use tokio::time::Instant;

use self::interrupt::Stop;
use crate::{
    error::{Error, Result},
    pool::{PoolStatus, PoolWait, Pools, WaitObserver},
    slow::{self, Plan, SlowLog, SlowOptions},
};

mod apart;
mod interrupt;
mod statements;

pub(crate) use apart::Apart;

/// Schema versions, in order.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/sqlite");

/// Name of the pool of one connection that writes.
const WRITER: &str = "writer";
/// Name of the pool of those that read.
const READERS: &str = "readers";

/// A connection to the embedded database.
pub type Connection = SyncConnectionWrapper<SqliteConnection>;

/// Told the name and duration of every store operation.
pub type Observer = Arc<dyn Fn(&'static str, Duration) + Send + Sync>;

/// How the embedded database is opened.
#[derive(Clone)]
pub struct DatabaseOptions {
    /// File; created if missing.
    pub path: PathBuf,
    /// Reading connections.
    pub readers: usize,
    /// Longest wait for a connection.
    pub acquire_timeout: Duration,
    /// Page cache of one connection in KiB.
    pub cache_kib: u32,
    /// Told of every operation.
    pub observer: Option<Observer>,
    /// Told of every wait for a connection.
    pub waits: Option<WaitObserver>,
    /// Which statements are slow.
    pub slow: SlowOptions,
}

impl DatabaseOptions {
    /// Defaults for a file.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            readers: 4,
            // S4-6: a caller waits 5 s at most for a connection.
            acquire_timeout: Duration::from_secs(5),
            cache_kib: 8 * 1024,
            observer: None,
            waits: None,
            slow: SlowOptions::default(),
        }
    }
}

/// The embedded database. Cheap to clone.
///
/// An operation runs in a task of its own: a caller that goes away never leaves a connection with a
/// transaction half done. What it read is stopped, what it began to write is written.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Pool<Connection>,
    readers: Pool<Connection>,
    acquire_timeout: Duration,
    observer: Option<Observer>,
    waits: Option<WaitObserver>,
    slow: SlowLog,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database")
    }
}

impl Database {
    /// Opens the file, creates it if missing, and migrates it.
    ///
    /// Errors: `Open` if it cannot be opened or is no database; `Migrate`.
    pub async fn open(options: DatabaseOptions) -> Result<Self> {
        interrupt::install();
        let path = options.path.clone();
        let migrate = tokio::task::spawn_blocking(move || migrate(path));
        migrate.await.map_err(|panic| Error::Migrate {
            message: panic.to_string(),
        })??;
        let url = options.path.to_string_lossy().into_owned();
        let (slow, queue) = SlowLog::new(options.slow.clone());
        let database = Self {
            inner: Arc::new(Inner {
                writer: pool(&url, 1, options.cache_kib, false),
                readers: pool(&url, options.readers.max(1), options.cache_kib, true),
                acquire_timeout: options.acquire_timeout,
                observer: options.observer,
                waits: options.waits,
                slow,
            }),
        };
        let inner = Arc::downgrade(&database.inner);
        let ask = move |statement| explain(inner.upgrade(), statement).boxed();
        tokio::spawn(slow::explain(queue, options.slow.observer, ask));
        Ok(database)
    }

    /// Asks its pools how they are; silent once the database is closed.
    #[must_use]
    pub fn pools(&self) -> Pools {
        let inner = Arc::downgrade(&self.inner);
        Pools::new(move || {
            let Some(inner) = inner.upgrade() else {
                return Vec::new();
            };
            vec![
                status(WRITER, &inner.writer),
                status(READERS, &inner.readers),
            ]
        })
    }

    /// Runs an operation that only reads; its statement ends early if the caller goes away.
    pub(crate) async fn read<T, F>(&self, name: &'static str, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let start = Instant::now();
        let mut conn = self.inner.get(READERS, &self.inner.readers).await?;
        let parent = tracing::Span::current();
        let watch = self.inner.slow.watch(name);
        let stop = Stop::default();
        let _stop_on_drop = stop.on_drop();
        let run = tokio::spawn(async move {
            statements::follow(&mut conn, parent, Some(watch), Some(stop));
            let result = operation(&mut conn).await;
            statements::let_go(&mut conn);
            result
        });
        let result = joined(run.await);
        self.inner.observe(name, start);
        result
    }

    /// Runs the operation that tells how new later ones must be: there is one database, so like any.
    pub(crate) async fn read_first<T, F>(&self, name: &'static str, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.read(name, operation).await
    }

    /// Runs an operation that writes for a tenant: like any, since all writes take turns.
    pub(crate) async fn write_of<T, F>(
        &self,
        name: &'static str,
        _: TenantId,
        operation: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        self.write(name, operation).await
    }

    /// Runs an operation that writes, in one transaction.
    pub(crate) async fn write<T, F>(&self, name: &'static str, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let start = Instant::now();
        let mut conn = self.inner.get(WRITER, &self.inner.writer).await?;
        let parent = tracing::Span::current();
        let watch = self.inner.slow.watch(name);
        let run = tokio::spawn(async move {
            statements::follow(&mut conn, parent, Some(watch), None);
            let result = conn
                .immediate_transaction(async move |conn| operation(conn).await)
                .await;
            statements::let_go(&mut conn);
            result
        });
        let result = joined(run.await);
        self.inner.observe(name, start);
        result
    }
}

fn status(name: &'static str, pool: &Pool<Connection>) -> PoolStatus {
    let status = pool.status();
    PoolStatus {
        pool: name,
        open: status.size,
        idle: status.available.min(status.size),
        waiting: status.waiting,
        max: status.max_size,
    }
}

/// Answers what a finished operation answered; a panic in it is a bug that stays contained.
fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    match result {
        Ok(Err(Error::Query(source))) => Err(Error::from_diesel(source)),
        Ok(result) => result,
        Err(_) => Err(Error::Query(
            diesel::result::Error::BrokenTransactionManager,
        )),
    }
}

// === impl Inner ===

impl Inner {
    async fn get(&self, name: &'static str, pool: &Pool<Connection>) -> Result<Object<Connection>> {
        let start = Instant::now();
        let got = tokio::time::timeout(self.acquire_timeout, pool.get()).await;
        if let Some(waits) = &self.waits {
            waits(PoolWait {
                pool: name,
                duration: start.elapsed(),
                served: matches!(got, Ok(Ok(_))),
            });
        }
        match got {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(PoolError::Backend(error))) => {
                tracing::error!(%error, "cannot open a database connection");
                Err(Error::PoolExhausted { waited_secs: 0 })
            }
            Ok(Err(_)) | Err(_) => Err(Error::PoolExhausted {
                waited_secs: self.acquire_timeout.as_secs(),
            }),
        }
    }

    fn observe(&self, name: &'static str, start: Instant) {
        if let Some(observer) = &self.observer {
            observer(name, start.elapsed());
        }
    }
}

#[derive(diesel::QueryableByName)]
struct PlanLine {
    #[diesel(sql_type = diesel::sql_types::Text)]
    detail: String,
}

/// Asks for the plan of a statement, for parameters of any value; `None` once the database is closed.
async fn explain(
    inner: Option<Arc<Inner>>,
    statement: String,
) -> Option<std::result::Result<Plan, String>> {
    let database = Database { inner: inner? };
    let lines = database.read("explain", move |conn| {
        async move {
            let explain = diesel::sql_query(format!("EXPLAIN QUERY PLAN {statement}"));
            let lines: Vec<PlanLine> = explain.load(conn).await?;
            Ok(lines)
        }
        .boxed()
    });
    Some(match lines.await {
        Ok(lines) => {
            let lines: Vec<String> = lines.into_iter().map(|line| line.detail).collect();
            Ok(Plan::of_sqlite(&lines))
        }
        Err(error) => Err(error.to_string()),
    })
}

/// Brings the schema up to date. Blocking.
fn migrate(path: PathBuf) -> Result<()> {
    let url = path.to_string_lossy().into_owned();
    let mut conn = SqliteConnection::establish(&url).map_err(|source| Error::Open {
        path: path.clone(),
        source,
    })?;
    conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL;")
        .map_err(|source| Error::Open {
            path,
            source: diesel::ConnectionError::CouldntSetupConfiguration(source),
        })?;
    conn.run_pending_migrations(MIGRATIONS)
        .map_err(|error| Error::Migrate {
            message: error.to_string(),
        })?;
    Ok(())
}

fn pool(url: &str, size: usize, cache_kib: u32, read_only: bool) -> Pool<Connection> {
    let mut config = ManagerConfig::<Connection>::default();
    // An embedded database needs no ping; an open transaction is still noticed.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |url| {
        let url = url.to_owned();
        async move {
            let connect = tokio::task::spawn_blocking(move || {
                let mut conn = SqliteConnection::establish(&url)?;
                conn.batch_execute(&pragmas(cache_kib, read_only))
                    .map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
                Ok::<_, diesel::ConnectionError>(conn)
            });
            let conn = connect
                .await
                .map_err(|panic| diesel::ConnectionError::BadConnection(panic.to_string()))??;
            Ok(Connection::new(conn))
        }
        .boxed()
    });
    let manager = AsyncDieselConnectionManager::new_with_config(url, config);
    Pool::builder(manager)
        .max_size(size)
        .build()
        .expect("no timeouts are set, so no runtime is needed")
}

fn pragmas(cache_kib: u32, read_only: bool) -> String {
    // The timeout comes first: even the journal mode waits for a lock.
    // FULL: a commit survives a power cut, not only a killed process.
    format!(
        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{cache_kib}; \
         PRAGMA journal_size_limit = 67108864; PRAGMA query_only = {};",
        i32::from(read_only)
    )
}
