//! `bench`: import rate, memory, search latency and recall on real photos, and search at scale.
//!
//! Everything runs in this process on a data folder of its own that is removed afterwards, through
//! the same HTTP and gRPC as in production.
//!
//! - `mesh`: a whole mesh on ports of its own
//! - `recall`: altered copies find their originals
//! - `latency`: searches over HTTP
//! - `overhead`: the edge beside native gRPC, side by side
//! - `synthetic`: many made-up items

use anyhow::Result;

use crate::{
    cli::Bench,
    config::Config,
    import::{self, screen::say},
};

mod latency;
mod mesh;
mod overhead;
mod recall;
mod synthetic;

pub(super) async fn run(args: Bench, config: Config) -> Result<()> {
    if args.corpus.is_some() || args.variants.is_some() {
        photos(&args, config.clone()).await?;
    }
    if args.synthetic > 0 {
        // Made-up items have no bytes to work on: no worker.
        let mesh = mesh::BenchMesh::start(config, false).await?;
        synthetic::fill(&mesh, args.synthetic).await?;
        mesh::say_memory("after synthetic items");
        latency::run(&mesh, args.searches).await?;
        mesh.restart().await?;
    }
    Ok(())
}

async fn photos(args: &Bench, config: Config) -> Result<()> {
    let mesh = mesh::BenchMesh::start(config, true).await?;
    if let Some(corpus) = &args.corpus {
        let start = tokio::time::Instant::now();
        let options = import::Options {
            paths: vec![corpus.clone()],
            ..import::Options::default()
        };
        let summary = import::run(mesh.media(), options).await?;
        let seconds = start.elapsed().as_secs_f64();
        summary.print();
        let items = u32::try_from(summary.stored_ids().count()).unwrap_or(u32::MAX);
        let rate = f64::from(items) / seconds;
        say(&format!(
            "import: {rate:.1} photos/s, stored, decoded, rendered, embedded and indexed"
        ));
        mesh::say_memory("after import");
    }
    if let Some(variants) = &args.variants {
        recall::run(&mesh, variants).await?;
    }
    latency::run(&mesh, args.searches).await?;
    overhead::run(&mesh, args.searches).await
}
