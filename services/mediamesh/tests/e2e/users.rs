//! Users and what they have stored.

use anyhow::Result;
use mediamesh_testkit::fixture;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{id, launcher, start};

#[tokio::test]
async fn a_user_sees_how_much_it_has_stored_and_an_admin_sees_others() -> Result<()> {
    let mut launcher = launcher()
        .env("MEDIAMESH_IDENTITY__REQUIRED", "true")
        .env("MEDIAMESH_MEDIA__USER_STATS_TTL_SECS", "1");
    let create = |tenant: &[&str], scope: &str| -> Result<Value> {
        let mut command = launcher.command();
        command.arg("--data-dir").arg(launcher.data());
        command.args([
            "keys",
            "create",
            scope,
            "--scope",
            scope,
            "--offline",
            "--json",
        ]);
        let output = command.args(tenant).output()?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let [admin, writer] = [create(&[], "admin")?, create(&[], "write")?];
    let stranger = create(&["--new-tenant", "other"], "admin")?;
    let mesh = launcher.start().await?;
    let http = mesh.http();
    let ask = async |method: Method, path: String, key: &Value, body: Option<Vec<u8>>| {
        let secret = key["secret"].as_str().unwrap();
        let request = http.request(method, &path).header("x-api-key", secret);
        http.send(match body {
            Some(bytes) => request.header("content-type", "image/jpeg").body(bytes),
            None => request,
        })
        .await
    };
    let user = format!("key:{}", id(&writer["apiKey"]));
    let get = async |who: &str, key: &Value| {
        ask(Method::GET, format!("/v1/users/{who}"), key, None).await
    };

    let none = get("me", &writer).await?.ok()?;
    assert_eq!(
        (&none["id"], &none["displayName"]),
        (&json!(user), &json!("write"))
    );
    assert_eq!(
        (&none["totalFiles"], &none["totalStorageBytes"]),
        (&json!("0"), &json!("0"))
    );

    let (mut bytes, mut items) = (0, Vec::new());
    for seed in 0..3 {
        let picture = fixture::jpeg(seed, 64, 48);
        bytes += picture.len();
        let path = format!("/v1/mediaItems?displayName={seed}.jpg");
        let item = ask(Method::POST, path, &writer, Some(picture))
            .await?
            .ok()?;
        assert_eq!(item["mediaItem"]["uploader"], json!(user));
        items.push(id(&item["mediaItem"]).to_owned());
    }
    // what was counted before is kept for a second here, for five minutes unless set otherwise
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    for (who, key) in [("me", &writer), (user.as_str(), &admin)] {
        let found = get(who, key).await?.ok()?;
        assert_eq!(found["totalFiles"], "3", "{found}");
        assert_eq!(found["totalStorageBytes"], json!(bytes.to_string()));
        assert_eq!(found["id"], json!(user));
        assert!(found["lastUploadTime"].is_string() && found["statsTime"].is_string());
    }
    // not of another user without the scope, and not of another tenant with it
    let admins = format!("key:{}", id(&admin["apiKey"]));
    assert_eq!(get(&admins, &writer).await?.status, 403);
    let refused = get(&user, &stranger).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.reason().as_str()),
        (404, "ERROR_REASON_USER_NOT_FOUND")
    );
    assert_eq!(get("nobody", &admin).await?.status, 404);
    let long = "x".repeat(300);
    assert_eq!(get(&long, &admin).await?.status, 400);
    let bad = ask(
        Method::GET,
        "/v1/mediaItems?uploader=a%00b".to_owned(),
        &admin,
        None,
    );
    assert_eq!(bad.await?.status, 400);

    // lists by uploader
    let list = async |who: &str| {
        let path = format!("/v1/mediaItems?uploader={who}");
        let found = ask(Method::GET, path, &admin, None).await?.ok()?;
        anyhow::Ok(found["mediaItems"].as_array().map_or(0, Vec::len))
    };
    assert_eq!((list(&user).await?, list(&admins).await?), (3, 0));

    let mut command = launcher.command();
    command.env("MEDIAMESH_API_KEY", writer["secret"].as_str().unwrap());
    command.args(["users", "get", "--endpoint", &mesh.grpc_uri()]);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains(&user) && said.contains(&bytes.to_string()),
        "{output:?}"
    );
    Ok(())
}

#[tokio::test]
async fn items_are_read_with_what_was_derived_from_them() -> Result<()> {
    let (_launcher, mesh) = start().await?;
    let http = mesh.http();
    let mut ids = Vec::new();
    for seed in 0..2 {
        let name = format!("{seed}.jpg");
        let item = http
            .upload_ok(&name, "", fixture::jpeg(seed, 64, 48))
            .await?;
        ids.push(id(&item).to_owned());
    }
    http.settled().await?;
    let read = async |ids: &[String], with: bool| {
        let request = json!({"mediaItemIds": ids, "withProcessing": with});
        http.post("/v1/mediaItems:batchGet", &request).await?.ok()
    };
    let answer = read(&ids, true).await?;
    for place in 0..2 {
        let (item, derived) = (&answer["mediaItems"][place], &answer["processing"][place]);
        assert_eq!(item["uploader"], "local");
        assert_eq!(derived["mediaItemId"], json!(ids[place]));
        assert_eq!(
            derived["embeddings"].as_array().map(Vec::len),
            Some(1),
            "{derived}"
        );
        let processed =
            json!({"kind": "KIND_PROCESS_MEDIA", "state": "STATE_SUCCEEDED", "jobCount": 1});
        let jobs = derived["jobs"].as_array().unwrap();
        let found = jobs.iter().any(|job| {
            processed
                .as_object()
                .unwrap()
                .iter()
                .all(|(key, value)| job[key] == *value)
                && job["lastEndTime"].is_string()
        });
        assert!(found, "{derived}");
    }
    let without = read(&ids, false).await?;
    assert_eq!(without["processing"], json!([]));
    for with in [true, false] {
        let empty = read(&[], with).await?;
        assert_eq!(empty, json!({"mediaItems": [], "processing": []}));
    }
    Ok(())
}
