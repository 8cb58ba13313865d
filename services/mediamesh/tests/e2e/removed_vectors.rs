//! Vectors of items that are gone leave the database too, and an index that never heard of them is made anew.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, ensure};
use mediamesh_testkit::Http;

use crate::{fill, id, launcher};

async fn vectors(http: &Http) -> Result<String> {
    let stats = http.get("/v1/index/stats").await?.ok()?;
    Ok(stats["vectorIndexes"][0]["vectors"].to_string())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status()?;
    ensure!(copied.success(), "cannot copy {}", from.display());
    Ok(())
}

#[tokio::test]
async fn an_index_restored_from_before_a_removal_that_was_swept_is_made_anew() -> Result<()> {
    let mut launcher = launcher()
        .env("MEDIAMESH_SEARCH__REMOVED_VECTORS_SECS", "0")
        // saved and swept once, at the end
        .env("MEDIAMESH_SEARCH__SNAPSHOT_INTERVAL_SECS", "3600");
    let mesh = launcher.start().await?;
    let items = fill(&mesh, 0, 3).await?;
    assert_eq!(vectors(mesh.http()).await?, "\"3\"");
    let (status, _) = mesh.stop().await?;
    assert!(status.success());
    let (kept, old) = (
        launcher.data().join("vectors"),
        launcher.scratch().join("old"),
    );
    copy(&kept, &old)?;

    let mesh = launcher.start().await?;
    let path = format!("/v1/mediaItems/{}", id(&items[0]));
    let gone = mesh.http().request(reqwest::Method::DELETE, &path);
    assert!(mesh.http().send(gone).await?.status.is_success());
    // the snapshot that is written at the end has it taken out, and so its row goes
    let (status, log) = mesh.stop().await?;
    assert!(status.success());
    assert!(!log.contains("made anew"), "{log}");

    fs::remove_dir_all(&kept)?;
    copy(&old, &kept)?;
    let mesh = launcher.start().await?;
    assert_eq!(vectors(mesh.http()).await?, "\"2\"");
    let (_, log) = mesh.stop().await?;
    assert!(log.contains("older than what is known of removed"), "{log}");

    // what was made anew was written, and is good
    let mesh = launcher.start().await?;
    assert_eq!(vectors(mesh.http()).await?, "\"2\"");
    let (_, log) = mesh.stop().await?;
    assert!(!log.contains("made anew"), "{log}");
    Ok(())
}
