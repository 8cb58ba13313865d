//! What the rules look at: the workspace's packages and files.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use cargo_metadata::{Metadata, MetadataCommand};
use mediamesh_testkit::corpus::workspace_root;
use walkdir::{DirEntry, WalkDir};

/// Every package that a Linux build takes, resolved as the lock file says.
pub(crate) fn metadata() -> &'static Metadata {
    static METADATA: OnceLock<Metadata> = OnceLock::new();
    METADATA.get_or_init(|| {
        MetadataCommand::new()
            .manifest_path(workspace_root().join("Cargo.toml"))
            .other_options(vec![
                "--locked".into(),
                "--filter-platform=x86_64-unknown-linux-gnu".into(),
            ])
            .exec()
            .unwrap()
    })
}

/// Where a package belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    Lib,
    Service,
    Binary,
}

/// The layer of a member of the workspace; none for a package that is not ours.
pub(crate) fn layer(name: &str) -> Option<Layer> {
    let package = metadata()
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == name)?;
    let folder = package
        .manifest_path
        .parent()?
        .strip_prefix(&metadata().workspace_root)
        .ok()?;
    Some(match (folder.starts_with("libs"), folder.as_str()) {
        (true, _) => Layer::Lib,
        (false, "services/mediamesh") => Layer::Binary,
        (false, _) => Layer::Service,
    })
}

/// Every file of the workspace with one of these extensions, relative to its root.
pub(crate) fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let root = workspace_root();
    let skipped = |entry: &DirEntry| {
        let name = entry.file_name().to_str().unwrap_or_default();
        entry.depth() > 0 && (name.starts_with('.') || name == "target" || name == "node_modules")
    };
    let mut found: Vec<PathBuf> = WalkDir::new(&root)
        .into_iter()
        .filter_entry(|entry| !skipped(entry))
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.into_path().strip_prefix(&root).unwrap().to_path_buf())
        .filter(|path| {
            path.extension()
                .is_some_and(|e| extensions.iter().any(|wanted| e == *wanted))
        })
        .collect();
    found.sort();
    assert!(
        !found.is_empty(),
        "no {extensions:?} files: the rules would hold nothing"
    );
    found
}

/// Text of a file of the workspace.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = workspace_root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails with every fault at once.
#[track_caller]
pub(crate) fn assert_none(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}
