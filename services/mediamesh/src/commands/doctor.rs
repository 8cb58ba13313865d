//! `doctor`: what is well, what is not, and what to do about it.

use std::path::Path;

use anyhow::{Result, bail};
use mediamesh_inference::ModelStore;
use mediamesh_mesh::ServiceName;
use mediamesh_proto::{
    media::v1::{GetQueueStatsRequest, job_service_client::JobServiceClient},
    search::v1::{GetIndexStatsRequest, search_service_client::SearchServiceClient},
};
use mediamesh_store::{Database, DatabaseOptions};

use crate::{
    cli::{ApiKey, Endpoint},
    client,
    config::Config,
    data_dir::DataDir,
    import::screen::say,
    node,
    storage::Backend,
    stores,
};

pub(super) async fn run(config: &Config) -> Result<()> {
    let dir = DataDir::locate(config.data_dir.as_deref())?;
    let mut report = Report::default();
    report.note("version", env!("CARGO_PKG_VERSION"));
    report.note("data folder", &dir.root().display().to_string());
    if may_exist(dir.root()) {
        folder(&mut report, config, &dir).await;
    } else {
        // Looking must not make it: a mistyped folder would be there from then on.
        report.note(
            "data folder",
            "is not there yet; `mediamesh up` makes it at its first start",
        );
        addresses(&mut report, config).await;
    }
    if let Some(url) = &config.database.url {
        postgres(&mut report, config, url).await;
    }
    if config.storage.backend == Backend::S3 {
        bucket(&mut report, config).await;
    }
    models(&mut report, config, &dir).await;
    match report.faults {
        0 => {
            say("all is well");
            Ok(())
        }
        faults => bail!("{faults} checks failed"),
    }
}

/// A path that cannot be looked at is opened all the same, which tells why.
fn may_exist(path: &Path) -> bool {
    path.try_exists().unwrap_or(true)
}

async fn folder(report: &mut Report, config: &Config, dir: &DataDir) {
    match dir.open(&ServiceName::ALL) {
        Ok(_lock) => {
            report.check("data folder can be written and is free", Ok(()));
            if config.database.url.is_some() {
                // checked below, whoever holds the folder
            } else if may_exist(&dir.database()) {
                let database = Database::open(DatabaseOptions::at(dir.database())).await;
                report.check(
                    "database opens and has this schema",
                    database.map(drop).map_err(anyhow::Error::from),
                );
            } else {
                report.note("database", "is made at the first start");
            }
            addresses(report, config).await;
        }
        Err(error) => match dir.ready() {
            Some(ready) => running(report, &ready.grpc, config).await,
            None => report.check("data folder can be written and is free", Err(error)),
        },
    }
}

async fn postgres(report: &mut Report, config: &Config, url: &str) {
    match stores::postgres_versions(&config.database, url).await {
        Ok(versions) => {
            report.check("PostgreSQL answers and has this schema", Ok(()));
            report.note("PostgreSQL", &versions.server);
            report.note("pgvector", &versions.pgvector);
            report.check(
                "pgvector searches deeper where it must",
                iterates(&versions.pgvector),
            );
        }
        Err(error) => report.check("PostgreSQL answers and has this schema", Err(error)),
    }
}

async fn bucket(report: &mut Report, config: &Config) {
    report.note("storage", &config.storage.describe());
    let probed = async { Ok(config.storage.bucket()?.probe().await?) }.await;
    report.check(
        "objects can be listed, written, read and removed in the bucket",
        probed,
    );
}

/// From 0.8 on an index goes on where it found too few.
fn iterates(pgvector: &str) -> Result<()> {
    let mut parts = pgvector.split('.').map(|part| part.parse().unwrap_or(0));
    match (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) {
        (0, minor) if minor < 8 => bail!("pgvector is {pgvector}; 0.8 or newer is needed"),
        _ => Ok(()),
    }
}

async fn addresses(report: &mut Report, config: &Config) {
    for (name, address) in [("HTTP", config.listen), ("gRPC", config.grpc_listen)] {
        let bound = tokio::net::TcpListener::bind(address).await.map(drop);
        report.check(
            &format!("{name} address {address} is free"),
            bound.map_err(anyhow::Error::from),
        );
    }
}

async fn running(report: &mut Report, grpc: &str, config: &Config) {
    report.note("mesh", &format!("runs on {grpc}"));
    let endpoint = Endpoint {
        endpoint: Some(grpc.to_owned()),
        key: ApiKey { api_key: None },
    };
    let channel = match client::connect(&endpoint, config) {
        Ok(channel) => channel,
        Err(error) => return report.check("mesh answers", Err(error)),
    };
    let queue = JobServiceClient::new(channel.clone())
        .get_queue_stats(GetQueueStatsRequest {})
        .await;
    match queue {
        Ok(stats) => {
            let stats = stats.into_inner();
            report.check("media service answers", Ok(()));
            report.note(
                "queue",
                &format!(
                    "{} waiting, {} active, {} failed",
                    stats.waiting, stats.active, stats.failed
                ),
            );
        }
        Err(status) => report.check("media service answers", Err(client::explain(&status))),
    }
    match SearchServiceClient::new(channel)
        .get_index_stats(GetIndexStatsRequest {})
        .await
    {
        Ok(stats) => {
            let stats = stats.into_inner();
            report.check("search service answers", Ok(()));
            for index in stats.vector_indexes {
                report.note(
                    "vector index",
                    &format!(
                        "{}: {} vectors of {} dims",
                        index.model, index.vectors, index.dims
                    ),
                );
            }
        }
        Err(status) => report.check("search service answers", Err(client::explain(&status))),
    }
}

async fn models(report: &mut Report, config: &Config, dir: &DataDir) {
    let active = match may_exist(&dir.models()) {
        true => ModelStore::open(dir.models()).and_then(|store| store.active()),
        false => Ok(None),
    };
    match active {
        Ok(None) => report.note("model", node::HINT),
        Ok(Some(installed)) => {
            let options = config.models.engine_options();
            let name = format!("model {} loads", installed.id);
            let load = tokio::task::spawn_blocking(move || {
                mediamesh_inference::load(&installed, &options)
            })
            .await;
            match load {
                Ok(Ok(model)) => {
                    report.check(&name, Ok(()));
                    let engine = &model.report;
                    report.note(
                        "engine",
                        &format!(
                            "{} {} on {}",
                            engine.engine.as_str(),
                            engine.version,
                            engine.provider
                        ),
                    );
                }
                Ok(Err(error)) => report.check(&name, Err(error.into())),
                Err(error) => report.check(&name, Err(error.into())),
            }
        }
        Err(error) => report.check("folder of models can be read", Err(error.into())),
    }
}

#[derive(Default)]
struct Report {
    faults: usize,
}

impl Report {
    fn note(&mut self, name: &str, value: &str) {
        say(&format!("  -     {name}: {value}"));
    }

    fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => say(&format!("  ok    {name}")),
            Err(error) => {
                self.faults += 1;
                say(&format!("  FAIL  {name}: {error:#}"));
            }
        }
    }
}
