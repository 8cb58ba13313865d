//! Commands, one module each.

use anyhow::Result;
use mediamesh_telemetry::TelemetryOptions;

use crate::{
    cli::{Cli, Command},
    up,
};

mod advise;
mod bench;
mod config;
mod doctor;
mod get;
mod import;
mod integrity;
mod jobs;
mod keys;
mod load;
mod migrate;
mod models;
mod policies;
mod report;
mod search;
mod sessions;
mod table;
mod top;
mod users;

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
        let guard = mediamesh_telemetry::init(&named(telemetry, &cli.command))?;
        let config = loaded.value.clone();
        let result = match cli.command {
            Command::Up(args) => up::up(args, loaded).await,
            Command::Serve(args) => up::serve(args, loaded).await,
            Command::Import(args) => import::run(args, &config).await,
            Command::Search(args) => search::run(args, &config).await,
            Command::Get(args) => get::run(args, &config).await,
            Command::Jobs(command) => jobs::run(command, &config).await,
            Command::Keys(command) => keys::run(command, &config).await,
            Command::Sessions(command) => sessions::run(command, &config).await,
            Command::Users(command) => users::run(command, &config).await,
            Command::Models(command) => models::run(command, &config).await,
            Command::Config(_) => unreachable!("answered above, without a runtime"),
            Command::Top(args) => top::run(args, &config).await,
            Command::Report(args) => report::run(args, &config).await,
            Command::Advise(args) => advise::run(args, &config).await,
            Command::Integrity(args) => integrity::run(args, &config).await,
            Command::Doctor => doctor::run(&config).await,
            Command::Migrate => migrate::run(&config).await,
            Command::Load(args) => Box::pin(load::run(args, &config)).await,
            Command::Bench(args) => Box::pin(bench::run(args, config)).await,
        };
        guard.shutdown().await;
        result
    });
    // Blocking work that is still at it, such as a decode, is not waited for for ever.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

/// Adds the services of a process to the name it has by default: the processes of one mesh must be
/// told apart in its traces.
fn named(mut telemetry: TelemetryOptions, command: &Command) -> TelemetryOptions {
    if let Command::Serve(args) = command
        && telemetry.service_name == TelemetryOptions::default().service_name
    {
        for service in &args.services {
            if let Some(value) = clap::ValueEnum::to_possible_value(service) {
                telemetry.service_name.push('-');
                telemetry.service_name.push_str(value.get_name());
            }
        }
    }
    telemetry
}
