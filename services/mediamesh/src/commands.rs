//! Commands, one module each.

use anyhow::Result;
use mediamesh_telemetry::TelemetryOptions;

use crate::{
    cli::{Cli, Command},
    up,
};

mod bench;
mod config;
mod doctor;
mod get;
mod import;
mod migrate;
mod models;
mod search;
mod table;

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> Result<()> {
    let listen = match &cli.command {
        Command::Up(args) => Some(&args.listen),
        Command::Serve(args) => Some(&args.listen),
        _ => None,
    };
    if let Command::Config(command) = cli.command {
        return self::config::run(&command, &cli.global);
    }
    let loaded = crate::config::load(&cli.global, listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let serves = matches!(cli.command, Command::Up(_) | Command::Serve(_));
    let result = runtime.block_on(async {
        // Clients speak to people on standard output: only warnings go to the log unless asked.
        let telemetry = match serves || cli.global.log.is_some() {
            true => loaded.value.telemetry.clone(),
            false => TelemetryOptions {
                log_filter: "warn".to_owned(),
                ..loaded.value.telemetry.clone()
            },
        };
        let guard = mediamesh_telemetry::init(&telemetry)?;
        let config = loaded.value.clone();
        let result = match cli.command {
            Command::Up(args) => up::up(args, loaded).await,
            Command::Serve(args) => up::serve(args, loaded).await,
            Command::Import(args) => import::run(args, &config).await,
            Command::Search(args) => search::run(args, &config).await,
            Command::Get(args) => get::run(args, &config).await,
            Command::Models(command) => models::run(command, &config).await,
            Command::Config(_) => unreachable!("answered above, without a runtime"),
            Command::Doctor => doctor::run(&config).await,
            Command::Migrate => migrate::run(&config).await,
            Command::Bench(args) => bench::run(args, config).await,
        };
        guard.shutdown().await;
        result
    });
    // Blocking work that is still at it, such as a decode, is not waited for for ever.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
