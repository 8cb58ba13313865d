//! Finding descriptions by what they mean, with the real weights of a text model.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use mediamesh_testkit::{Launcher, Mesh, fixture, require};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{id, launcher};

const MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// A folder with MiniLM's files; none on a machine without them.
fn weights() -> Option<PathBuf> {
    let dir = std::env::var_os("MEDIAMESH_TEST_MINILM_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/minilm"),
        PathBuf::from,
    );
    let found = dir.join("model.safetensors").is_file().then_some(dir);
    require::found("minilm", found, "run scripts/fetch_minilm.sh")
}

async fn install(launcher: &Launcher, weights: &Path) -> Result<()> {
    let mut command = launcher.command();
    command
        .args(["models", "--data-dir"])
        .arg(launcher.data())
        .args(["install", MODEL])
        .arg(weights);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

async fn described(mesh: &Mesh, seed: u32, caption: &str) -> Result<Value> {
    let path = format!("/v1/mediaItems?displayName=IMG_{seed}.jpg");
    let request = mesh
        .http()
        .request(Method::POST, &path)
        .query(&[("caption", caption)])
        .header("content-type", "image/jpeg")
        .body(fixture::jpeg(seed, 160, 120));
    let mut stored = mesh.http().send(request).await?.ok()?;
    Ok(stored["mediaItem"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_is_found_by_its_meaning_until_it_changes() -> Result<()> {
    let Some(weights) = weights() else {
        return Ok(());
    };
    let mut launcher = launcher();
    // One item is there before the model: it is read once the model is.
    let mesh = launcher.start().await?;
    let dog = described(&mesh, 1, "a dog runs on a beach").await?;
    mesh.http().settled().await?;
    let query = json!({"query": "puppy at the sea shore"});
    assert!(mesh.http().search_ids(query.clone()).await?.is_empty());
    mesh.stop().await?;

    install(&launcher, &weights).await?;
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let snow = described(&mesh, 2, "skiers on a snowy mountain").await?;
    described(&mesh, 3, "").await?;
    http.settled().await?;
    let found = || http.search_ids(query.clone());
    let until = async |wanted: &[&str]| {
        for _ in 0..200 {
            if found().await? == wanted {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        anyhow::bail!("found {:?}, not {wanted:?}", found().await?)
    };
    until(&[id(&dog)]).await?;
    let mut low = query.clone();
    low["minScore"] = json!(0.0);
    assert_eq!(
        http.search_ids(low).await?,
        [id(&dog), id(&snow)],
        "less relevant hits than the model's default can be asked for"
    );
    let winter = json!({"query": "winter sport"});
    assert_eq!(http.search_ids(winter).await?, [id(&snow)]);
    let models = http.get("/v1/models").await?.ok()?;
    let hint = models["hint"].as_str().unwrap_or_default();
    assert!(
        hint.contains("by meaning") && hint.contains("mediamesh models pull"),
        "{models}"
    );

    let path = format!("/v1/mediaItems/{}", id(&dog));
    let patch = http
        .request(Method::PATCH, &path)
        .json(&json!({"caption": "a plate of noodles"}));
    http.send(patch).await?.ok()?;
    until(&[]).await?;
    assert_eq!(
        http.search_ids(json!({"query": "asian food"})).await?,
        [id(&dog)]
    );
    Ok(())
}
