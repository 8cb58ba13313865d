//! A mesh that asks for keys: who gets in, with what, how far, and for how long.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mediamesh_proto::{
    cache::v1::{InvalidateEntriesRequest, cache_service_client::CacheServiceClient},
    media::v1::{ListMediaItemsRequest, media_service_client::MediaServiceClient},
};
use mediamesh_testkit::{Answer, Launcher, Mesh, fixture};
use reqwest::Method;
use serde_json::Value;
use tonic::{Code, Request, transport::Channel};

use crate::launcher;

/// A launcher of a mesh that asks for keys and goes by its cache for one second.
fn guarded() -> Launcher {
    launcher()
        .env("MEDIAMESH_IDENTITY__REQUIRED", "true")
        .env("MEDIAMESH_IDENTITY__KEY_CACHE_SECS", "1")
}

/// Runs `mediamesh keys` and reads its JSON.
fn keys(launcher: &Launcher, args: &[&str]) -> Result<Value> {
    let output = launcher
        .command()
        .arg("keys")
        .args(args)
        .arg("--json")
        .arg("--data-dir")
        .arg(launcher.data())
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Makes a key on the data folder.
fn key(launcher: &Launcher, scope: &str) -> Result<String> {
    let made = keys(launcher, &["create", scope, "--scope", scope, "--offline"])?;
    Ok(made["secret"].as_str().context("no secret")?.to_owned())
}

async fn get(mesh: &Mesh, path: &str, key: &str) -> Result<Answer> {
    let request = mesh.http().request(Method::GET, path).bearer_auth(key);
    mesh.http().send(request).await
}

async fn upload(mesh: &Mesh, key: &str) -> Result<Answer> {
    let request = mesh
        .http()
        .request(Method::POST, "/v1/mediaItems?displayName=lighthouse.jpg")
        .header("x-api-key", key)
        .header("content-type", "image/jpeg")
        .body(fixture::jpeg(1, 320, 240));
    mesh.http().send(request).await
}

#[tokio::test]
async fn without_a_key_only_probes_descriptions_and_the_console_answer() -> Result<()> {
    let mut launcher = guarded();
    let (read, admin) = (key(&launcher, "read")?, key(&launcher, "admin")?);
    let mesh = launcher.start().await?;
    for path in [
        "/health",
        "/api/health",
        "/openapi.json",
        "/errors",
        "/console/main.js",
    ] {
        assert_eq!(mesh.http().get(path).await?.status, 200, "{path}");
    }
    for path in ["/", "/v1/mediaItems", "/api/search?query=x", "/metrics"] {
        let refused = mesh.http().get(path).await?;
        assert_eq!(refused.status, 401, "{path}");
        assert_eq!(refused.reason(), "ERROR_REASON_UNAUTHENTICATED", "{path}");
        assert!(
            refused
                .header("www-authenticate")
                .starts_with("Bearer realm"),
            "{path}"
        );
    }
    // a foreign key, a cut one, one of another kind
    let foreign = mediamesh_proto::ApiKeySecret::generate().reveal();
    for wrong in [
        foreign.as_str(),
        &read[..40],
        "eyJhbGciOiJub25lIn0.e30.",
        "mmk_",
    ] {
        let refused = get(&mesh, "/v1/mediaItems", wrong).await?;
        assert_eq!(refused.status, 401, "{wrong}");
        assert_eq!(refused.reason(), "ERROR_REASON_UNAUTHENTICATED", "{wrong}");
    }
    // every way to send a key
    assert_eq!(get(&mesh, "/v1/mediaItems", &read).await?.status, 200);
    for (user, password) in [("", read.as_str()), (read.as_str(), "")] {
        let request = mesh
            .http()
            .request(Method::GET, "/")
            .basic_auth(user, Some(password));
        assert_eq!(mesh.http().send(request).await?.status, 200);
    }
    // numbers of all tenants are for admins
    let refused = get(&mesh, "/metrics", &read).await?;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.reason(), "ERROR_REASON_SCOPE_MISSING");
    assert_eq!(get(&mesh, "/metrics", &admin).await?.status, 200);
    // nothing secret in the log
    let log = mesh.log();
    for secret in [&read, &admin, &foreign] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_reaches_as_far_as_its_scope_through_the_whole_mesh() -> Result<()> {
    let mut launcher = guarded();
    let (read, write) = (key(&launcher, "read")?, key(&launcher, "write")?);
    let mesh = launcher.start().await?;
    let refused = upload(&mesh, &read).await?;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.reason(), "ERROR_REASON_SCOPE_MISSING");
    assert_eq!(refused.json()["metadata"]["requiredScope"], "write");
    let stored = upload(&mesh, &write).await?.ok()?;
    let id = stored["mediaItem"]["id"].as_str().unwrap().to_owned();
    // the worker embeds and indexes as the item's tenant
    let item = format!("/v1/mediaItems/{id}");
    let mut state = Value::Null;
    for _ in 0..300 {
        state = get(&mesh, &item, &read).await?.ok()?["state"].clone();
        let stats = get(&mesh, "/v1/index/stats", &read).await?.ok()?;
        if state == "STATE_READY" && stats["vectorIndexes"][0]["vectors"] == "1" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(state, "STATE_READY");
    let found = get(&mesh, "/api/search?query=lighthouse", &read)
        .await?
        .ok()?;
    assert_eq!(found["results"][0]["id"], id.as_str(), "{found}");
    // a second search comes from the cache service, which is called as the same tenant
    let again = get(&mesh, "/api/search?query=lighthouse", &read)
        .await?
        .ok()?;
    assert_eq!(again["fromCache"], true, "{again}");
    let refused = get(&mesh, "/v1/apiKeys", &write).await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    Ok(())
}

#[tokio::test]
async fn grpc_servers_take_keys_and_keep_the_mesh_s_own_calls_to_the_mesh() -> Result<()> {
    let mut launcher = guarded();
    let (read, admin) = (key(&launcher, "read")?, key(&launcher, "admin")?);
    let mesh = launcher.start().await?;
    // the gRPC port, and gRPC on the edge's port
    for uri in [mesh.grpc_uri(), format!("http://{}", mesh.http_address())] {
        let channel = Channel::from_shared(uri.clone())?.connect().await?;
        let list = |credentials: Option<String>| {
            let mut client = MediaServiceClient::new(channel.clone());
            async move {
                let mut request = Request::new(ListMediaItemsRequest::default());
                if let Some(credentials) = credentials {
                    let value = credentials.parse().unwrap();
                    request.metadata_mut().insert("authorization", value);
                }
                client.list_media_items(request).await.map(|_| ())
            }
        };
        list(Some(format!("Bearer {read}"))).await?;
        for wrong in [
            None,
            Some("Bearer x.y.z".to_owned()),
            Some("Digest x".to_owned()),
        ] {
            let status = list(wrong.clone()).await.unwrap_err();
            assert_eq!(
                status.code(),
                Code::Unauthenticated,
                "{uri} {wrong:?}: {status:?}"
            );
        }
    }
    let channel = Channel::from_shared(mesh.grpc_uri())?.connect().await?;
    let mut request = Request::new(InvalidateEntriesRequest::default());
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {admin}").parse()?);
    let refused = CacheServiceClient::new(channel)
        .invalidate_entries(request)
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    Ok(())
}

#[tokio::test]
async fn keys_are_made_listed_used_and_ended_in_a_running_mesh() -> Result<()> {
    let mut launcher = guarded();
    let admin = key(&launcher, "admin")?;
    let mesh = launcher.start().await?;
    // without a key the running mesh refuses, and says how to get the first one
    let refused = launcher
        .command()
        .args(["keys", "list", "--data-dir"])
        .arg(launcher.data())
        .output()?;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && text.contains("--offline"),
        "{text}"
    );

    let launcher = launcher.env("MEDIAMESH_API_KEY", &admin);
    let made = keys(
        &launcher,
        &["create", "ci", "--scope", "write", "--expires", "1h"],
    )?;
    let (id, secret) = (
        made["apiKey"]["id"].as_str().unwrap().to_owned(),
        made["secret"].as_str().unwrap().to_owned(),
    );
    assert_eq!(get(&mesh, "/v1/mediaItems", &secret).await?.status, 200);
    let listed = keys(&launcher, &["list"])?;
    let found = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["id"] == id.as_str());
    let found = found.unwrap_or_else(|| panic!("{id} is not in {listed}"));
    assert_eq!(found["scopes"][0], "SCOPE_WRITE");
    assert!(found["lastUseTime"].is_string(), "{found}");
    assert!(!listed.to_string().contains(&secret));

    // other commands take the key as well
    let file = launcher.scratch().join("harbour.jpg");
    std::fs::write(&file, fixture::jpeg(5, 160, 120))?;
    let mut command = launcher.command();
    command
        .arg("import")
        .arg(&file)
        .arg("--data-dir")
        .arg(launcher.data());
    let import = command.output()?;
    assert!(import.status.success(), "{import:?}");

    let output = launcher
        .command()
        .args(["keys", "revoke", &id, "--data-dir"])
        .arg(launcher.data())
        .output()?;
    assert!(output.status.success(), "{output:?}");
    // within the second for which it is remembered, and some
    let start = tokio::time::Instant::now();
    let refused = loop {
        let answer = get(&mesh, "/v1/mediaItems", &secret).await?;
        if answer.status != 200 {
            break answer;
        }
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "a revoked key is still taken"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(refused.reason(), "ERROR_REASON_CREDENTIALS_REVOKED");
    assert_eq!(refused.status, 401);

    let short = keys(&launcher, &["create", "short", "--expires", "2s"])?;
    let short = short["secret"].as_str().unwrap();
    assert_eq!(get(&mesh, "/v1/mediaItems", short).await?.status, 200);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let refused = get(&mesh, "/v1/mediaItems", short).await?;
    assert_eq!(refused.reason(), "ERROR_REASON_CREDENTIALS_EXPIRED");
    Ok(())
}

#[test]
fn another_address_than_loopback_may_be_served_once_keys_are_asked_for() -> Result<()> {
    let print = |launcher: &Launcher| {
        let mut command = launcher.command();
        command
            .env("MEDIAMESH_LISTEN", "0.0.0.0:8080")
            .args(["config", "print"]);
        command.output()
    };
    let open = print(&launcher())?;
    let text = String::from_utf8_lossy(&open.stderr).into_owned();
    assert!(
        !open.status.success() && text.contains("identity.required"),
        "{text}"
    );
    assert!(print(&guarded())?.status.success());
    let key = "k1:dGVzdHMgc2lnbiB3aXRoIHRoaXMga2V5IG9mIDMyKyBieXRlcw==";
    let signed = launcher().env("MEDIAMESH_IDENTITY__SIGNING_KEYS", &format!("[\"{key}\"]"));
    let output = print(&signed)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("signing_keys"),
        "{output:?}"
    );
    assert!(!text.contains("dGVzdHM"), "{text}");
    Ok(())
}
