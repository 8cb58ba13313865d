//! Arguments of `load`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::ApiKey;

/// What load to put on a mesh, and what it must bear.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// HTTP address of an edge, e.g. `127.0.0.1:8080` or `https://media.example.com` [default: the
    /// process that holds the data folder, else the configured `listen`].
    #[arg(long, value_name = "ADDR")]
    pub(crate) address: Option<String>,
    /// Users at full load; each has connections of its own (S0-55: 200).
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) users: u32,
    /// How long it takes until all users are there; they come one after the other.
    #[arg(long, default_value = "1m", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) ramp: Duration,
    /// How long they stay from then on.
    #[arg(long, default_value = "3m", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) duration: Duration,
    /// How long a user looks at a page before the next: every page is one call, a list or an item.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) think: Duration,
    /// Searches of all users together, at full load (S0-49).
    #[arg(long, default_value_t = 500, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) searches_per_minute: u32,
    /// Uploads of all users together, at full load (S0-48).
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) uploads_per_minute: u32,
    /// Folder of JPEG files to upload, each made different by a comment in it; absent = made-up
    /// pictures of 1280 x 960.
    #[arg(long, value_name = "DIR")]
    pub(crate) photos: Option<PathBuf>,
    /// Pictures that are uploaded and waited for before, so that there is something to find.
    #[arg(long, default_value_t = 32, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) prepare: u32,
    /// Leave what was uploaded; else it is deleted at the end.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Most that 95 % of the pages may take, milliseconds.
    #[arg(long, default_value_t = 100, value_name = "MS")]
    pub(crate) api_p95_ms: u64,
    /// Most that 95 % of the searches may take, milliseconds.
    #[arg(long, default_value_t = 500, value_name = "MS")]
    pub(crate) search_p95_ms: u64,
    /// Most that 95 % of the uploads may take, milliseconds [default: not judged].
    #[arg(long, value_name = "MS")]
    pub(crate) upload_p95_ms: Option<u64>,
    /// Most calls of 100 that may fail.
    #[arg(long, default_value_t = 1.0, value_name = "PERCENT")]
    pub(crate) max_error_percent: f64,
    /// Also write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) key: ApiKey,
}
