//! What a machine may lack. A test that needs it says that it skips; with the name in
//! `MEDIAMESH_TEST_REQUIRE` (comma-separated, set by CI) it fails instead.

use std::io::Write as _;

/// Whether `name` must be there.
#[must_use]
pub fn is_required(name: &str) -> bool {
    std::env::var("MEDIAMESH_TEST_REQUIRE")
        .is_ok_and(|names| names.split(',').any(|required| required.trim() == name))
}

/// Passes on what was found; says on standard error that the test skips when it was not.
///
/// # Panics
/// If `name` is required and missing; `hint` says how to get it.
pub fn found<T>(name: &str, value: Option<T>, hint: &str) -> Option<T> {
    if value.is_none() {
        assert!(!is_required(name), "{name} is required and missing: {hint}");
        // not eprintln!, whose output the test harness keeps to itself
        let _ = writeln!(std::io::stderr(), "SKIPPED: needs {name}: {hint}");
    }
    value
}
