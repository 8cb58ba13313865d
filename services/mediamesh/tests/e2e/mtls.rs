//! Five processes that believe each other by token and certificate, and nobody else.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use mediamesh_testkit::{Answer, Cluster, Http, fixture};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::Method;
use serde_json::Value;

use crate::launcher;

const SIGNING_KEY: &str = "test:dGVzdHMgc2lnbiB3aXRoIHRoaXMga2V5IG9mIDMyKyBieXRlcw==";

/// Writes a fresh authority, and a certificate of it for this host.
fn certify(dir: &Path) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["localhost".to_owned()])?;
    let cert = params.signed_by(&key, &authority)?;
    std::fs::write(dir.join("ca.pem"), authority.as_ref().pem())?;
    std::fs::write(dir.join("cert.pem"), cert.pem())?;
    std::fs::write(dir.join("key.pem"), key.serialize_pem())?;
    Ok(())
}

async fn get(http: &Http, path: &str, key: &str) -> Result<Answer> {
    http.send(http.request(Method::GET, path).bearer_auth(key))
        .await
}

#[tokio::test]
async fn five_processes_believe_each_other_by_token_and_certificate() -> Result<()> {
    let launcher = launcher();
    let certs = launcher.scratch().join("certs");
    std::fs::create_dir(&certs)?;
    certify(&certs)?;
    let made = launcher
        .command()
        .args([
            "keys",
            "create",
            "ci",
            "--scope",
            "write",
            "--offline",
            "--json",
        ])
        .arg("--data-dir")
        .arg(launcher.data())
        .output()?;
    ensure!(made.status.success(), "{made:?}");
    let made: Value = serde_json::from_slice(&made.stdout)?;
    let key = made["secret"].as_str().context("no secret")?;

    let file = |name: &str| certs.join(name).to_string_lossy().into_owned();
    let tls = [
        ("MEDIAMESH_MESH__TLS__CA", file("ca.pem")),
        ("MEDIAMESH_MESH__TLS__CERT", file("cert.pem")),
        ("MEDIAMESH_MESH__TLS__KEY", file("key.pem")),
        // peers are addresses
        ("MEDIAMESH_MESH__TLS__SERVER_NAME", "localhost".to_owned()),
        ("MEDIAMESH_MESH__TLS__RELOAD_SECS", "1".to_owned()),
        (
            "MEDIAMESH_IDENTITY__SIGNING_KEYS",
            format!("[\"{SIGNING_KEY}\"]"),
        ),
        ("MEDIAMESH_IDENTITY__KEY_CACHE_SECS", "1".to_owned()),
    ];
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh")).data_dir(launcher.data());
    for service in ["cache", "embedding", "search", "media", "edge"] {
        cluster = cluster.service(service, 1);
    }
    for (name, value) in &tls {
        cluster = cluster.env(name, value);
    }
    let mut cluster = cluster.start().await?;
    let edge = Http::new(&cluster.replica("edge", 0).http_address().to_string())?;

    // a picture goes through all five
    assert_eq!(edge.get("/v1/mediaItems").await?.status, 401);
    let request = edge
        .request(Method::POST, "/v1/mediaItems?displayName=harbour.jpg")
        .bearer_auth(key)
        .header("content-type", "image/jpeg")
        .body(fixture::jpeg(3, 320, 240));
    edge.send(request).await?.ok()?;
    let mut stats = Value::Null;
    for _ in 0..300 {
        stats = get(&edge, "/v1/index/stats", key).await?.ok()?;
        if stats["vectorIndexes"][0]["vectors"] == "1" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(stats["vectorIndexes"][0]["vectors"], "1", "{stats}");
    let search = "/api/search?query=harbour";
    let found = get(&edge, search, key).await?.ok()?;
    assert_eq!(
        found["results"].as_array().map(Vec::len),
        Some(1),
        "{found}"
    );

    // who does not belong to the mesh does not get as far as to be asked for a key
    let media = cluster.replica("media", 0).grpc_address().to_string();
    for (scheme, with_tls, good) in [("http", false, false), ("https", true, true)] {
        let mut command = launcher.command();
        command
            .args(["keys", "list", "--endpoint", &format!("{scheme}://{media}")])
            .args(["--api-key", key, "--data-dir"])
            .arg(launcher.data());
        if with_tls {
            command.envs(tls.iter().map(|(name, value)| (name, value)));
        }
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // the key may not list keys: that is said only to who got in
        assert_eq!(text.contains("scope `admin`"), good, "{scheme}: {text}");
    }

    // new certificates of a new authority: a process that starts has them, the others as well
    certify(&certs)?;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    cluster.replica_mut("search", 0).kill()?;
    cluster.replica_mut("search", 0).start().await?;
    let mut answer = get(&edge, search, key).await?;
    for _ in 0..50 {
        if answer.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = get(&edge, search, key).await?;
    }
    assert_eq!(answer.status, 200, "{}", answer.text());

    // without the media service a known key goes on working, an unknown one is not called wrong
    cluster.replica_mut("media", 0).kill()?;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(get(&edge, search, key).await?.status, 200);
    let unknown = mediamesh_proto::ApiKeySecret::generate().reveal();
    assert_eq!(get(&edge, search, &unknown).await?.status, 503);
    Ok(())
}
