//! A full disk refuses an upload and harms nothing that was stored.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use mediamesh_testkit::{fixture, require};

use crate::{id, launcher};

/// A file system of 24 MB in memory, unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// None if this user or container may not mount.
    fn mount(at: &'a Path) -> Option<Self> {
        fs::create_dir_all(at).ok()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(at)
            .output()
            .ok()?;
        mounted.status.success().then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // lazily: a process that was just killed may hold it for another moment
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_the_upload_and_keeps_the_rest() -> Result<()> {
    let launcher = launcher();
    let at = launcher.scratch().join("disk");
    let hint = "mounting a tmpfs needs root";
    let Some(disk) = require::found("mount", SmallDisk::mount(&at), hint) else {
        return Ok(());
    };
    let mut launcher = launcher.data_dir(disk.0.join("data"));

    let mesh = launcher.start().await?;
    let http = mesh.http();
    let kept = http
        .upload_ok("kept.jpg", "", fixture::jpeg(1, 320, 240))
        .await?;
    http.settled().await?;
    // JPEGs end at their end marker; what follows is kept as it came
    let mut big = fixture::jpeg(2, 320, 240);
    big.resize(40_000_000, 7);
    let refused = http.upload("big.jpg", "", big).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.reason().as_str()),
        (507, "ERROR_REASON_STORAGE_FULL"),
        "{}",
        refused.text()
    );

    let content = http
        .get(&format!("/v1/mediaItems/{}/content", id(&kept)))
        .await?;
    assert!(
        content.body == fixture::jpeg(1, 320, 240),
        "what was stored before is served"
    );
    assert_eq!(
        http.list_all("").await?.len(),
        1,
        "nothing half-stored is listed"
    );
    // the bytes of the refused upload were removed: there is space again
    let after = http
        .upload("after.jpg", "", fixture::jpeg(3, 320, 240))
        .await?;
    assert_eq!(after.status.as_u16(), 201, "{}", after.text());
    http.settled().await?;
    mesh.kill()?;
    let mesh = launcher.start().await?;
    assert_eq!(mesh.http().list_all("state=STATE_READY").await?.len(), 2);
    mesh.kill()?;
    Ok(())
}
