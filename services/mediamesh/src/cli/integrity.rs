//! `integrity`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Integrity {
    /// Read every object that the database names and compare its SHA-256; without, only whether it is
    /// there and its size.
    #[arg(long)]
    pub(crate) checksums: bool,
    /// Mend: queue jobs that make missing and damaged renditions anew, remove what no row names, mark
    /// items whose original is missing or damaged as failed. Bytes that a row names are never removed.
    #[arg(long)]
    pub(crate) repair: bool,
    /// Objects looked at at once [default: `media.integrity.concurrency`].
    #[arg(long, value_name = "OBJECTS", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrency: Option<u16>,
    /// Print as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
