//! The same product with its bytes in a bucket.

use std::{process::Output, time::Duration};

use anyhow::Result;
use mediamesh_testkit::{
    Http, Launcher, S3, fixture,
    s3::{BUCKET, SECRET_KEY},
};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{id, launcher};

/// A launcher whose storage is this server.
fn on(server: &S3) -> Launcher {
    launcher().envs(server.env())
}

async fn status(http: &Http, method: Method, path: &str) -> Result<StatusCode> {
    Ok(http.send(http.request(method, path)).await?.status)
}

/// Waits until `done` says so.
async fn soon(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..600 {
        if done()? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} took more than 30 s");
}

/// The first box of a film and zeros.
fn film(size: usize) -> Vec<u8> {
    let mut bytes = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2".to_vec();
    bytes.resize(size, 0);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_lie_in_the_bucket_until_their_item_is_deleted() -> Result<()> {
    let server = S3::start()?;
    let launcher = on(&server);
    let photos = launcher.scratch().join("photos");
    std::fs::create_dir(&photos)?;
    for seed in 0..3 {
        let bytes = fixture::jpeg(seed, 900, 600);
        std::fs::write(photos.join(format!("lighthouse {seed}.jpg")), bytes)?;
    }
    let mut launcher = launcher.args(["--import".into(), photos.into_os_string()]);
    let mesh = launcher.start().await?;
    let http = mesh.http();
    while http.list_all("").await?.len() < 3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    http.settled().await?;

    let found = http
        .search_ids(json!({"query": "lighthouse 1", "mode": "MODE_FULL_TEXT"}))
        .await?;
    let path = format!("/v1/mediaItems/{}", found[0]);
    let original = http.get(&format!("{path}/content")).await?;
    assert!(
        original.body == fixture::jpeg(1, 900, 600),
        "the original came back"
    );
    let range = http.request(Method::GET, &format!("{path}/content"));
    let range = http.send(range.header("range", "bytes=100-199")).await?;
    assert_eq!(range.status, 206);
    assert!(range.body == original.body[100..200]);
    let thumb = http.get(&format!("{path}/renditions/thumb_300")).await?;
    assert_eq!(thumb.status, 200, "{}", thumb.text());
    assert!(thumb.body.starts_with(&[0xff, 0xd8, 0xff]), "a JPEG");

    let keys = server.keys()?;
    assert!(
        keys.len() > 3 && keys.iter().all(|key| !key.contains("staging")),
        "{keys:?}"
    );
    let local = launcher.data().join("blobs");
    assert!(!local.is_dir(), "nothing lies in the data folder");

    // in four parts, three of them whole
    let large = http.upload_ok("film.mp4", "", film(16 << 20)).await?;
    let content = http
        .get(&format!("/v1/mediaItems/{}/content", id(&large)))
        .await?;
    assert!(content.body == film(16 << 20), "the film came back");
    assert_eq!(server.unfinished_parts()?, 0);
    http.settled().await?;

    for item in found.iter().map(String::as_str).chain([id(&large)]) {
        let path = format!("/v1/mediaItems/{item}");
        assert_eq!(status(http, Method::DELETE, &path).await?, 200);
    }
    for item in http.list_all("").await? {
        let path = format!("/v1/mediaItems/{}", id(&item));
        assert_eq!(status(http, Method::DELETE, &path).await?, 200);
    }
    soon("removing all bytes", || Ok(server.keys()?.is_empty())).await?;
    Ok(())
}

/// Growth of the peak that is allowed for an upload of any length: six parts of 5 MiB and buffers.
const MAX_GROWTH_BYTES: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_upload_passes_into_the_bucket_in_bounded_memory() -> Result<()> {
    let server = S3::start()?;
    let mut launcher = on(&server);
    let mesh = launcher.start().await?;
    let http = mesh.http();
    http.upload_ok("small.jpg", "", fixture::jpeg(1, 320, 240))
        .await?;
    http.settled().await?;
    let (_, before) = mesh.memory_bytes()?;
    let zeros = vec![0_u8; 1 << 20];
    let chunks = std::iter::once(film(1 << 20)).chain(std::iter::repeat_n(zeros, 255));
    let body = futures::stream::iter(chunks.map(Ok::<_, std::io::Error>));
    let request = http
        .request(Method::POST, "/v1/mediaItems?displayName=film.mp4")
        .header("content-type", "video/mp4")
        .timeout(Duration::from_secs(120))
        .body(reqwest::Body::wrap_stream(body));
    let began = tokio::time::Instant::now();
    let item = http.send(request).await?.ok()?;
    let took = began.elapsed();
    let (_, peak) = mesh.memory_bytes()?;
    let grown = peak.saturating_sub(before);
    println!("256 MiB in {took:?}, {} MiB over idle", grown >> 20);
    assert_eq!(
        item["mediaItem"]["sizeBytes"],
        (256 << 20).to_string(),
        "{item}"
    );
    assert!(grown < MAX_GROWTH_BYTES, "{} MiB", grown >> 20);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_bucket_needs_no_restart_of_ours() -> Result<()> {
    let mut server = S3::start()?;
    let mut launcher = on(&server);
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let item = http
        .upload_ok("a.jpg", "", fixture::jpeg(1, 320, 240))
        .await?;
    http.settled().await?;
    let path = format!("/v1/mediaItems/{}", id(&item));

    server.stop();
    let upload = http.upload("b.jpg", "", fixture::jpeg(2, 320, 240)).await?;
    let download = http.get(&format!("{path}/content")).await?;
    for down in [upload, download] {
        assert_eq!(down.status, 503, "{}", down.text());
        assert!(down.text().contains("DEPENDENCY_DOWN"), "{}", down.text());
        assert!(down.text().contains("object storage"), "{}", down.text());
    }
    assert_eq!(
        http.get(&path).await?.status,
        200,
        "what needs no bytes goes on"
    );

    server.start_again()?;
    let content = http.get(&format!("{path}/content")).await?;
    assert_eq!(content.status, 200, "{}", content.text());
    http.upload_ok("b.jpg", "", fixture::jpeg(2, 320, 240))
        .await?;
    http.settled().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_upload_left_is_swept() -> Result<()> {
    let server = S3::start()?;
    let mut launcher = on(&server)
        .env(
            "MEDIAMESH_MEDIA__WORKER__SCHEDULES__SWEEP_BLOBS__CRON",
            "* * * * * *",
        )
        .env("MEDIAMESH_MEDIA__WORKER__JOB_TIMEOUT_SECS", "3")
        .env("MEDIAMESH_MEDIA__WORKER__ORPHAN_AGE_SECS", "4");
    let mesh = launcher.start().await?;
    let item = mesh
        .http()
        .upload_ok("a.jpg", "", fixture::jpeg(1, 320, 240))
        .await?;
    mesh.http().settled().await?;
    let before = server.keys()?;

    // a body that never ends
    let (send, body) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
    let body = futures::stream::unfold(body, |mut body| async move {
        body.recv().await.map(|chunk| (chunk, body))
    });
    let request = mesh
        .http()
        .request(Method::POST, "/v1/mediaItems?displayName=film.mp4")
        .header("content-type", "video/mp4")
        .body(reqwest::Body::wrap_stream(body));
    let upload = tokio::spawn(request.send());
    send.send(Ok(film(12 << 20))).await?;
    soon("sending parts", || Ok(server.unfinished_parts()? >= 2)).await?;
    mesh.kill()?;
    assert!(upload.await?.is_err());
    drop(send);

    let mesh = launcher.start().await?;
    soon("sweeping", || {
        Ok(server.unfinished_parts()? == 0 && server.keys()? == before)
    })
    .await?;
    let content = format!("/v1/mediaItems/{}/content", id(&item));
    assert_eq!(
        mesh.http().get(&content).await?.status,
        200,
        "what has a row stays"
    );
    Ok(())
}

/// What `doctor` says, and whether it is content.
fn doctor(launcher: &Launcher, more: &[(&str, &str)]) -> Result<(bool, String)> {
    let mut command = launcher.command();
    command.arg("doctor").arg("--data-dir").arg(launcher.data());
    let Output {
        status,
        stdout,
        stderr,
    } = command.envs(more.iter().copied()).output()?;
    let said = String::from_utf8([stdout, stderr].concat())?;
    Ok((status.success(), said))
}

#[test]
fn doctor_tells_what_is_wrong_with_a_bucket_and_nobody_tells_the_secret() -> Result<()> {
    let server = S3::start()?;
    let launcher = on(&server);
    let free = [
        ("MEDIAMESH_LISTEN", "127.0.0.1:0"),
        ("MEDIAMESH_GRPC_LISTEN", "127.0.0.1:0"),
    ];
    let (well, said) = doctor(&launcher, &free)?;
    assert!(
        well && said.contains("ok    objects can be listed"),
        "{said}"
    );
    assert!(server.keys()?.is_empty());

    for (variable, told) in [
        (
            ("AWS_SECRET_ACCESS_KEY", "not-the-secret"),
            "refuses the credentials",
        ),
        (("MEDIAMESH_STORAGE__BUCKET", "elsewhere"), "does not exist"),
        (
            ("MEDIAMESH_STORAGE__ENDPOINT", "http://127.0.0.1:1"),
            "object storage failed",
        ),
    ] {
        let (well, said) = doctor(&launcher, &[free[0], free[1], variable])?;
        assert!(!well && said.contains(told), "{variable:?}: {said}");
        assert!(
            !said.contains(SECRET_KEY) && !said.contains("not-the-secret"),
            "{said}"
        );
    }

    let mut print = launcher.command();
    let shown = String::from_utf8(print.args(["config", "print"]).output()?.stdout)?;
    assert!(
        shown.contains(&format!("storage.bucket = \"{BUCKET}\"")),
        "{shown}"
    );
    assert!(!shown.contains(SECRET_KEY), "{shown}");
    let mut faulty = launcher.command();
    faulty
        .args(["config", "print"])
        .env("MEDIAMESH_STORAGE__ENDPOINT", "files.example")
        .env("MEDIAMESH_STORAGE__PART_BYTES", "5000000")
        .env("MEDIAMESH_MEDIA__MAX_UPLOAD_BYTES", "9000000000");
    let output = faulty.output()?;
    assert_eq!(output.status.code(), Some(64));
    let faults = String::from_utf8(output.stderr)?;
    for part in [
        "storage.endpoint",
        "storage.part_bytes is 5000000",
        "media.max_upload_bytes",
    ] {
        assert!(faults.contains(part), "{part}: {faults}");
    }
    Ok(())
}
