//! Arguments of `users`.

use clap::Subcommand;

use super::Endpoint;

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum Users {
    /// Show a user and how much it has stored.
    Get {
        /// As in `uploader` of items; without, whoever the key stands for. Others need the scope admin.
        #[arg(default_value = "me")]
        user: String,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}
