//! What was acknowledged survives SIGKILL at any moment.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Result;
use mediamesh_proto::media::v1::{ListMediaItemsRequest, media_service_client::MediaServiceClient};
use mediamesh_testkit::{Http, fixture};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{id, launcher};

/// Ids that were acknowledged, each with the seed of its picture.
type Acknowledged = Arc<Mutex<BTreeMap<String, u32>>>;

/// Uploads pictures until the process is gone.
async fn upload_until_killed(http: Http, from: u32, acknowledged: Acknowledged) {
    for seed in (from..).step_by(4) {
        match http
            .upload_ok(
                &format!("k{seed}.jpg"),
                "killed",
                fixture::jpeg(seed, 320, 240),
            )
            .await
        {
            Ok(item) => {
                acknowledged
                    .lock()
                    .unwrap()
                    .insert(id(&item).to_owned(), seed);
            }
            Err(_) => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed_again_and_again() -> Result<()> {
    let mut launcher = launcher();
    let acknowledged = Acknowledged::default();
    // moments spread over start, first uploads, and full flow with workers busy
    for (round, millis) in [5_u64, 40, 150, 400, 900].into_iter().enumerate() {
        let mesh = launcher.start().await?;
        let uploads: Vec<_> = (0..4)
            .map(|lane| {
                let from = round as u32 * 100_000 + lane;
                tokio::spawn(upload_until_killed(
                    mesh.http().clone(),
                    from,
                    Arc::clone(&acknowledged),
                ))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        mesh.kill()?;
        for upload in uploads {
            upload.await?;
        }
    }

    let mesh = launcher.start().await?;
    let http = mesh.http();
    http.settled().await?;
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(
        acknowledged.len() >= 10,
        "only {} uploads were answered: the test shows nothing",
        acknowledged.len()
    );
    let items: BTreeMap<String, _> = http
        .list_all("")
        .await?
        .into_iter()
        .map(|item| (id(&item).to_owned(), item))
        .collect();
    for (id, seed) in &acknowledged {
        let item = items
            .get(id)
            .unwrap_or_else(|| panic!("acknowledged item {id} of seed {seed} is gone"));
        assert_eq!(item["state"], "STATE_READY", "{item}");
        let bytes = http.get(&format!("/v1/mediaItems/{id}/content")).await?;
        assert_eq!(
            item["sha256"].as_str(),
            Some(hex::encode(Sha256::digest(&bytes.body)).as_str())
        );
        assert!(
            bytes.body == fixture::jpeg(*seed, 320, 240),
            "{id}: other bytes than were sent"
        );
    }
    // searchable by words and by example
    let found = http
        .search(json!({"filter": {"folder": "killed"}, "limit": 200}))
        .await?;
    assert!(found["results"].as_array().map_or(0, Vec::len) >= acknowledged.len().min(200));
    for id in acknowledged.keys().step_by(acknowledged.len() / 8 + 1) {
        let hits = http
            .search_ids(json!({"examples": [{"mediaItemId": id}], "limit": 3, "minScore": 0.0}))
            .await?;
        assert!(!hits.is_empty(), "{id} has no vector");
        let name = format!("k{}", acknowledged[id]);
        let hits = http
            .search_ids(json!({"query": name, "mode": "MODE_FULL_TEXT"}))
            .await?;
        assert!(hits.contains(id), "{name} is not in the full text");
    }
    Ok(())
}

/// Whether a server of the mesh runs a call of `method` now.
async fn runs(http: &Http, method: &str) -> Result<bool> {
    let metrics = http.get("/metrics").await?.text();
    Ok(metrics.lines().any(|line| {
        line.starts_with("mediamesh_rpc_in_flight{")
            && line.contains(&format!("\"{method}\""))
            && line.contains("\"server\"")
            && !line.ends_with(" 0")
    }))
}

#[tokio::test]
async fn sigterm_finishes_the_calls_that_run() -> Result<()> {
    let mut launcher = launcher();
    let mesh = launcher.start().await?;
    let http = mesh.http().clone();
    let head = fixture::jpeg(1, 2000, 1500);
    let tail = head[head.len() / 2..].to_vec();
    let head = head[..head.len() / 2].to_vec();
    let upload = tokio::spawn(async move {
        // a body that takes a second to arrive
        let stream = futures::stream::unfold(0, move |step| {
            let (head, tail) = (head.clone(), tail.clone());
            async move {
                match step {
                    0 => Some((Ok::<_, std::io::Error>(head), 1)),
                    1 => {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Some((Ok(tail), 2))
                    }
                    _ => None,
                }
            }
        });
        http.upload("slow.jpg", "", reqwest::Body::wrap_stream(stream))
            .await
    });
    while !runs(mesh.http(), "UploadMedia").await? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, log) = mesh.stop().await?;
    assert!(status.success(), "{status}; log:\n{log}");
    assert_eq!(
        upload.await??.status.as_u16(),
        201,
        "the upload that ran was finished; log:\n{log}"
    );
    let mesh = launcher.start().await?;
    assert_eq!(mesh.http().list_all("").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn both_addresses_take_calls_until_a_load_balancer_knows() -> Result<()> {
    let mut launcher = launcher().env("MEDIAMESH_EDGE__DRAIN_DELAY_MS", "3000");
    let mesh = launcher.start().await?;
    let uri = mesh.grpc_uri();
    mesh.terminate()?;
    while mesh.http().get("/health/ready").await?.status.as_u16() == 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // connections of their own, as clients have that do not know yet
    let listed = mesh.http().list_all("").await?;
    let channel = tonic::transport::Endpoint::from_shared(uri)?
        .connect()
        .await?;
    let found = MediaServiceClient::new(channel)
        .list_media_items(ListMediaItemsRequest::default())
        .await?;
    assert_eq!(found.get_ref().media_items.len(), listed.len());
    Ok(())
}
