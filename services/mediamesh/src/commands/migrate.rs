//! `migrate`: the database up to this version's schema.

use anyhow::Result;
use mediamesh_mesh::ServiceName;
use mediamesh_store::{Database, DatabaseOptions};

use crate::{config::Config, data_dir::DataDir, import::screen::say, stores};

pub(super) async fn run(config: &Config) -> Result<()> {
    if let Some(url) = &config.database.url {
        let versions = stores::postgres_versions(&config.database, url).await?;
        say(&format!(
            "the PostgreSQL {} of database.url (pgvector {}) has the schema of this version",
            versions.server, versions.pgvector
        ));
        return Ok(());
    }
    let dir = DataDir::locate(config.data_dir.as_deref())?;
    let _lock = dir.open(&ServiceName::ALL)?;
    Database::open(DatabaseOptions::at(dir.database())).await?;
    say(&format!(
        "{} has the schema of this version",
        dir.database().display()
    ));
    Ok(())
}
