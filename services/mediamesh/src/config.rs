//! The configuration of a process: defaults, TOML file, environment, flags.

use std::{net::SocketAddr, path::PathBuf};

use mediamesh_config::{Layer, Loaded};
use mediamesh_inference::{EngineChoice, EngineOptions};
use mediamesh_mesh::{IdentityOptions, PolicyOptions, admin::AdminOptions};
use mediamesh_store::postgres::IndexKind;
use mediamesh_telemetry::TelemetryOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    cli::{Global, Listen},
    exit::Usage,
    storage::StorageConfig,
};

/// Everything that can be configured.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder that holds everything; absent = the user's data folder.
    pub(crate) data_dir: Option<PathBuf>,
    /// HTTP address.
    pub(crate) listen: SocketAddr,
    /// gRPC address.
    pub(crate) grpc_listen: SocketAddr,
    /// Logs and traces.
    pub(crate) telemetry: TelemetryOptions,
    /// Deadlines and limits of calls.
    pub(crate) mesh: PolicyOptions,
    /// Who may call.
    pub(crate) identity: IdentityOptions,
    /// Who may see `/metrics`, `/admin` and the details of `/health`.
    pub(crate) admin: AdminOptions,
    /// The database.
    pub(crate) database: DatabaseConfig,
    /// Where originals and renditions lie.
    pub(crate) storage: StorageConfig,
    /// Local models.
    pub(crate) models: ModelsConfig,
    /// The cache service.
    pub(crate) cache: mediamesh_cache::Options,
    /// Entries of the cache service in the memory of its callers.
    pub(crate) near_cache: mediamesh_near::Options,
    /// The embedding service.
    pub(crate) embedding: mediamesh_embedding::Options,
    /// The media service.
    pub(crate) media: mediamesh_media::Options,
    /// The search service.
    pub(crate) search: mediamesh_search::Options,
    /// The edge.
    pub(crate) edge: mediamesh_edge::Options,
}

/// The database: the embedded one in the data folder, or a PostgreSQL.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DatabaseConfig {
    /// Address of a PostgreSQL 15 or newer with pgvector 0.8 or newer, e.g.
    /// `postgres://user:password@host:5432/mediamesh?sslmode=require`; absent = the embedded database.
    /// With `sslmode=require` the server's certificate is verified, name included. A password is
    /// better given as `MEDIAMESH_DATABASE__URL` than on a command line.
    pub(crate) url: Option<String>,
    /// Address of a streaming replica that searches and reports read from (S4-25); absent = the
    /// database itself, which also answers while the replica is away or too far behind.
    pub(crate) replica_url: Option<String>,
    /// How far behind the replica may be, seconds.
    pub(crate) replica_max_lag_secs: u64,
    /// Certificates (PEM) that PostgreSQL's must descend from; absent = those of the system.
    pub(crate) tls_ca: Option<PathBuf>,
    /// Connections to PostgreSQL that are kept open.
    pub(crate) min_connections: usize,
    /// Most connections to PostgreSQL (S4-6). A worker has one more, for its leases.
    pub(crate) max_connections: usize,
    /// Longest that PostgreSQL works at one statement, seconds. A caller's deadline ends it earlier, reads and
    /// writes alike.
    pub(crate) statement_timeout_secs: u64,
    /// Longest wait for a connection to PostgreSQL of work for which nobody waits, such as a worker's, seconds.
    pub(crate) background_acquire_timeout_secs: u64,
    /// What searches vectors on PostgreSQL: `database` (pgvector) or `embedded` (an index in the
    /// memory of each search process).
    pub(crate) vector_search: VectorSearch,
    /// Index that pgvector gets for a tenant with 20,000 vectors of a model or more: `hnsw` or
    /// `ivfflat`.
    pub(crate) vector_index: VectorIndexKind,
    /// Reading connections of the embedded database.
    pub(crate) readers: usize,
    /// Longest wait for a connection, seconds (S4-6).
    pub(crate) acquire_timeout_secs: u64,
    /// From how long on a statement is named in the log, milliseconds, and once a minute its plan; 0 = every
    /// statement (S0-40).
    pub(crate) slow_statement_millis: u64,
    /// Page cache of one connection of the embedded database, KiB.
    pub(crate) cache_kib: u32,
}

/// What searches vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VectorSearch {
    /// pgvector.
    #[default]
    Database,
    /// The index in memory, derived from the database.
    Embedded,
}

/// An index of pgvector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VectorIndexKind {
    /// A graph.
    #[default]
    Hnsw,
    /// Lists around centres (S0-6).
    IvfFlat,
}

impl From<VectorIndexKind> for IndexKind {
    fn from(kind: VectorIndexKind) -> Self {
        match kind {
            VectorIndexKind::Hnsw => Self::Hnsw,
            VectorIndexKind::IvfFlat => Self::IvfFlat,
        }
    }
}

/// Local models.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ModelsConfig {
    /// `auto`, `rten` or `ort`.
    pub(crate) engine: Engine,
    /// Shared library of ONNX Runtime; absent = `$ORT_DYLIB_PATH`.
    pub(crate) ort_dylib: Option<PathBuf>,
}

/// What runs models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    /// ONNX Runtime if its library loads, else rten.
    #[default]
    Auto,
    /// Always rten.
    Rten,
    /// ONNX Runtime or an error.
    Ort,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            grpc_listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            telemetry: TelemetryOptions::default(),
            mesh: PolicyOptions::default(),
            identity: IdentityOptions::default(),
            admin: AdminOptions::default(),
            database: DatabaseConfig::default(),
            storage: StorageConfig::default(),
            models: ModelsConfig::default(),
            cache: mediamesh_cache::Options::default(),
            near_cache: mediamesh_near::Options::default(),
            embedding: mediamesh_embedding::Options::default(),
            media: mediamesh_media::Options::default(),
            search: mediamesh_search::Options::default(),
            edge: mediamesh_edge::Options::default(),
        }
    }
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: None,
            replica_url: None,
            replica_max_lag_secs: 10,
            tls_ca: None,
            min_connections: 2,
            max_connections: 20,
            statement_timeout_secs: 60,
            background_acquire_timeout_secs: 30,
            vector_search: VectorSearch::default(),
            vector_index: VectorIndexKind::default(),
            readers: 4,
            acquire_timeout_secs: 5,
            slow_statement_millis: 1000,
            cache_kib: 8 * 1024,
        }
    }
}

impl ModelsConfig {
    /// Options of the engines.
    pub(crate) fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            choice: match self.engine {
                Engine::Auto => EngineChoice::Auto,
                Engine::Rten => EngineChoice::Rten,
                Engine::Ort => EngineChoice::Ort,
            },
            ort_dylib: self.ort_dylib.clone(),
            ..EngineOptions::default()
        }
    }
}

/// Prefix of variables of the environment.
const PREFIX: &str = "MEDIAMESH_";
/// Variables with that prefix which are flags of commands, not configuration.
const RESERVED: [&str; 3] = [
    "MEDIAMESH_CONFIG",
    "MEDIAMESH_ENDPOINT",
    "MEDIAMESH_API_KEY",
];

/// Loads the configuration.
///
/// Errors: `Usage` with every fault.
pub(crate) fn load(global: &Global, listen: Option<&Listen>) -> anyhow::Result<Loaded<Config>> {
    let mut layers = Vec::new();
    if let Some(path) = &global.config {
        layers.push(Layer::file(path));
    }
    // The tests of this project are configured by variables of the same prefix.
    let variables = std::env::vars().filter(|(name, _)| !name.starts_with("MEDIAMESH_TEST_"));
    layers.push(Layer::env(PREFIX, &RESERVED, variables));
    let text = |path: &Option<PathBuf>| {
        path.as_ref()
            .map(|path| path.to_string_lossy().into_owned())
    };
    let address = |address: Option<SocketAddr>| address.map(|address| address.to_string());
    layers.push(
        Layer::default()
            .flag("data_dir", "--data-dir", text(&global.data_dir))
            .flag(
                "database.url",
                "--database-url",
                global.database_url.clone(),
            )
            .flag("telemetry.log_filter", "--log", global.log.clone())
            .flag(
                "listen",
                "--listen",
                listen.and_then(|listen| address(listen.listen)),
            )
            .flag(
                "grpc_listen",
                "--grpc-listen",
                listen.and_then(|listen| address(listen.grpc_listen)),
            ),
    );
    mediamesh_config::load(&layers, validate).map_err(|faults| Usage(faults.to_string()).into())
}

fn validate(config: &Config) -> Vec<String> {
    let mut faults = config.search.validate();
    if let Err(invalid) = config.media.validate() {
        faults.extend(invalid.0.into_iter().map(|fault| format!("media.{fault}")));
    }
    faults.extend(config.cache.validate());
    faults.extend(config.near_cache.validate());
    faults.extend(config.embedding.validate());
    faults.extend(config.edge.validate());
    faults.extend(config.mesh.validate());
    faults.extend(config.identity.validate());
    faults.extend(config.admin.validate());
    for (name, address) in [
        ("listen", config.listen),
        ("grpc_listen", config.grpc_listen),
    ] {
        if !address.ip().is_loopback() && !config.identity.enabled() {
            faults.push(format!(
                "{name} is {address}: without authentication only loopback addresses such as \
                 127.0.0.1 may be served; identity.required = true asks every call for an API key"
            ));
        }
    }
    faults.extend(validate_database(&config.database));
    faults.extend(config.storage.validate(config.media.max_upload_bytes));
    let ratio = config.telemetry.sample_ratio;
    if !(0.0..=1.0).contains(&ratio) {
        faults.push(format!(
            "telemetry.sample_ratio is {ratio}; it must be in [0, 1]"
        ));
    }
    faults
}

fn validate_database(database: &DatabaseConfig) -> Vec<String> {
    let mut faults = Vec::new();
    if database.readers == 0 || database.readers > 64 {
        faults.push(format!(
            "database.readers is {}; it must be 1 to 64",
            database.readers
        ));
    }
    for (name, url) in [
        ("url", &database.url),
        ("replica_url", &database.replica_url),
    ] {
        // not the address itself, which may hold a password
        if url
            .as_ref()
            .is_some_and(|url| !url.starts_with("postgres://") && !url.starts_with("postgresql://"))
        {
            faults.push(format!("database.{name} must begin with postgres://"));
        }
    }
    if database.replica_url.is_some() && database.url.is_none() {
        faults.push("database.replica_url needs database.url, which it is a replica of".to_owned());
    }
    if !(2..=3600).contains(&database.replica_max_lag_secs) {
        faults.push(format!(
            "database.replica_max_lag_secs is {}; it must be 2 to 3600",
            database.replica_max_lag_secs
        ));
    }
    if database.max_connections == 0
        || database.max_connections > 1000
        || database.min_connections > database.max_connections
    {
        faults.push(format!(
            "database.max_connections is {}; it must be 1 to 1000 and no less than \
             database.min_connections ({})",
            database.max_connections, database.min_connections
        ));
    }
    if database.statement_timeout_secs == 0 {
        faults.push("database.statement_timeout_secs is 0; it must be at least 1".to_owned());
    }
    faults
}
