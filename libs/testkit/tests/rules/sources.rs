//! Rules about source files.

use std::path::Path;

use crate::workspace::{assert_none, files, read};

/// A reader must be able to hold a file in mind.
const MAX_LINES: usize = 600;

#[test]
fn no_source_file_is_over_600_lines() {
    let mut sizes: Vec<(usize, String)> =
        files(&["rs", "js", "mjs", "css", "html", "proto", "sh", "py"])
            .iter()
            .filter(|path| !path.starts_with("third_party"))
            .map(|path| (read(path).lines().count(), path.display().to_string()))
            .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let largest = |count| {
        sizes
            .iter()
            .take(count)
            .map(|(lines, path)| format!("{lines:4} {path}"))
    };
    println!(
        "the ten largest files:\n  {}",
        largest(10).collect::<Vec<_>>().join("\n  ")
    );
    let over = sizes.iter().filter(|(lines, _)| *lines > MAX_LINES).count();
    assert_none(
        "too long; cut it in two",
        &largest(over).collect::<Vec<_>>(),
    );
}

/// Whether a file holds tests only, and so may panic.
fn is_for_tests(path: &Path) -> bool {
    let inside = |name: &str| path.iter().any(|part| part == name);
    inside("tests")
        || inside("benches")
        || inside("examples")
        || inside("contract")
        || path.starts_with("libs/testkit")
        || path
            .file_name()
            .is_some_and(|name| name == "tests.rs" || name == "build.rs" || name == "contract.rs")
}

#[test]
fn nothing_outside_tests_unwraps() {
    let mut wrong = Vec::new();
    for path in files(&["rs"]).iter().filter(|path| !is_for_tests(path)) {
        for (number, line) in read(path).lines().enumerate() {
            let code = line.trim_start();
            // tests stand at the end of a file
            if code.starts_with("#[cfg(test)]") || code.starts_with("#[cfg(all(test,") {
                break;
            }
            if !code.starts_with("//") && code.contains(".unwrap()") {
                wrong.push(format!("{}:{}: {code}", path.display(), number + 1));
            }
        }
    }
    assert_none(
        "unwrap() outside tests; return an error, or expect(\"why it cannot fail\")",
        &wrong,
    );
}

#[test]
fn modules_are_files_named_for_what_they_hold() {
    let wrong: Vec<String> = files(&["rs"])
        .iter()
        .filter(|path| {
            let stem = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .unwrap_or_default();
            [
                "mod", "utils", "util", "helpers", "common", "manager", "misc",
            ]
            .contains(&stem)
        })
        .map(|path| path.display().to_string())
        .collect();
    assert_none("mod.rs, or a name that says nothing", &wrong);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let wrong: Vec<String> = files(&["toml"])
        .iter()
        .filter(|path| {
            path.file_name().is_some_and(|name| name == "Cargo.toml")
                && path.components().count() == 3
        })
        .filter(|path| !read(path).contains("[lints]\nworkspace = true"))
        .map(|path| path.display().to_string())
        .collect();
    assert_none("lacks `[lints] workspace = true`", &wrong);
}

#[test]
fn unsafe_code_is_in_the_reviewed_module_only() {
    const REVIEWED: &str = "libs/store/src/database/interrupt.rs";
    let word = ["unsafe", "_code"].concat();
    let wrong: Vec<String> = files(&["rs"])
        .iter()
        .filter(|path| !path.ends_with(REVIEWED) && read(path).contains(&format!("({word})")))
        .map(|path| path.display().to_string())
        .collect();
    assert_none("lets in unsafe code", &wrong);
}
