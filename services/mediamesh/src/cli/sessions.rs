//! Arguments of `sessions`.

use clap::Subcommand;

use super::Endpoint;

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// List the live sessions of a user, newest first.
    List {
        /// User of the tenant; without, whoever the key stands for. Others need the scope admin.
        #[arg(long, value_name = "ID")]
        user: Option<String>,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// End a session, or all of a user.
    Revoke {
        /// Handle of the session, as listed.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        handle: Option<String>,
        /// End all sessions of the user.
        #[arg(long)]
        all: bool,
        /// User of the tenant; without, whoever the key stands for. Others need the scope admin.
        #[arg(long, value_name = "ID", requires = "all")]
        user: Option<String>,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Remove what is left of the tenant's sessions whose time is over; needs the scope admin.
    ///
    /// The cache service does it by itself every `cache.sessions.sweep_interval_secs`.
    Sweep {
        #[command(flatten)]
        endpoint: Endpoint,
    },
}
