//! The database: the embedded one in the data folder, or a PostgreSQL.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use mediamesh_mesh::{Deadline, Priority};
use mediamesh_store::{
    Advisor, Database, DatabaseOptions, HistoryStore, IntegrityStore, JobStore, KeyStore,
    MediaStore, RequestLogStore, SearchStore, VectorStore,
    database::Observer,
    pool::{Pools, WaitObserver},
    postgres::{self, PostgresStore},
    slow::{SlowObserver, SlowOptions, StatementObserver},
    sqlite::SqliteStore,
};

use crate::{
    config::{DatabaseConfig, VectorSearch},
    data_dir::DataDir,
};

/// Who is told of what the database does.
#[derive(Clone)]
pub(crate) struct Observers {
    pub(crate) operations: Observer,
    pub(crate) slow_statements: SlowObserver,
    pub(crate) statements: StatementObserver,
    pub(crate) waits: WaitObserver,
}

/// The store traits on the configured database.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) media: Arc<dyn MediaStore>,
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) integrity: Arc<dyn IntegrityStore>,
    pub(crate) search: Arc<dyn SearchStore>,
    pub(crate) history: Arc<dyn HistoryStore>,
    pub(crate) request_log: Arc<dyn RequestLogStore>,
    /// Set where the database searches vectors.
    pub(crate) vectors: Option<Arc<dyn VectorStore>>,
    /// No other process works on this database: the data folder is locked.
    pub(crate) sole: bool,
    /// Set where there is a replica.
    pub(crate) replica: Option<postgres::Replica>,
    /// Connections.
    pub(crate) pools: Pools,
    /// What could be better.
    pub(crate) advisor: Arc<dyn Advisor>,
}

impl Stores {
    /// Opens the database and brings its schema up to date.
    ///
    /// Errors: it cannot be opened or migrated.
    pub(crate) async fn open(
        config: &DatabaseConfig,
        dir: &DataDir,
        observers: Option<Observers>,
    ) -> Result<Self> {
        match &config.url {
            Some(url) => Self::postgres(config, url, observers).await,
            None => Self::sqlite(config, dir, observers).await,
        }
    }

    async fn sqlite(
        config: &DatabaseConfig,
        dir: &DataDir,
        observers: Option<Observers>,
    ) -> Result<Self> {
        let mut options = DatabaseOptions::at(dir.database());
        options.readers = config.readers;
        options.acquire_timeout = Duration::from_secs(config.acquire_timeout_secs);
        options.cache_kib = config.cache_kib;
        options.slow = slow_options(config, observers.as_ref());
        options.waits = observers
            .as_ref()
            .map(|observers| Arc::clone(&observers.waits));
        options.observer = observers.map(|observers| observers.operations);
        let waits = dir.clone();
        let turn = tokio::task::spawn_blocking(move || waits.wait_to_migrate()).await??;
        let database = Database::open(options).await?;
        drop(turn);
        Ok(Self {
            sole: true,
            ..Self::of(SqliteStore::new(database.clone()), database.pools())
        })
    }

    async fn postgres(
        config: &DatabaseConfig,
        url: &str,
        observers: Option<Observers>,
    ) -> Result<Self> {
        let options = postgres_options(config, url, observers);
        let database = postgres::Database::open(options.clone())
            .await
            .context("cannot open the database of database.url")?;
        let mut pools = vec![database.pools()];
        let mut replicas = None;
        let mut store =
            PostgresStore::new(database.clone()).with_index_kind(config.vector_index.into());
        if let Some(url) = &config.replica_url {
            let options = postgres::DatabaseOptions {
                url: url.clone(),
                pool_name: "replica",
                ..options
            };
            // it may be away, now and later: the primary then answers in its place
            let replica =
                postgres::Database::lazy(options).context("database.replica_url cannot be used")?;
            pools.push(replica.pools());
            let max_lag = Duration::from_secs(config.replica_max_lag_secs);
            let followed = postgres::Replica::follow(replica, database, max_lag);
            store = store.with_replica(followed.clone());
            replicas = Some(followed);
        }
        let vectors: Arc<dyn VectorStore> = Arc::new(store.clone());
        Ok(Self {
            replica: replicas,
            vectors: (config.vector_search == VectorSearch::Database).then_some(vectors),
            ..Self::of(
                store,
                Pools::new(move || pools.iter().flat_map(Pools::status).collect()),
            )
        })
    }

    fn of<S>(store: S, pools: Pools) -> Self
    where
        S: MediaStore
            + JobStore
            + KeyStore
            + SearchStore
            + HistoryStore
            + IntegrityStore
            + RequestLogStore
            + Advisor
            + 'static,
    {
        let store = Arc::new(store);
        Self {
            media: Arc::clone(&store) as Arc<dyn MediaStore>,
            jobs: Arc::clone(&store) as Arc<dyn JobStore>,
            keys: Arc::clone(&store) as Arc<dyn KeyStore>,
            integrity: Arc::clone(&store) as Arc<dyn IntegrityStore>,
            advisor: Arc::clone(&store) as Arc<dyn Advisor>,
            history: Arc::clone(&store) as Arc<dyn HistoryStore>,
            request_log: Arc::clone(&store) as Arc<dyn RequestLogStore>,
            search: store,
            replica: None,
            vectors: None,
            sole: false,
            pools,
        }
    }
}

fn slow_options(config: &DatabaseConfig, observers: Option<&Observers>) -> SlowOptions {
    SlowOptions {
        threshold: Duration::from_millis(config.slow_statement_millis),
        observer: observers.map(|observers| Arc::clone(&observers.slow_statements)),
        counted: observers.map(|observers| Arc::clone(&observers.statements)),
    }
}

fn postgres_options(
    config: &DatabaseConfig,
    url: &str,
    observers: Option<Observers>,
) -> postgres::DatabaseOptions {
    postgres::DatabaseOptions {
        tls_ca: config.tls_ca.clone(),
        min_connections: config.min_connections,
        max_connections: config.max_connections,
        acquire_timeout: Duration::from_secs(config.acquire_timeout_secs),
        background_acquire_timeout: Duration::from_secs(config.background_acquire_timeout_secs),
        is_background: || Priority::current() == Priority::Background,
        statement_timeout: Duration::from_secs(config.statement_timeout_secs),
        time_left: || Deadline::current().map(Deadline::remaining),
        slow: slow_options(config, observers.as_ref()),
        waits: observers
            .as_ref()
            .map(|observers| Arc::clone(&observers.waits)),
        observer: observers.map(|observers| observers.operations),
        ..postgres::DatabaseOptions::at(url.to_owned())
    }
}

/// Versions of the PostgreSQL and its pgvector; its schema is brought up to date.
///
/// Errors: it cannot be reached or migrated.
pub(crate) async fn postgres_versions(
    config: &DatabaseConfig,
    url: &str,
) -> Result<postgres::database::Versions> {
    let database = postgres::Database::open(postgres_options(config, url, None)).await?;
    Ok(database.versions().await?)
}
