//! Documents and lists that must agree with the code.

use std::collections::BTreeSet;

use mediamesh_proto::ErrorReason;

use crate::workspace::{assert_none, files, read};

/// Names of all reasons, from the generated enum.
fn reasons() -> BTreeSet<String> {
    let reasons: BTreeSet<String> = (0..1000)
        .filter_map(|number| ErrorReason::try_from(number).ok())
        .map(|r| r.as_str_name().to_owned())
        .collect();
    assert!(reasons.len() > 20);
    reasons
}

#[test]
fn every_error_reason_has_a_section_and_every_section_a_reason() {
    let page = read("docs/errors.md");
    let sections: Vec<&str> = page.split("\n## ").skip(1).collect();
    let named: BTreeSet<String> = sections
        .iter()
        .map(|s| s.lines().next().unwrap().trim().to_owned())
        .collect();
    assert_eq!(named.len(), sections.len(), "a section stands twice");
    assert_eq!(
        named,
        reasons(),
        "docs/errors.md and common/v1/error_reason.proto differ"
    );
}

#[test]
fn every_section_says_what_it_means_what_causes_it_and_what_to_do() {
    let page = read("docs/errors.md");
    let mut wrong = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap();
        for part in [
            "\n`",
            "· HTTP ",
            "· retry: ",
            "\n**Likely causes**\n\n- ",
            "\n**What to do**\n\n",
        ] {
            if !section.contains(part) {
                wrong.push(format!("{name}: lacks {:?}", part.trim()));
            }
        }
    }
    assert_none("a section of docs/errors.md is not complete", &wrong);
}

#[test]
fn every_proto_file_is_compiled() {
    let script = read("libs/proto/build.rs");
    let wrong: Vec<String> = files(&["proto"])
        .iter()
        .filter_map(|path| path.strip_prefix("proto").ok())
        .map(|path| format!("\"{}\"", path.display()))
        .filter(|quoted| !script.contains(quoted.as_str()))
        .collect();
    assert_none("not in FILES of libs/proto/build.rs", &wrong);
}

#[test]
fn every_migration_can_be_undone() {
    let wrong: Vec<String> = files(&["sql"])
        .iter()
        .filter(|path| {
            path.starts_with("migrations") && path.file_name().is_some_and(|name| name == "up.sql")
        })
        .map(|path| path.with_file_name("down.sql"))
        .filter(|path| !files(&["sql"]).contains(path))
        .map(|path| path.display().to_string())
        .collect();
    assert_none("missing", &wrong);
}

#[test]
fn every_decision_is_in_the_index() {
    let index = read("docs/adr/README.md");
    let wrong: Vec<String> = files(&["md"])
        .iter()
        .filter(|path| {
            path.starts_with("docs/adr") && path.file_name().is_some_and(|name| name != "README.md")
        })
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !index.contains(&format!("({name})")))
        .collect();
    assert_none("not in docs/adr/README.md", &wrong);
}
