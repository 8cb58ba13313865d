//! A mesh that asks for keys: who gets in, with what, how far, and for how long.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mediamesh_proto::{
    cache::v1::{InvalidateEntriesRequest, cache_service_client::CacheServiceClient},
    media::v1::{ListMediaItemsRequest, media_service_client::MediaServiceClient},
};
use mediamesh_testkit::{Answer, Http, Launcher, Mesh, fixture};
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

/// What a scraper of metrics sends.
const TOKEN: &str = "what-a-scraper-of-metrics-sends-here";

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
    let mut launcher = guarded().env("MEDIAMESH_ADMIN__TOKENS", &format!("[{TOKEN:?}]"));
    let (read, admin) = (key(&launcher, "read")?, key(&launcher, "admin")?);
    let made = ["create", "other", "--scope", "admin", "--offline"];
    let made = keys(&launcher, &[&made[..], &["--new-tenant", "other"]].concat())?;
    let other = made["secret"].as_str().context("no secret")?.to_owned();
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
    // numbers of all tenants are for operators; the admin of one tenant is none
    for page in ["/metrics", "/admin/mesh", "/health?detailed=true"] {
        for key in [&read, &other] {
            let refused = get(&mesh, page, key).await?;
            assert_eq!(refused.status, 403, "{page}");
            assert_eq!(refused.reason(), "ERROR_REASON_PERMISSION_DENIED");
        }
        for key in [&admin, TOKEN] {
            assert_eq!(get(&mesh, page, key).await?.status, 200, "{page}");
        }
    }
    for (key, good) in [(TOKEN, true), (read.as_str(), false)] {
        let mut top = launcher.command();
        top.args(["top", "--once", "--api-key", key, mesh.http_address()]);
        let top = top.output()?;
        assert_eq!(top.status.success(), good, "{top:?}");
        let text = String::from_utf8(top.stdout)?;
        let shown = ["pid", "media", "search", "may work"];
        let seen = shown.iter().all(|part| text.contains(part));
        assert_eq!(seen, good, "{text}");
    }
    // the token of the scraper opens nothing else
    assert_eq!(get(&mesh, "/v1/mediaItems", TOKEN).await?.status, 401);
    // nothing secret in the log
    let log = mesh.log();
    for secret in [&read, &admin, &foreign, TOKEN] {
        assert!(!log.contains(secret), "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_process_without_edge_shows_its_numbers_beyond_loopback_to_operators_only() -> Result<()>
{
    let launcher = guarded().env("MEDIAMESH_ADMIN__TOKENS", &format!("[{TOKEN:?}]"));
    let data = launcher.scratch().join("cache");
    for (address, asked) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let file = launcher.scratch().join(format!("ready-{asked}"));
        let mut command = tokio::process::Command::from(launcher.command());
        let _process = command
            .args(["serve", "cache", "--listen", address])
            .args(["--grpc-listen", "127.0.0.1:0", "--ready-file"])
            .arg(&file)
            .arg("--data-dir")
            .arg(&data)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut ready = Value::Null;
        for _ in 0..300 {
            let text = std::fs::read(&file).unwrap_or_default();
            ready = serde_json::from_slice(&text).unwrap_or_default();
            if !ready.is_null() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let address = ready["http"].as_str().context("not ready")?;
        let http = Http::new(&address.replace("0.0.0.0", "127.0.0.1"))?;
        assert_eq!(http.get("/health/ready").await?.status, 200);
        for page in ["/metrics", "/admin/mesh", "/health?detailed=true"] {
            let bare = http.get(page).await?;
            assert_eq!(bare.status, if asked { 401 } else { 200 }, "{page}");
            let request = http.request(Method::GET, page).bearer_auth(TOKEN);
            assert_eq!(http.send(request).await?.status, 200, "{page}");
        }
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
