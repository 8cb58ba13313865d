//! A folder of real photographs goes in once, whatever happens.

use std::{collections::BTreeSet, fs};

use anyhow::Result;
use mediamesh_testkit::{corpus, fixture};
use serde_json::json;

use crate::launcher;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_imported_once_and_found_again_after_a_restart() -> Result<()> {
    let Some(photos) = corpus::folder() else {
        return Ok(());
    };
    let expected = corpus::images(&photos)?;
    let mut launcher = launcher().args(["--import".into(), photos.clone().into_os_string()]);

    let mesh = launcher.start().await?;
    let items = imported(&mesh, expected.len()).await?;
    let names: BTreeSet<&str> = items
        .iter()
        .filter_map(|item| item["displayName"].as_str())
        .collect();
    let files: BTreeSet<&str> = expected
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    assert_eq!(names, files, "the items are named after their files");
    let unready: Vec<_> = items
        .iter()
        .filter(|item| item["state"] != "STATE_READY")
        .collect();
    assert!(unready.is_empty(), "not ready: {unready:?}");
    // the folders below the imported one are kept
    let folders: BTreeSet<&str> = items
        .iter()
        .filter_map(|item| item["folder"].as_str())
        .collect();
    assert!(
        folders
            .iter()
            .any(|folder| folder.ends_with("palapeli-data")),
        "{folders:?}"
    );
    let (status, _) = mesh.stop().await?;
    assert!(
        status.success(),
        "SIGTERM drains and ends well, not {status}"
    );

    // the second start imports the same folder again: nothing is stored twice, and it says so
    let mesh = launcher.start().await?;
    let again = imported(&mesh, expected.len()).await?;
    let ids = |list: &[serde_json::Value]| -> BTreeSet<String> {
        list.iter().map(|i| crate::id(i).to_owned()).collect()
    };
    assert_eq!(
        ids(&items),
        ids(&again),
        "the same items, none new, none lost"
    );
    let hits = mesh.http().search_ids(json!({"query": "citrus"})).await?;
    let citrus = items
        .iter()
        .find(|item| item["displayName"] == "citrus-fruits.jpg")
        .map(crate::id);
    assert_eq!(
        hits.first().map(String::as_str),
        citrus,
        "found by a word of its file's name"
    );
    let (_, log) = mesh.stop().await?;
    assert!(
        log.contains("already") || log.contains("duplicate"),
        "the second import says what it skipped:\n{log}"
    );
    Ok(())
}

#[tokio::test]
async fn an_import_says_what_it_could_not_read_and_keeps_the_rest() -> Result<()> {
    let mut launcher = launcher();
    let folder = launcher.scratch().join("photos");
    fs::create_dir_all(folder.join("deep/er"))?;
    fs::write(folder.join("good.jpg"), fixture::jpeg(1, 200, 150))?;
    fs::write(
        folder.join("deep/er/also good.jpg"),
        fixture::jpeg(2, 200, 150),
    )?;
    fs::write(folder.join("letter.jpg"), fixture::text())?;
    fs::write(folder.join("empty.jpg"), [])?;
    fs::write(folder.join("bomb.png"), fixture::png_bomb())?;
    fs::write(folder.join("cut.jpg"), fixture::truncated_jpeg(3))?;
    launcher = launcher.args(["--import".into(), folder.into_os_string()]);

    let mesh = launcher.start().await?;
    let items = imported(&mesh, 2).await?;
    let ready = items.iter().filter(|item| item["state"] == "STATE_READY");
    let mut names: Vec<_> = ready
        .filter_map(|item| item["displayName"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["also good.jpg", "good.jpg"]);
    let (_, log) = mesh.stop().await?;
    for name in ["letter.jpg", "empty.jpg", "bomb.png", "cut.jpg"] {
        assert!(log.contains(name), "{name} is not reported:\n{log}");
    }
    Ok(())
}

#[tokio::test]
async fn the_second_import_names_what_could_not_be_processed_in_the_first() -> Result<()> {
    let mut launcher = launcher();
    let folder = launcher.scratch().join("photos");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("good.jpg"), fixture::jpeg(1, 200, 150))?;
    fs::write(folder.join("cut.jpg"), fixture::truncated_jpeg(3))?;
    launcher = launcher.args(["--import".into(), folder.into_os_string()]);

    let mesh = launcher.start().await?;
    imported(&mesh, 2).await?;
    mesh.stop().await?;
    let mesh = launcher.start().await?;
    imported(&mesh, 2).await?;
    let (_, log) = mesh.stop().await?;
    let second = log
        .rsplit("mediamesh is ready: ")
        .next()
        .unwrap_or_default();
    assert!(second.contains("2 were already there"), "{second}");
    let line = second.lines().find(|line| line.contains("cut.jpg"));
    let line = line.unwrap_or_else(|| panic!("cut.jpg is not named again:\n{second}"));
    assert!(line.contains("truncated"), "it says why: {line}");
    assert!(!second.contains("good.jpg"), "{second}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_cut_off_says_so_and_goes_on_at_the_next_start() -> Result<()> {
    const FILES: u32 = 300;
    let mut launcher = launcher();
    let folder = launcher.scratch().join("photos");
    fs::create_dir_all(&folder)?;
    for seed in 0..FILES {
        fs::write(
            folder.join(format!("{seed}.jpg")),
            fixture::jpeg(seed, 64, 48),
        )?;
    }
    launcher = launcher.args(["--import".into(), folder.into_os_string()]);

    let mesh = launcher.start().await?;
    while mesh.http().list_all("").await?.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (status, log) = mesh.stop().await?;
    assert!(status.success(), "{status}");
    assert!(
        log.contains("import stopped partway") && log.contains("same folder"),
        "it does not say that files are missing:\n{log}"
    );
    let mesh = launcher.start().await?;
    let items = imported(&mesh, FILES as usize).await?;
    assert_eq!(
        items.len(),
        FILES as usize,
        "none is missing, none is twice"
    );
    Ok(())
}

/// Waits until `count` items are there and processed: the import runs beside the serving.
async fn imported(mesh: &mediamesh_testkit::Mesh, count: usize) -> Result<Vec<serde_json::Value>> {
    for _ in 0..1200 {
        if mesh.http().list_all("").await?.len() >= count {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    mesh.http().settled().await?;
    // the import's own summary follows its last file
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    mesh.http().settled().await?;
    let items = mesh.http().list_all("").await?;
    anyhow::ensure!(
        items.len() >= count,
        "{} of {count} items; log:\n{}",
        items.len(),
        mesh.log()
    );
    Ok(items)
}
