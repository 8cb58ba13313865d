//! `migrate`: the database up to this version's schema.

use anyhow::Result;
use mediamesh_mesh::ServiceName;
use mediamesh_store::{Database, DatabaseOptions};

use crate::{config::Config, data_dir::DataDir, import::screen::say};

pub(super) async fn run(config: &Config) -> Result<()> {
    let dir = DataDir::locate(config.data_dir.as_deref())?;
    let _lock = dir.open(&ServiceName::ALL)?;
    Database::open(DatabaseOptions::at(dir.database())).await?;
    say(&format!(
        "{} has the schema of this version",
        dir.database().display()
    ));
    Ok(())
}
