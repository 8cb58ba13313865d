//! A process before it serves, and one that is told to end: who asks is answered, and what began is
//! finished.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use mediamesh_proto::{
    ErrorReason,
    media::v1::{
        UploadMediaMetadata, UploadMediaRequest, media_service_client::MediaServiceClient,
        upload_media_request::Payload,
    },
    search::v1::{SearchMediaRequest, search_service_client::SearchServiceClient},
    status::reason_of,
};
use mediamesh_testkit::{Cluster, Http, fixture};
use reqwest::{Body, Method};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::scrape::{PATIENCE, becomes};
use crate::{fill, launcher};

/// Makes a file that whoever opens it waits at, until [`release`].
fn stopper(path: &Path) -> Result<()> {
    let made = Command::new("mkfifo").arg(path).status()?;
    ensure!(made.success(), "mkfifo: {made}");
    Ok(())
}

/// Lets the one that waits go on, with nothing to read.
async fn release(path: PathBuf) -> Result<()> {
    Ok(tokio::task::spawn_blocking(move || std::fs::write(path, "")).await??)
}

async fn connect(address: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let endpoint = endpoint.timeout(Duration::from_secs(5));
    let end = Instant::now() + PATIENCE;
    loop {
        match endpoint.connect().await {
            Ok(channel) => return Ok(channel),
            Err(error) if Instant::now() > end => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn serving(grpc: &Channel, service: &str) -> Result<ServingStatus> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(grpc.clone()).check(request).await?;
    Ok(answer.into_inner().status())
}

const SEARCH: &str = "mediamesh.search.v1.SearchService";

/// Asserts that a process that loads something says so to everybody who asks, at once.
async fn says_that_it_starts(http: &Http, grpc: &Channel) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while http
        .get("/health/live")
        .await
        .map(|live| live.status.as_u16())
        .ok()
        != Some(200)
    {
        assert!(Instant::now() < end, "it does not say that it lives");
        sleep(Duration::from_millis(20)).await;
    }
    for turn in 0..3 {
        for (path, status) in [
            ("/health/live", 200),
            ("/health/ready", 503),
            ("/health/startup", 503),
        ] {
            let asked = Instant::now();
            let answer = http.get(path).await?;
            assert_eq!(answer.status, status, "{turn}: {path}: {}", answer.text());
            assert!(asked.elapsed() < Duration::from_secs(5), "{path}");
        }
        for name in ["", SEARCH] {
            assert_eq!(serving(grpc, name).await?, ServingStatus::Unknown);
        }
        let mut search = SearchServiceClient::new(grpc.clone());
        let refused = search.search_media(SearchMediaRequest::default()).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert_eq!(reason_of(&refused), Some(ErrorReason::StartingUp));
        sleep(Duration::from_millis(100)).await;
    }
    let metrics = http.get("/metrics").await?;
    assert_eq!(metrics.status, 200, "an operator may look meanwhile");
    Ok(())
}

async fn says_that_it_serves(http: &Http, grpc: &Channel) -> Result<()> {
    for path in ["/health/live", "/health/ready", "/health/startup"] {
        assert_eq!(http.get(path).await?.status, 200, "{path}");
    }
    // on the connection that was there before
    for name in ["", SEARCH] {
        assert_eq!(serving(grpc, name).await?, ServingStatus::Serving);
    }
    Ok(())
}

#[tokio::test]
async fn up_answers_probes_while_its_model_is_loaded() -> Result<()> {
    let mut launcher = launcher();
    let models = launcher.data().join("models");
    std::fs::create_dir_all(&models)?;
    let active = models.join("active");
    stopper(&active)?;
    let [http, grpc] = launcher.claim()?;
    let starting = launcher.spawn()?;
    let (http, grpc) = (Http::new(&http)?, connect(&grpc).await?);
    says_that_it_starts(&http, &grpc).await?;
    let refused = http.get("/v1/models").await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());

    release(active).await?;
    let mesh = starting.ready().await?;
    says_that_it_serves(&http, &grpc).await?;
    http.get("/v1/models").await?.ok()?;
    mesh.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_process_that_is_told_to_end_while_it_loads_ends() -> Result<()> {
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .service("cache", 1)
        .service("embedding", 1)
        .build()
        .await?;
    let models = cluster.replica("embedding", 0).data_dir().join("models");
    std::fs::create_dir_all(&models)?;
    stopper(&models.join("active"))?;
    cluster.replica_mut("embedding", 0).spawn()?;
    let http = cluster.replica("embedding", 0).http().clone();
    let end = Instant::now() + PATIENCE;
    while http.get("/health/live").await.is_err() {
        assert!(Instant::now() < end, "it does not say that it lives");
        sleep(Duration::from_millis(20)).await;
    }
    let (status, log) = cluster.replica_mut("embedding", 0).stop().await?;
    assert!(status.success(), "{status}; log:\n{log}");
    Ok(())
}

/// The snapshot of the one index in a data folder.
fn snapshot(folder: &Path) -> Result<PathBuf> {
    let mut folders = vec![folder.join("vectors")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|suffix| suffix == "mmv") => {
                    return Ok(path);
                }
                false => {}
            }
        }
    }
    anyhow::bail!("no snapshot in {}", folder.display())
}

#[tokio::test]
async fn serve_search_answers_probes_while_its_index_is_loaded() -> Result<()> {
    let mut launcher = launcher();
    let mesh = launcher.start().await?;
    let items = fill(&mesh, 0, 3).await?;
    // ending saves the index
    mesh.stop().await?;
    let index = snapshot(launcher.data())?;
    std::fs::remove_file(&index)?;
    stopper(&index)?;

    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .data_dir(launcher.data())
        .together(&["cache", "embedding", "media"], 1)
        .service("search", 1)
        .service("edge", 1)
        .build()
        .await?;
    for service in ["search", "media", "edge"] {
        cluster.replica_mut(service, 0).spawn()?;
    }
    let search = cluster.replica("search", 0);
    let (http, grpc) = (
        search.http().clone(),
        connect(&search.grpc_address().to_string()).await?,
    );
    says_that_it_starts(&http, &grpc).await?;
    // and so does who needs it
    let edge = cluster.replica("edge", 0).http().clone();
    let end = Instant::now() + PATIENCE;
    while edge.get("/health/live").await.is_err() {
        assert!(Instant::now() < end, "the edge does not say that it lives");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(edge.get("/health/ready").await?.status, 503);

    release(index).await?;
    for service in ["search", "media", "edge"] {
        cluster.replica_mut(service, 0).ready().await?;
    }
    says_that_it_serves(&http, &grpc).await?;
    let found = edge.search_ids(json!({"query": "picture"})).await?;
    assert_eq!(found.len(), items.len());
    Ok(())
}

/// Chunks of a file, the second half of them once the sender says so.
fn in_two_halves(
    bytes: &[u8],
    mut go: watch::Receiver<bool>,
) -> impl futures::Stream<Item = Bytes> + Send + use<> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let (first, second) = (
        Bytes::copy_from_slice(first),
        Bytes::copy_from_slice(second),
    );
    let second = stream::once(async move {
        let _ = go.wait_for(|go| *go).await;
        second
    });
    stream::iter([first]).chain(second)
}

async fn by_rest(edge: Http, seed: u32, go: watch::Receiver<bool>) -> Result<()> {
    let chunks = in_two_halves(&fixture::jpeg(seed, 320, 240), go);
    let body = Body::wrap_stream(chunks.map(Ok::<_, std::io::Error>));
    let request = edge
        .request(
            Method::POST,
            &format!("/v1/mediaItems?displayName=rest{seed}.jpg"),
        )
        .header("content-type", "image/jpeg")
        .body(body);
    let answer = edge.send(request).await?;
    ensure!(answer.status == 201, "rest {seed}: {}", answer.text());
    Ok(())
}

async fn by_grpc(address: String, seed: u32, go: watch::Receiver<bool>) -> Result<()> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let metadata = UploadMediaMetadata {
        display_name: format!("grpc{seed}.jpg"),
        ..Default::default()
    };
    let chunks = in_two_halves(&fixture::jpeg(seed, 320, 240), go);
    let payloads = stream::iter([Payload::Metadata(metadata)]).chain(chunks.map(Payload::Chunk));
    let requests = payloads.map(|payload| UploadMediaRequest {
        payload: Some(payload),
    });
    let answer = MediaServiceClient::new(channel)
        .upload_media(requests)
        .await;
    answer.with_context(|| format!("grpc {seed}"))?;
    Ok(())
}

#[tokio::test]
async fn writes_that_began_are_finished_by_processes_that_are_told_to_end() -> Result<()> {
    const BY_REST: u32 = 6;
    const BY_GRPC: u32 = 3;
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .together(&["cache", "embedding", "search"], 1)
        .service("media", 1)
        .service("edge", 1)
        .start()
        .await?;
    let (go, wait) = watch::channel(false);
    let mut uploads = tokio::task::JoinSet::new();
    for seed in 0..BY_REST {
        let edge = cluster.replica("edge", 0).http().clone();
        uploads.spawn(by_rest(edge, seed, wait.clone()));
    }
    for seed in BY_REST..BY_REST + BY_GRPC {
        // by the edge's port, and past it
        let address = match seed % 2 {
            0 => cluster.replica("edge", 0).http_address(),
            _ => cluster.replica("media", 0).grpc_address(),
        };
        uploads.spawn(by_grpc(address.to_string(), seed, wait.clone()));
    }
    let media = cluster.replica("media", 0).http();
    let streaming = (
        "mediamesh_load_streaming_calls",
        &[("service", "media")][..],
    );
    let all = f64::from(BY_REST + BY_GRPC);
    becomes(media, streaming, |open| open == all).await?;

    for service in ["media", "edge"] {
        cluster.replica(service, 0).terminate()?;
    }
    // both take nobody new
    for service in ["media", "edge"] {
        let address = cluster.replica(service, 0).grpc_address();
        let end = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            assert!(Instant::now() < end, "{service} still accepts");
            sleep(Duration::from_millis(20)).await;
        }
    }
    go.send(true)?;
    let mut failed = Vec::new();
    while let Some(upload) = uploads.join_next().await {
        failed.extend(upload?.err().map(|error| format!("{error:#}")));
    }
    assert!(failed.is_empty(), "{failed:#?}\n{}", cluster.logs());
    for service in ["media", "edge"] {
        let (status, log) = cluster.replica_mut(service, 0).ended().await?;
        assert!(status.success(), "{service}: {status}; log:\n{log}");
        cluster.replica_mut(service, 0).spawn()?;
    }
    cluster.start().await?;
    for service in ["media", "edge"] {
        cluster.replica_mut(service, 0).ready().await?;
    }
    let kept = cluster.replica("edge", 0).http().list_all("").await?;
    assert_eq!(kept.len(), (BY_REST + BY_GRPC) as usize);
    Ok(())
}
