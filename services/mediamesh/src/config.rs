//! The configuration of a process: defaults, TOML file, environment, flags.

use std::{net::SocketAddr, path::PathBuf};

use mediamesh_config::{Layer, Loaded};
use mediamesh_inference::{EngineChoice, EngineOptions};
use mediamesh_mesh::{IdentityOptions, PolicyOptions, admin::AdminOptions};
use mediamesh_telemetry::TelemetryOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    cli::{Global, Listen},
    exit::Usage,
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
    /// The embedded database.
    pub(crate) database: DatabaseConfig,
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

/// The embedded database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DatabaseConfig {
    /// Reading connections.
    pub(crate) readers: usize,
    /// Longest wait for a connection, seconds (S4-6).
    pub(crate) acquire_timeout_secs: u64,
    /// Page cache of one connection, KiB.
    pub(crate) cache_kib: u32,
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
            readers: 4,
            acquire_timeout_secs: 5,
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
    if config.database.readers == 0 || config.database.readers > 64 {
        faults.push(format!(
            "database.readers is {}; it must be 1 to 64",
            config.database.readers
        ));
    }
    let ratio = config.telemetry.sample_ratio;
    if !(0.0..=1.0).contains(&ratio) {
        faults.push(format!(
            "telemetry.sample_ratio is {ratio}; it must be in [0, 1]"
        ));
    }
    faults
}
