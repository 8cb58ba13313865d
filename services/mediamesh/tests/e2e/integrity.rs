//! Files and objects are damaged behind the back of a running mesh; `mediamesh integrity` finds it and
//! mends what can be mended, killed in between or not.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, ErrorKind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use mediamesh_testkit::{Http, Launcher, S3, TestDatabase, fixture};
use serde_json::Value;

use crate::{id, launcher};

const DAMAGED: &str = "ERROR_REASON_DATA_CORRUPT";
/// How often a repair is killed, and how many findings later each time.
const KILLS: usize = 6;
const KILL_STEP: usize = 3;

/// A mesh whose objects a test can reach as files below a folder.
struct Stack {
    launcher: Launcher,
    objects: PathBuf,
}

impl Stack {
    fn new(launcher: Launcher, objects: PathBuf) -> Self {
        Self {
            launcher: launcher
                .env("MEDIAMESH_MEDIA__WORKER__JOB_TIMEOUT_SECS", "20")
                .env("MEDIAMESH_MEDIA__WORKER__ORPHAN_AGE_SECS", "60")
                // it would remove what is to be found
                .env(
                    "MEDIAMESH_MEDIA__WORKER__SCHEDULES__SWEEP_BLOBS__ENABLED",
                    "false",
                ),
            objects,
        }
    }

    fn local() -> Self {
        let launcher = launcher();
        let objects = launcher.data().join("blobs");
        Self::new(launcher, objects)
    }

    fn shared(database: &TestDatabase, bucket: &S3) -> Self {
        let launcher = launcher()
            .env("MEDIAMESH_DATABASE__URL", &database.url())
            .envs(bucket.env());
        Self::new(launcher, bucket.objects())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.launcher.command();
        command.arg("integrity").args(args);
        command.arg("--data-dir").arg(self.launcher.data());
        command
    }

    /// The exit code and what was said.
    fn check(&self, args: &[&str]) -> Result<(i32, Value)> {
        let output = self.command(args).arg("--json").output()?;
        let said = String::from_utf8(output.stdout)?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = serde_json::from_str(&said).with_context(|| format!("{said}\n{told}"))?;
        Ok((output.status.code().context("killed")?, said))
    }

    /// The only file whose path holds all of `parts`.
    fn file(&self, parts: &[&str]) -> Result<PathBuf> {
        let mut found = files(&self.objects)?;
        found.retain(|path| {
            parts
                .iter()
                .all(|part| path.to_string_lossy().contains(part))
        });
        assert_eq!(found.len(), 1, "{parts:?}: {found:?}");
        Ok(found.remove(0))
    }

    fn put(&self, key: &str, age: Duration) -> Result<PathBuf> {
        let path = self.objects.join(key);
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        std::fs::write(&path, "nobody's")?;
        let file = std::fs::File::options().write(true).open(&path)?;
        file.set_modified(SystemTime::now() - age)?;
        Ok(path)
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

/// One bit of a file is another; answers what it was.
fn flip(path: &Path) -> Result<Vec<u8>> {
    let before = std::fs::read(path)?;
    let mut bytes = before.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes)?;
    Ok(before)
}

/// What was found, as `problem part repair`, and how often.
fn found(said: &Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for finding in said["findings"].as_array().into_iter().flatten() {
        let [problem, part, repair] = ["problem", "part", "repair"].map(|name| {
            let text = finding[name].as_str();
            text.unwrap_or_default()
        });
        let line = format!("{problem} {part} {repair}").trim_end().to_owned();
        *counts.entry(line).or_insert(0) += 1;
    }
    counts
}

fn counts<const N: usize>(lines: [(&str, usize); N]) -> BTreeMap<String, usize> {
    lines.map(|(line, count)| (line.to_owned(), count)).into()
}

async fn item(http: &Http, id: &str) -> Result<Value> {
    http.get(&format!("/v1/mediaItems/{id}")).await?.ok()
}

async fn fill(http: &Http, seeds: std::ops::Range<u32>) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for seed in seeds {
        let picture = fixture::jpeg(seed, 640, 480);
        let item = http.upload_ok(&format!("p{seed}.jpg"), "", picture).await?;
        ids.push(id(&item).to_owned());
    }
    http.settled().await?;
    Ok(ids)
}

async fn found_and_mended(mut stack: Stack) -> Result<()> {
    let mesh = stack.launcher.start().await?;
    let http = mesh.http();
    let ids = fill(http, 0..4).await?;
    let (code, said) = stack.check(&["--checksums"])?;
    assert_eq!(code, 0, "{said}");
    assert_eq!(said["summary"]["items"], 4, "{said}");
    assert_eq!(found(&said), counts([]), "{said}");
    assert_eq!(
        said["summary"]["stored"], said["summary"]["named"],
        "{said}"
    );

    let thumb = stack.file(&["thumbnails", &ids[0], "-300w"])?;
    let made = std::fs::read(&thumb)?;
    std::fs::remove_file(&thumb)?;
    let main = stack.file(&["renditions", &ids[1], "-main"])?;
    let main_bytes = flip(&main)?;
    let gone = stack.file(&["originals", &ids[2]])?;
    let gone_bytes = std::fs::read(&gone)?;
    std::fs::remove_file(&gone)?;
    let bad = stack.file(&["originals", &ids[3]])?;
    let bad_bytes = flip(&bad)?;
    let stray = stack.put("t/originals/stray", Duration::from_secs(3_600))?;
    let young = stack.put("t/originals/young", Duration::ZERO)?;

    let (code, said) = stack.check(&[])?;
    let seen = counts([
        ("missing original", 1),
        ("missing rendition", 1),
        ("untracked unknown", 1),
    ]);
    assert_eq!((code, found(&said)), (65, seen), "{said}");
    let (code, said) = stack.check(&["--checksums"])?;
    let seen = counts([
        ("mismatch original", 1),
        ("mismatch rendition", 1),
        ("missing original", 1),
        ("missing rendition", 1),
        ("untracked unknown", 1),
    ]);
    assert_eq!((code, found(&said)), (65, seen), "{said}");
    assert!(stray.is_file(), "nothing is changed unless it is asked for");
    assert_eq!(item(http, &ids[3]).await?["state"], "STATE_READY");

    let (code, said) = stack.check(&["--checksums", "--repair"])?;
    let seen = counts([
        ("mismatch original marked", 1),
        ("mismatch rendition queued", 1),
        ("missing original marked", 1),
        ("missing rendition queued", 1),
        ("untracked unknown removed", 1),
    ]);
    assert_eq!((code, found(&said)), (65, seen), "{said}");
    http.settled().await?;
    assert!(!stray.is_file() && young.is_file());
    std::fs::remove_file(&young)?;
    assert!(std::fs::read(&thumb)? == made, "it is what it was");
    assert!(std::fs::read(&main)? == main_bytes, "it is what it was");
    for damaged in &ids[2..] {
        let item = item(http, damaged).await?;
        assert_eq!(item["state"], "STATE_FAILED", "{item}");
        assert!(item.to_string().contains(DAMAGED), "{item}");
    }
    assert!(bad.is_file(), "an original is never removed");
    let (code, said) = stack.check(&["--checksums"])?;
    let seen = counts([("mismatch original", 1), ("missing original", 1)]);
    assert_eq!((code, found(&said)), (65, seen), "{said}");
    let plain = stack.command(&["--checksums"]).output()?;
    let lines = String::from_utf8(plain.stdout)?;
    for part in [&format!("original of {}", ids[2]), "1 missing", "SHA-256"] {
        assert!(lines.contains(part), "{part}: {lines}");
    }

    // an operator brings both back from a copy
    std::fs::write(&gone, gone_bytes)?;
    std::fs::write(&bad, bad_bytes)?;
    let (code, said) = stack.check(&["--checksums", "--repair"])?;
    assert_eq!((code, found(&said)), (0, counts([])), "{said}");
    assert_eq!(said["summary"]["restored"], 2, "{said}");
    http.settled().await?;
    for id in &ids {
        assert_eq!(item(http, id).await?["state"], "STATE_READY");
    }
    let (code, said) = stack.check(&["--checksums"])?;
    assert_eq!((code, found(&said)), (0, counts([])), "{said}");

    uploads_go_on(&stack, http).await?;
    killed_repairs_go_on(&stack, http, &ids).await
}

/// An upload that is under way while repairs run is whole afterwards.
async fn uploads_go_on(stack: &Stack, http: &Http) -> Result<()> {
    let (send, body) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
    let body = futures::stream::unfold(body, |mut body| async move {
        body.recv().await.map(|chunk| (chunk, body))
    });
    let request = http
        .request(reqwest::Method::POST, "/v1/mediaItems?displayName=film.mp4")
        .header("content-type", "video/mp4")
        .body(reqwest::Body::wrap_stream(body));
    let (client, sends) = (http.clone(), request);
    let upload = tokio::spawn(async move { client.send(sends).await });
    let mut film = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2".to_vec();
    film.resize(12 << 20, 0);
    send.send(Ok(film.clone())).await?;
    for _ in 0..2 {
        let (code, said) = stack.check(&["--checksums", "--repair"])?;
        assert_eq!((code, found(&said)), (0, counts([])), "{said}");
    }
    drop(send);
    let stored = upload.await??.ok()?;
    let stored = stored["mediaItem"].clone();
    let path = format!("/v1/mediaItems/{}/content", id(&stored));
    assert!(http.get(&path).await?.body == film, "the film came back");
    http.settled().await
}

/// Repairs that are killed leave nothing worse, and the next one goes on.
async fn killed_repairs_go_on(stack: &Stack, http: &Http, ids: &[String]) -> Result<()> {
    let damage = || -> Result<()> {
        for path in files(&stack.objects)? {
            let text = path.to_string_lossy().into_owned();
            // with `#` it is being written
            let made = !text.contains("originals") && !text.contains('#');
            if made && ids.iter().any(|id| text.contains(id)) {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
        }
        stack.put("t/renditions/stray", Duration::from_secs(3_600))?;
        Ok(())
    };
    for kill in 1..=KILLS {
        http.settled().await?;
        damage()?;
        let mut repair = stack.command(&["--repair", "--concurrency", "1"]);
        let mut repair = repair
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let told = BufReader::new(repair.stdout.take().context("no pipe")?);
        // one line for each finding, as soon as it is mended
        let read = told.lines().take(kill * KILL_STEP).count();
        repair.kill()?;
        repair.wait()?;
        assert!(read > 0, "it ended before it found anything");
    }
    http.settled().await?;
    stack.check(&["--repair"])?;
    http.settled().await?;
    let (code, said) = stack.check(&["--checksums"])?;
    assert_eq!((code, found(&said)), (0, counts([])), "{said}");
    for id in ids {
        assert_eq!(item(http, id).await?["state"], "STATE_READY");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_local_files_is_found_and_mended() -> Result<()> {
    found_and_mended(Stack::local()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_bucket_is_found_and_mended() -> Result<()> {
    let Some(database) = TestDatabase::create().await? else {
        return Ok(());
    };
    let bucket = S3::start()?;
    found_and_mended(Stack::shared(&database, &bucket)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_of_another_database_is_not_repaired() -> Result<()> {
    let mut stack = Stack::local();
    let mesh = stack.launcher.start().await?;
    fill(mesh.http(), 0..10).await?;
    let away = stack.launcher.scratch().join("away");
    std::fs::rename(&stack.objects, &away)?;
    std::fs::create_dir(&stack.objects)?;
    let (code, said) = stack.check(&[])?;
    let missing = said["summary"]["missing"].as_u64();
    assert!(code == 65 && missing > Some(10), "{said}");
    let refused = stack.command(&["--repair"]).output()?;
    let told = String::from_utf8(refused.stderr)?;
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("10 of 10 originals are missing"), "{told}");
    std::fs::remove_dir(&stack.objects)?;
    std::fs::rename(&away, &stack.objects)?;
    let (code, said) = stack.check(&["--checksums"])?;
    assert_eq!((code, found(&said)), (0, counts([])), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduled_check_tells_by_metric_log_and_job() -> Result<()> {
    let mut stack = Stack::local();
    let schedule = "MEDIAMESH_MEDIA__WORKER__SCHEDULES__CHECK_BLOBS__CRON";
    stack.launcher = stack
        .launcher
        .env(schedule, "* * * * * *")
        .env("MEDIAMESH_MEDIA__INTEGRITY__CHECKSUMS", "true");
    let mesh = stack.launcher.start().await?;
    let http = mesh.http();
    let ids = fill(http, 0..2).await?;
    flip(&stack.file(&["originals", &ids[0]])?)?;
    let wanted =
        "mediamesh_media_integrity_findings_total{problem=\"mismatch\",part=\"original\"} ";
    let counted = |page: &str| {
        let mut lines = page.lines().filter_map(|line| line.strip_prefix(wanted));
        lines.any(|count| count != "0")
    };
    let mut metrics = String::new();
    for _ in 0..300 {
        metrics = http.get("/metrics").await?.text();
        if counted(&metrics) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(counted(&metrics), "{metrics}");
    assert!(metrics.contains("mediamesh_media_integrity_checked_objects_total"));
    assert!(mesh.log().contains("rows and storage disagree"));
    assert_eq!(item(http, &ids[0]).await?["state"], "STATE_READY");
    let listed = stack
        .launcher
        .command()
        .args(["jobs", "schedules"])
        .arg("--data-dir")
        .arg(stack.launcher.data())
        .output()?;
    let listed = String::from_utf8(listed.stdout)?;
    assert!(listed.contains("check_blobs"), "{listed}");
    Ok(())
}
