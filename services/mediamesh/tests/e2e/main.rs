//! Whole journeys against the real binary, over HTTP and gRPC.
#![allow(clippy::unwrap_used)]

mod advise;
mod bad_input;
mod config;
mod content;
mod copies;
mod crash;
mod degraded;
mod disk_full;
mod edge_grpc;
mod filters;
mod find;
mod gauges;
mod gone;
mod grpc;
mod identity;
mod import;
mod integrity;
mod jaeger;
mod jobs;
mod kills;
mod large_upload;
mod lifecycle;
mod load;
mod log_in_page;
mod meaning;
mod mtls;
mod old_clients;
mod operators;
mod outages;
mod paging;
mod past_searches;
mod postgres;
mod presigned;
mod processes;
mod removed_vectors;
mod replicas;
mod request_log;
mod scrape;
mod search_cache;
mod sessions;
mod shared_cache;
mod slow;
mod startup;
mod statements;
mod storage;
mod streaming;
mod tenants;
mod traces;
mod upload;
mod users;
mod workers;

use anyhow::Result;
use mediamesh_testkit::{Launcher, Mesh, fixture};
use serde_json::Value;

/// A launcher of the binary that cargo built for these tests.
fn launcher() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_mediamesh")).unwrap()
}

/// Starts a mesh on a fresh data folder. The launcher owns the folder: keep it as long as the mesh.
async fn start() -> Result<(Launcher, Mesh)> {
    let mut launcher = launcher();
    let mesh = launcher.start().await?;
    Ok((launcher, mesh))
}

/// Uploads `count` pictures made from seeds `from..from + count` and waits until they are searchable.
async fn fill(mesh: &Mesh, from: u32, count: u32) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    for seed in from..from + count {
        let (width, height) = [(160, 120), (120, 160), (128, 128)][(seed % 3) as usize];
        let bytes = fixture::jpeg(seed, width, height);
        let folder = ["", "summer", "summer/beach", "winter"][(seed % 4) as usize];
        items.push(
            mesh.http()
                .upload_ok(&format!("picture {seed}.jpg"), folder, bytes)
                .await?,
        );
    }
    mesh.http().settled().await?;
    Ok(items)
}

/// The id of an item or hit.
fn id(item: &Value) -> &str {
    item["id"]
        .as_str()
        .unwrap_or_else(|| panic!("no id in {item}"))
}
