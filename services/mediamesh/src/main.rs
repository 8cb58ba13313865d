//! The one binary: the whole mesh in one process, any of its services, and its client.
//!
//! - `cli`: the command line
//! - `config`: the configuration of a process
//! - `exit`: errors as exit codes
//! - `gate`: who may call this process
//! - `data_dir`: the folder that holds everything, locked by one process
//! - `layout`: which services run here, and where the others are
//! - `node`: services of this process, wired together
//! - `up`: what `up` and `serve` do
//! - `import`: folders of files into a running mesh
//! - `client`: where a running mesh is found
//! - `commands`: everything else

mod cli;
mod client;
mod commands;
mod config;
mod data_dir;
mod exit;
mod gate;
mod import;
mod layout;
mod node;
mod storage;
mod stores;
mod up;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One TLS provider for every library in the process; a second install is refused, which is
    // fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
