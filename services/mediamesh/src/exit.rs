//! Errors as exit codes. Source: sysexits.h.

use std::{io::Write as _, process::ExitCode};

/// Wrong use or configuration (EX_USAGE).
const USAGE: u8 = 64;

/// Data is not what it should be (EX_DATAERR).
const DATA: u8 = 65;

/// A check worked, and what it looked at is not well.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Findings(pub(crate) String);

/// A fault of the configuration or of how the program is called.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Writes an error with its causes to stderr and picks the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  caused by: {cause}\n"));
    }
    // There is nowhere left to tell that stderr is closed.
    let _ = std::io::stderr().write_all(crate::import::screen::plain(&text).as_bytes());
    if error.downcast_ref::<Usage>().is_some() {
        return ExitCode::from(USAGE);
    }
    match error.downcast_ref::<Findings>().is_some() {
        true => ExitCode::from(DATA),
        false => ExitCode::FAILURE,
    }
}
