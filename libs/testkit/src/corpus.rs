//! Where real photographs are: the folder that `MEDIAMESH_TEST_CORPUS` names, else `.cache/corpus-small`
//! of the workspace, which `scripts/corpus.sh` fills.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::require;

/// Root of the workspace this crate was built in.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("the crate is at libs/testkit")
        .to_path_buf()
}

/// Folder of photographs, or none if the machine has none.
///
/// # Panics
/// If it is missing and `MEDIAMESH_TEST_REQUIRE` has `corpus`.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("MEDIAMESH_TEST_CORPUS").map_or_else(
        || workspace_root().join(".cache/corpus-small"),
        PathBuf::from,
    );
    require::found(
        "corpus",
        folder.is_dir().then_some(folder),
        "run `make corpus`",
    )
}

/// Image files below a folder, in path order.
///
/// Errors: a folder that cannot be read.
pub fn images(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        let extension = entry
            .path()
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default()
            .to_ascii_lowercase();
        if entry.file_type().is_file()
            && matches!(extension.as_str(), "jpg" | "jpeg" | "png" | "webp")
        {
            paths.push(entry.into_path());
        }
    }
    Ok(paths)
}
