//! `models`: what is installed, pulling more, and choosing.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use mediamesh_inference::{
    ModelStore,
    models::{CATALOGUE, PullOptions},
};

use super::table::table;
use crate::{cli::Models, config::Config, data_dir::DataDir, import::screen::say};

const USED_NEXT: &str = "it is used from the next start of the mesh on";

pub(super) async fn run(command: Models, config: &Config) -> Result<()> {
    let dir = DataDir::locate(config.data_dir.as_deref())?;
    let store = ModelStore::open(dir.models())?;
    match command {
        Models::List { json } => list(&store, json),
        Models::Pull {
            id,
            revision,
            hub,
            no_use,
        } => {
            let options = PullOptions {
                endpoint: hub,
                revision,
                ..PullOptions::default()
            };
            pull(&store, &id, &options).await?;
            match no_use {
                true => say(&format!("{id} is installed")),
                false => {
                    store.set_active(&id)?;
                    say(&format!("{id} is installed; {USED_NEXT}"));
                }
            }
            Ok(())
        }
        Models::Use { id } if id == "none" => {
            store.clear_active()?;
            say("no model is in use from the next start of the mesh on");
            Ok(())
        }
        Models::Use { id } => {
            store.set_active(&id)?;
            say(&format!("{id} is chosen; {USED_NEXT}"));
            Ok(())
        }
        Models::Install { id, from } => {
            let installed = tokio::task::spawn_blocking(move || {
                store.install_dir(&id, &from).map(|model| (store, model))
            });
            let (store, model) = installed.await??;
            store.set_active(&model.id)?;
            say(&format!("{} is installed; {USED_NEXT}", model.id));
            Ok(())
        }
    }
}

fn list(store: &ModelStore, json: bool) -> Result<()> {
    let active = store.active()?.map(|model| model.id);
    let installed = store.list()?;
    if json {
        let rows: Vec<_> = installed
            .iter()
            .map(|model| serde_json::json!({
                "id": model.id, "revision": model.revision, "dims": model.manifest.dims,
                "sizeBytes": model.manifest.size_bytes(), "inUse": active.as_ref() == Some(&model.id),
            }))
            .collect();
        say(&serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    let mut rows = table(["model", "state", "size", "what for"]);
    for model in &installed {
        let state = if active.as_ref() == Some(&model.id) {
            "in use"
        } else {
            "installed"
        };
        let about = CATALOGUE
            .iter()
            .find(|entry| entry.id == model.id)
            .map_or("", |entry| entry.summary);
        rows.add_row([
            model.id.clone(),
            state.to_owned(),
            mib(model.manifest.size_bytes()),
            about.to_owned(),
        ]);
    }
    for entry in CATALOGUE
        .iter()
        .filter(|entry| installed.iter().all(|model| model.id != entry.id))
    {
        let size = format!("about {} MB", entry.about_megabytes);
        rows.add_row([entry.id, "can be pulled", &size, entry.summary]);
    }
    say(&rows.to_string());
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

async fn pull(store: &ModelStore, id: &str, options: &PullOptions) -> Result<()> {
    let template = "{msg:32!} {bar:30} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style);
    let result = store
        .pull(id, options, |progress| {
            bar.set_length(progress.total.max(progress.bytes));
            bar.set_position(progress.bytes);
            bar.set_message(progress.file.clone());
        })
        .await;
    bar.finish_and_clear();
    result?;
    Ok(())
}
