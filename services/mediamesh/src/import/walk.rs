//! Which files there are.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use mediamesh_imaging::sniff;
use walkdir::{DirEntry, WalkDir};

/// A file to import.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Folder in the library: the imported folder's name and what is below it.
    pub(crate) folder: String,
    /// Bytes.
    pub(crate) size: u64,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) files: Vec<Found>,
    /// Files that are no media by name and by bytes.
    pub(crate) other: u64,
    /// Links below a root; followed, they could lead anywhere, or round in circles.
    pub(crate) links: u64,
    /// What could not be read, and why.
    pub(crate) unreadable: Vec<(PathBuf, String)>,
}

impl Walk {
    /// Bytes of all files.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// Names that promise media: such a file is sent, and refused with a reason if it is none.
const EXTENSIONS: [&str; 24] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "tif", "tiff", "bmp", "avif", "heic",
    "heif", "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "3gp", "wmv", "ogv",
];

/// Walks files and folders; hidden ones and links are passed over. Blocking.
pub(crate) fn walk(paths: &[PathBuf]) -> Walk {
    let mut walk = Walk::default();
    for root in paths {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.clone());
        let above = root.parent().map(Path::to_owned).unwrap_or_default();
        for entry in WalkDir::new(&root)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(visible)
        {
            match entry {
                Ok(entry) if entry.file_type().is_file() => look(&above, &entry, &mut walk),
                Ok(entry) => walk.links += u64::from(entry.path_is_symlink() && entry.depth() > 0),
                Err(error) => {
                    let path = error.path().unwrap_or(&root).to_owned();
                    // The path is named beside it.
                    let why = error
                        .io_error()
                        .map_or_else(|| error.to_string(), ToString::to_string);
                    walk.unreadable.push((path, why));
                }
            }
        }
    }
    walk
}

fn visible(entry: &DirEntry) -> bool {
    entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.')
}

fn look(above: &Path, entry: &DirEntry, walk: &mut Walk) {
    let path = entry.path().to_owned();
    let size = match entry.metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) => return walk.unreadable.push((path, error.to_string())),
    };
    match is_media(&path) {
        Ok(true) => walk.files.push(Found {
            folder: folder(above, &path),
            path,
            size,
        }),
        Ok(false) => walk.other += 1,
        Err(error) => walk.unreadable.push((path, error.to_string())),
    }
}

fn is_media(path: &Path) -> std::io::Result<bool> {
    let extension = path
        .extension()
        .map(|text| text.to_string_lossy().to_lowercase());
    if extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) {
        return Ok(true);
    }
    let mut head = Vec::new();
    std::fs::File::open(path)?
        .take(4096)
        .read_to_end(&mut head)?;
    Ok(sniff(&head).is_some())
}

/// The folder of a file in the library, with "/" on every system.
fn folder(above: &Path, path: &Path) -> String {
    let folder = path.parent().unwrap_or(path);
    let below = folder.strip_prefix(above).unwrap_or(Path::new(""));
    let parts: Vec<_> = below
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    parts.join("/")
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn links_below_a_root_are_counted_and_a_root_that_is_one_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let photos = dir.path().join("photos");
        std::fs::create_dir(&photos).unwrap();
        std::fs::write(photos.join("a.jpg"), "a").unwrap();
        for (target, name) in [("..", "loop"), ("a.jpg", "b.jpg"), ("nowhere", "c.jpg")] {
            std::os::unix::fs::symlink(target, photos.join(name)).unwrap();
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&photos, &link).unwrap();
        for root in [photos, link] {
            let walk = walk(&[root]);
            let found = (walk.files.len(), walk.links, walk.unreadable.len());
            assert_eq!(found, (1, 3, 0), "{walk:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_named_once() {
        let walk = walk(&[PathBuf::from("/nonexistent/photos")]);
        let [(path, why)] = &walk.unreadable[..] else {
            panic!("{walk:?}")
        };
        assert_eq!(path, Path::new("/nonexistent/photos"));
        assert!(why.starts_with("No such file"), "{why}");
    }
}
