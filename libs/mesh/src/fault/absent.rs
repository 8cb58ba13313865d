//! What stands in for faults in builds without them: nothing.

use axum::Router;

use super::FaultOptions;

/// No faults: this build has none.
#[derive(Debug, Clone, Default)]
pub struct Faults;

impl Faults {
    pub(crate) fn new(options: &FaultOptions) -> Self {
        // The configuration was refused before; this is for programs that do not validate theirs.
        for fault in options.validate() {
            tracing::error!(fault, "faults are not injected");
        }
        Self
    }
}

/// Returns a router without routes.
pub fn router(_faults: Faults) -> Router {
    Router::new()
}
